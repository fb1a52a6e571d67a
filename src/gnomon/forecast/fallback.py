"""A number where a table carries no law: the best run, continued by the slope that other ladders show.

Over published families the lowest loss falls by 12 % over the next factor of ten of compute, 27 % over a hundred (the
error of "the best run so far" as a forecast, pooled over 23 families). The table's own frontier, where it has one,
pulls that slope towards itself as far as its runs go.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.fitting import projection
from gnomon.forecast.laws import PowerSum
from gnomon.forecast.members import Member
from gnomon.forecast.runs import Runs

# -d log(lowest loss) / d log(compute): mean over published families, and its deviation from one to the next.
SLOPE, SLOPE_DEVIATION = 0.047, 0.025
# What a single run may be off the best of its compute, log loss: sizes and rates that nobody searched.
RUN_DEVIATION = 0.03
STEEPEST = 0.2


def usual_slope() -> PowerSum:
    """L = a C^-b with b as other ladders have it."""
    terms, prior = (("a", "compute", "b"),), ((SLOPE, SLOPE_DEVIATION),)
    return PowerSum("usual slope", "published families, see fallback.py", terms, ((0.0, STEEPEST),), prior)


def fallback_member(runs: Runs, draws: int, seed: int = 0) -> Member:
    """The usual slope through the best of one or more runs, with draws of slope and level; runs: at least one."""
    law = usual_slope()
    x, y, height = _frontier(runs)
    slope, deviation = _slope(x, y, height)
    rng = np.random.default_rng(seed)
    drawn = np.clip(slope + deviation * rng.standard_normal(draws), 0.0, STEEPEST)
    # The line passes near the best runs: each pulls its level, the largest the most.
    weight = np.exp((x - x.max()) / 2)
    level = float(weight @ (y + slope * x) / weight.sum())
    centre = float(weight @ x / weight.sum())
    levels = level + (drawn - slope) * centre + RUN_DEVIATION / np.sqrt(len(x)) * rng.standard_normal(draws)
    point = projection.Solution(law, np.array([[slope]]), np.array([[np.exp(level)]]), np.zeros(1))
    sample = projection.Solution(law, drawn[:, None], np.exp(levels)[:, None], np.zeros(draws))
    return Member(law, "fallback", point, sample, RUN_DEVIATION)


def _frontier(runs: Runs) -> tuple[np.ndarray, np.ndarray, float]:
    """Log compute and log loss of the runs that no cheaper one beats, and the scatter about a line through all."""
    order = np.argsort(runs.compute, kind="stable")
    x, y = np.log(runs.compute[order]), np.log(runs.loss[order])
    best = np.minimum.accumulate(y)
    kept = y <= best
    scatter = float(np.std(y - np.polyval(np.polyfit(x, y, 1), x))) if np.ptp(x) > 0.1 and len(x) > 2 else 0.0
    return x[kept], y[kept], max(scatter, RUN_DEVIATION)


def _slope(x: np.ndarray, y: np.ndarray, scatter: float) -> tuple[float, float]:
    """Mean and deviation of the slope: the prior and the frontier, each by its precision."""
    precision, pull = SLOPE_DEVIATION**-2, SLOPE * SLOPE_DEVIATION**-2
    if len(x) > 1 and np.ptp(x) > 1e-9:
        spread = float(((x - x.mean()) ** 2).sum()) / scatter**2
        precision += spread
        pull += spread * -float(np.polyfit(x, y, 1)[0])
    mean = min(max(pull / precision, 0.0), STEEPEST)
    return mean, float(precision**-0.5)


def operations(runs: Runs, size: float) -> float:
    """Operations a parameter and token of a run of this size: a line in log size through the runs."""
    x, cost = np.log(runs.size), np.log(runs.compute / runs.size / runs.tokens)
    if np.ptp(x) < 1e-3:
        return float(np.exp(np.median(cost)))
    slope, level = np.polyfit(x - x.mean(), cost, 1)
    return float(np.exp(level + slope * (np.log(size) - x.mean())))


def usual_size(runs: Runs, compute: float) -> float:
    """The size of the best run among the largest, carried to another compute with its tokens a parameter kept.

    Size as the square root of compute is what published minima show (arXiv:2203.15556, table 2).
    """
    top = np.flatnonzero(runs.compute >= runs.compute.max() / 3)
    best = top[runs.loss[top].argmin()]
    return float(runs.size[best] * np.sqrt(compute / runs.compute[best]))
