"""The lowest loss that a compute budget reaches: a parabola through log loss over log size, at each budget.

Approach 2 of arXiv:2203.15556, made local: a size counts the less the higher the parabola stands above its minimum
there, and the window is centred on the minimum, not on the best run, whose luck would drag it along. A budget counts
only where sizes on both sides are worse. The parabola is linear in its three coefficients, so the operator that makes
them from the losses is kept: a bootstrap is a product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.runs import Runs

# Sizes speak about the minimum where the parabola has risen by less than this (of log loss); beyond it the walls of
# published sweeps are no parabola. Minima of seven published sweeps scatter about a smooth line by 0.02 to 0.28 % so,
# by 0.07 to 0.40 % with a window of a factor of 4.5 around the best run (docs/log.md).
RISE = 0.06
NARROWEST, WIDEST = np.log(2.0), np.log(6.0)
NARROWER = (np.log(3.5), NARROWEST)  # tried in turn where the parabola through the widest window has no minimum
# Log distance over the window's half-width at which a size's weight is zero.
TAPER = 1.3
# Size means beyond so many robust deviations count by their size, not their square; fewer than six cannot show one.
KNEE = 1.5
FEWEST_FOR_KNEE = 6
# With fewer sizes the best one must stand between others; with more, the parabola through them may say that it does.
FEWEST_FOR_EDGE = 5

# A run that says less than this about a minimum only costs time.
SMALLEST_NEARNESS = 2e-3


@dataclass(frozen=True)
class Parabola:
    """One bracketed budget. u = log(size) - centre.

    rows: indices of its runs; operator: [3, rows] makes the coefficients of 1, u, u^2 from the rows' log losses, each
    shifted by `shift` to the common compute; low, high: range of u that was run; counts: seeds behind each row's mean.
    """

    compute: float
    centre: float  # log of the size about which the parabola is written, near its minimum
    rows: np.ndarray
    operator: np.ndarray
    shift: np.ndarray
    low: float
    high: float
    sizes: int
    residual_variance: float  # weighted squares of the size means about the parabola, summed
    residual_degrees: float  # what that sum is expected to be for runs of unit variance
    seeds_per_size: float

    def coefficients(self, log_loss_Sn: np.ndarray) -> np.ndarray:
        """[S, 3] of the parabola, from log losses of all runs [S, n]."""
        return (log_loss_Sn[:, self.rows] + self.shift) @ self.operator.T

    def minimum(self, log_loss_Sn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log of the lowest loss and of the size that reaches it, [S] each; the size stays within those that were
        run."""
        a, b, c = self.coefficients(log_loss_Sn).T
        u = np.where(c > 1e-9, -b / (2 * np.maximum(c, 1e-9)), np.where(b > 0, self.low, self.high))
        u = np.clip(u, self.low, self.high)
        return a + b * u + c * u**2, u + self.centre


@dataclass(frozen=True)
class Minimum:
    """What a budget says: the lowest loss, the size and tokens that reach it, and how well they are known."""

    compute: float
    loss: float
    size: float
    tokens: float
    log_loss_deviation: float
    log_size_deviation: float
    curvature: float  # of log loss over log size: log loss rises by curvature * u^2
    curvature_deviation: float


def compute_slope(runs: Runs) -> float:
    """-d log(lowest loss) / d log(compute), roughly: what 1 % of compute is worth, to bring a budget's runs
    together."""
    best = [_best_of(runs, b) for b in range(runs.budgets)]
    if len(best) < 2:
        return 0.06
    x, y = np.log(np.array(best)).T
    return float(-np.polyfit(x, y, 1)[0])


def _best_of(runs: Runs, budget: int) -> tuple[float, float]:
    inside = runs.budget == budget
    return float(np.exp(np.log(runs.compute[inside]).mean())), float(runs.loss[inside].min())


def parabolas(runs: Runs) -> tuple[list[Parabola], list[tuple[int, str]]]:
    """The bracketed budgets, ascending in compute, and (budget, why not) for the others."""
    slope = compute_slope(runs)
    fitted: list[Parabola] = []
    refused: list[tuple[int, str]] = []
    for budget in range(runs.budgets):
        result = _parabola(runs, np.flatnonzero(runs.budget == budget), slope)
        if isinstance(result, str):
            refused.append((budget, result))
        else:
            fitted.append(result)
    return fitted, refused


