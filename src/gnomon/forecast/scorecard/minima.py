"""The lowest loss of an isoFLOP budget, as the scorecard takes it for the truth: a parabola near the best size.

This is the scorecard's own, apart from what any method uses, so that a method's way of finding minima is not its judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.scorecard.families import Family

# Sizes within this factor of the best one; farther out the log of the loss is no parabola.
NEAR = 4.5


@dataclass(frozen=True)
class Minimum:
    """budget: nominal compute; loss, size, tokens: at the bottom of the parabola."""

    budget: float
    loss: float
    size: float
    tokens: float


def minima(family: Family) -> list[Minimum]:
    """Of every budget that is bracketed (sizes on both sides are worse than the best), ascending in compute."""
    budgets = np.unique(family.budget[np.isfinite(family.budget)])
    found = [_minimum(float(b), family.select(family.budget == b)) for b in budgets]
    return [m for m in found if m is not None]


def _minimum(budget: float, runs: Family) -> Minimum | None:
    sizes, which = np.unique(runs.params_N, return_inverse=True)
    counts = np.bincount(which.reshape(-1))
    loss = np.bincount(which.reshape(-1), np.log(runs.loss)) / counts
    tokens = np.bincount(which.reshape(-1), np.log(runs.tokens_D)) / counts
    level_best = np.flatnonzero(loss <= loss.min() + 1e-9)  # digitised losses tie: the middle of the ties is the best
    best = int(level_best[len(level_best) // 2])
    if best in (0, len(sizes) - 1):
        return None
    u = np.log(sizes / sizes[best])
    near = np.abs(u) <= np.log(NEAR)
    near[best - 1 : best + 2] = True
    curvature, slope, level = np.polyfit(u[near], loss[near], 2)
    if curvature <= 0 or not u[near].min() <= -slope / (2 * curvature) <= u[near].max():
        return None
    at = -slope / (2 * curvature)
    log_tokens = float(np.interp(at, u, tokens))
    log_loss = level + slope * at / 2
    return Minimum(budget, float(np.exp(log_loss)), float(sizes[best] * np.exp(at)), float(np.exp(log_tokens)))
