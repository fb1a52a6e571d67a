"""The best size at each isoFLOP budget and how it grows, without the bias of a parabola.

Log loss over log size is not symmetric about its minimum: too small a model is worse than too large a one, or the other
way round, by recipe. A parabola through an uneven choice of sizes then misses the minimum by 5 to 23 % in size
(Open-Athena's analysis of arXiv:2203.15556). One cubic coefficient for all budgets takes the lean up and costs one
constant, where a cubic of its own for each budget would follow its noise. The growth is a power of compute, its
exponent held near one half (arXiv:2203.15556, table 2) as far as the budgets leave it open.

b budgets, S draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.runs import Runs

# Sizes within this factor of a budget's best one speak about its minimum.
WINDOW = float(np.log(4.5))
EXPONENT_PRIOR = (0.5, 0.1)
# Minima scatter about the power law by this much in log size, whatever their runs' noise.
SMALLEST_SPREAD = 0.07
# No run's log loss is known better than this.
SMALLEST_NOISE = 5e-4
DRAWS = 200


@dataclass(frozen=True)
class Basin:
    """compute, log_size, log_size_deviation, log_loss [b]: the minima, ascending. curvature, lean: log loss rises by
    curvature u^2 + lean u^3 at u from the best log size. log(best size) = intercept + exponent *
    log(compute/reference): the mean of both, and draws [S]."""

    compute: np.ndarray
    log_size: np.ndarray
    log_size_deviation: np.ndarray
    log_loss: np.ndarray
    curvature: float
    lean: float
    reference: float
    intercept: float
    exponent: float
    intercept_draws: np.ndarray
    exponent_draws: np.ndarray

    def best(self, compute: np.ndarray) -> np.ndarray:
        """Log of the best size at each compute."""
        return self.intercept + self.exponent * np.log(np.asarray(compute) / self.reference)

    def best_draws(self, compute: np.ndarray) -> np.ndarray:
        """[S, n] of best()."""
        distance = np.log(np.atleast_1d(compute) / self.reference)
        return self.intercept_draws[:, None] + self.exponent_draws[:, None] * distance

    def excess(self, u: np.ndarray) -> np.ndarray:
        """What log loss gains at u from the best log size; beyond the window it goes on in a straight line."""
        inside = np.clip(u, -WINDOW, WINDOW)
        slope = 2 * self.curvature * inside + 3 * self.lean * inside**2
        outward = np.maximum(slope * np.sign(inside), self.curvature * WINDOW)
        height = np.maximum(self.curvature * inside**2 + self.lean * inside**3, 0.0)
        return height + outward * np.abs(u - inside)


def basin_of(runs: Runs, seed: int = 0) -> Basin | None:
    """The basin of a table's isoFLOP budgets; None when fewer than two of them bracket their minimum."""
    found = [b for b in (_budget(runs, np.flatnonzero(runs.budget == n)) for n in range(runs.budgets)) if b is not None]
    if len(found) < 2:
        return None
    constants, covariance = _cubics([u for _, _, u, _ in found], [y for _, _, _, y in found])
    minima = [_minimum(constants, covariance, i, u) for i, (_, _, u, _) in enumerate(found)]
    kept = [i for i, m in enumerate(minima) if m is not None]
    if len(kept) < 2:
        return None
    rows = np.array([minima[i] for i in kept])
    compute = np.array([found[i][0] for i in kept])
    log_size = np.array([found[i][1] for i in kept]) + rows[:, 0]
    growth = _growth(np.log(compute), log_size, rows[:, 1], seed)
    weight = rows[:, 1] ** -2
    curvature = float(np.exp((weight * np.log(rows[:, 3])).sum() / weight.sum()))
    lean = float(np.clip(constants[-1], -curvature / (3 * WINDOW), curvature / (3 * WINDOW)))
    return Basin(compute, log_size, rows[:, 1], rows[:, 2], curvature, lean, *growth)


def _budget(runs: Runs, rows: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray] | None:
    """Compute, log of the best size run, and (u, log loss) of sizes near it, seeds averaged; None if unbracketed."""
    sizes, which = np.unique(runs.size[rows], return_inverse=True)
    log_loss = np.bincount(which, np.log(runs.loss[rows])) / np.bincount(which)
    best = int(log_loss.argmin())
    if best in (0, len(sizes) - 1):
        return None
    u = np.log(sizes / sizes[best])
    near = np.abs(u) <= WINDOW
    near[best - 1 : best + 2] = True
    return float(np.exp(np.log(runs.compute[rows]).mean())), float(np.log(sizes[best])), u[near], log_loss[near]


def _cubics(us: list[np.ndarray], losses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Level, slope and curvature of each budget and the common cubic coefficient, [3b + 1], with their covariance."""
    count = 3 * len(us) + 1
    design = np.zeros((sum(len(u) for u in us), count))
    start = 0
    for i, u in enumerate(us):
        rows = slice(start, start + len(u))
        design[rows, 3 * i : 3 * i + 3] = np.stack([np.ones_like(u), u, u**2], axis=1)
        design[rows, -1] = u**3
        start += len(u)
    observed = np.concatenate(losses)
    # With three sizes everywhere nothing is left to tell the lean from: a trace of shrinkage makes it zero then.
    gram = design.T @ design + np.diag(np.append(np.full(count - 1, 1e-12), 1e-3))
    constants = np.linalg.solve(gram, design.T @ observed)
    residual = observed - design @ constants
    variance = max(float(residual @ residual) / max(1, len(observed) - count), SMALLEST_NOISE**2)
    return constants, np.linalg.inv(gram) * variance


def _minimum(
    constants: np.ndarray, covariance: np.ndarray, budget: int, u: np.ndarray
) -> tuple[float, float, float, float] | None:
    """u of the minimum, its deviation, log loss there and curvature; None where there is none between the sizes."""
    level, slope, square = constants[3 * budget : 3 * budget + 3]
    lean = constants[-1]
    grid = np.linspace(u.min(), u.max(), 801)
    height = slope * grid + square * grid**2 + lean * grid**3
    at = int(height.argmin())
    bend = 2 * square + 6 * lean * grid[at]
    if at in (0, len(grid) - 1) or bend <= 1e-4:
        return None
    moved = np.zeros(len(constants))
    moved[3 * budget + 1 : 3 * budget + 3] = -1 / bend, -2 * grid[at] / bend
    moved[-1] = -3 * grid[at] ** 2 / bend
    return float(grid[at]), float(np.sqrt(moved @ covariance @ moved)), float(level + height[at]), float(bend / 2)


def _growth(
    log_compute: np.ndarray, log_size: np.ndarray, deviation: np.ndarray, seed: int
) -> tuple[float, float, float, np.ndarray, np.ndarray]:
    """Reference compute, intercept, exponent, and draws of both."""
    weight = 1 / (deviation**2 + SMALLEST_SPREAD**2)
    middle = float((weight * log_compute).sum() / weight.sum())
    design = np.stack([np.ones_like(log_compute), log_compute - middle], axis=1)
    mean, spread = EXPONENT_PRIOR
    precision = design.T @ (weight[:, None] * design) + np.diag([0.0, spread**-2])
    covariance = np.linalg.inv(precision)
    at = covariance @ (design.T @ (weight * log_size) + np.array([0.0, mean * spread**-2]))
    draws = np.random.default_rng(seed).multivariate_normal(at, covariance, size=DRAWS, method="eigh")
    return float(np.exp(middle)), float(at[0]), float(at[1]), draws[:, 0], draws[:, 1]