def _parabola(runs: Runs, rows: np.ndarray, slope: float) -> Parabola | str:
    """The parabola of one budget's runs, or why there is none."""
    sizes, which = np.unique(runs.size[rows], return_inverse=True)
    log_compute = np.log(runs.compute[rows])
    shift = slope * (log_compute - log_compute.mean())
    counts = np.bincount(which)
    mean = np.bincount(which, np.log(runs.loss[rows]) + shift) / counts
    best = int(mean.argmin())
    if len(sizes) < 3:
        return f"{len(sizes)} sizes; three are the fewest that show a minimum"
    if len(sizes) < FEWEST_FOR_EDGE and best in (0, len(sizes) - 1):
        return _no_minimum(sizes, best)
    tries = (_local(np.log(sizes), mean, counts.astype(float), best, start) for start in (WIDEST, *NARROWER))
    local = next((found for found in tries if found is not None), None)
    if local is None:
        return _no_minimum(sizes, best)
    near = local.near
    position = np.cumsum(near) - 1
    used = near[which]
    operator = local.operator[:, position[which[used]]] / counts[which[used]]
    u = np.log(sizes[near]) - local.centre
    # E[sum of w r^2] for means of unit-variance runs, r = (1 - H) y.
    keep = np.eye(len(u)) - _design(u) @ local.operator
    expected = float((local.weight[:, None] * keep**2 / counts[near]).sum()) if len(u) > 3 else 0.0
    return Parabola(
        compute=float(np.exp(log_compute.mean())),
        centre=local.centre,
        rows=rows[used],
        operator=operator,
        shift=shift[used],
        low=float(u.min()),
        high=float(u.max()),
        sizes=len(u),
        residual_variance=float((local.weight * (keep @ mean[near]) ** 2).sum()) if len(u) > 3 else 0.0,
        residual_degrees=expected,
        seeds_per_size=float(counts[near].mean()),
    )


@dataclass(frozen=True)
class _Local:
    """A parabola about `centre` through the size means that are near: weight [near], operator [3, near]."""

    centre: float
    near: np.ndarray
    weight: np.ndarray
    operator: np.ndarray


def _design(u: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(u), u, u**2], axis=1)


def _local(log_size: np.ndarray, mean: np.ndarray, counts: np.ndarray, best: int, window: float) -> _Local | None:
    """Centre and window, from the best size and this window on, moved until they are the parabola's own; None when a
    parabola on the way has no minimum between its sizes."""
    centre = float(log_size[best])
    for turn in range(10):
        distance = np.abs(log_size - centre)
        near = distance <= max(window, float(np.sort(distance)[min(4, len(distance)) - 1]))
        u = log_size[near] - centre
        reach = TAPER * max(window, float(np.abs(u).max()) / TAPER)
        taper = counts[near] * (1 - np.minimum(0.99, np.abs(u) / reach) ** 3) ** 3
        operator, weight = _robust(u, mean[near], taper)
        _, b, c = operator @ mean[near]
        vertex = -b / (2 * c) if c > 0 else np.nan
        if not u.min() < vertex < u.max():
            return None
        wanted = float(np.clip(np.sqrt(RISE / c), NARROWEST, WIDEST))
        if abs(vertex) < 0.02 and abs(wanted - window) < 0.02:
            break
        step = 1.0 if turn < 4 else 0.5  # two windows that hold different sizes can each ask for the other
        centre, window = centre + step * float(vertex), window + step * (wanted - window)
    u = log_size[near] - centre
    return _Local(centre, near, weight, _operator(u, weight))


def _operator(u: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[3, n]: makes the coefficients of the weighted least squares parabola."""
    design = _design(u)
    return np.linalg.solve(design.T @ (weight[:, None] * design), design.T * weight)


def _robust(u: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operator and weights after some rounds that take weight from size means far off the parabola."""
    operator = _operator(u, weight)
    if len(u) < FEWEST_FOR_KNEE:
        return operator, weight
    begin = weight
    for _ in range(4):
        residual = np.abs(mean - _design(u) @ (operator @ mean))
        scale = 1.4826 * float(np.median(residual)) * np.sqrt(len(u) / (len(u) - 3)) + 1e-9
        weight = begin * np.minimum(1.0, KNEE * scale / np.maximum(residual, 1e-12))
        operator = _operator(u, weight)
    return operator, weight


def _no_minimum(sizes: np.ndarray, best: int) -> str:
    if best == 0:
        return f"the smallest size ({sizes[0]:.3g} parameters) is the best; add a smaller one"
    if best == len(sizes) - 1:
        return f"the largest size ({sizes[-1]:.3g} parameters) is the best; add a larger one"
    return "loss over size has no minimum between the sizes that were run"


def nearness(runs: Runs) -> np.ndarray:
    """[n]: how much each run says about its budget's minimum, 1 at the best run, 0 far above it.

    The same taper as a parabola's, by height instead of size: for laws fitted to all budgets at once. 1 for runs of no
    budget.
    """
    weight = np.ones(len(runs))
    slope = compute_slope(runs)
    for budget in range(runs.budgets):
        inside = runs.budget == budget
        height = np.log(runs.loss[inside]) + slope * np.log(runs.compute[inside])
        distance = np.sqrt((height - height.min()) / RISE)
        weight[inside] = (1 - np.minimum(1.0, distance / TAPER) ** 3) ** 3
    return weight


def aged(deviation: np.ndarray, compute: np.ndarray, stray: float) -> np.ndarray:
    """What a law of loss over compute may take its points' deviations [n] (of log loss) to be, seen from the largest
    compute: a law of few constants strays from points far below it, by `stray` for every e-fold (Law.stray)."""
    return np.hypot(deviation, stray * np.abs(np.log(np.asarray(compute) / np.max(compute))))


def scatter_variance(fitted: list[Parabola], seed_variance: float) -> float:
    """Variance of a single run's log loss about the parabolas beyond its seed noise; 0 where seeds explain it all.

    NaN when no budget has more than three sizes to check its parabola by.
    """
    degrees = sum(p.residual_degrees for p in fitted)
    if degrees <= 0:
        return float("nan")
    return max(0.0, sum(p.residual_variance for p in fitted) / degrees - seed_variance)


def minimum_of(parabola: Parabola, runs: Runs, row_variance: np.ndarray) -> Minimum:
    """The minimum with its uncertainty by the delta method; row_variance [n]: of each run's log loss."""
    log_loss = np.log(runs.loss)[None]
    value, size = parabola.minimum(log_loss)
    _, b, c = parabola.coefficients(log_loss)[0]
    u = float(size[0] - parabola.centre)
    covariance = (parabola.operator * row_variance[parabola.rows]) @ parabola.operator.T
    at = np.array([1.0, u, u * u])  # the vertex moves, but to first order its height does not
    moved = np.array([0.0, -1 / (2 * c), b / (2 * c**2)])
    order = np.argsort(runs.size[parabola.rows], kind="stable")
    log_size = np.log(runs.size[parabola.rows][order])
    log_tokens = np.interp(size[0], log_size, np.log(runs.tokens[parabola.rows][order]))
    return Minimum(
        compute=parabola.compute,
        loss=float(np.exp(value[0])),
        size=float(np.exp(size[0])),
        tokens=float(np.exp(log_tokens)),
        log_loss_deviation=float(np.sqrt(at @ covariance @ at)),
        log_size_deviation=float(np.sqrt(moved @ covariance @ moved)),
        curvature=float(c),
        curvature_deviation=float(np.sqrt(covariance[2, 2])),
    )


@dataclass(frozen=True)
class Allocation:
    """log(best size) = intercept + exponent * log(compute / reference), for S draws: intercept, exponent [S]."""

    reference: float
    intercept: np.ndarray
    exponent: np.ndarray

    def log_size(self, compute: float) -> np.ndarray:
        return self.intercept + self.exponent * np.log(compute / self.reference)


def allocate(computes: np.ndarray, log_sizes_Sb: np.ndarray, deviations: np.ndarray) -> Allocation:
    """How the best size grows with compute. computes, deviations (of the log sizes): [b]; log_sizes_Sb: draws.

    One budget, or none that says more: the exponent is then one half (arXiv:2203.15556, table 2).
    """
    reference = float(np.exp(np.log(computes).mean()))
    x = np.log(computes / reference)
    # A floor on the deviations: no minimum is so sharp that the others stop counting.
    weight = 1 / (deviations**2 + 0.1**2)
    prior = 0.1**-2  # on the exponent, about one half
    s0, s1, s2 = weight.sum(), (weight * x).sum(), (weight * x * x).sum() + prior
    t0 = log_sizes_Sb @ weight
    t1 = log_sizes_Sb @ (weight * x) + 0.5 * prior
    determinant = s0 * s2 - s1**2
    return Allocation(reference, (s2 * t0 - s1 * t1) / determinant, (s0 * t1 - s1 * t0) / determinant)
