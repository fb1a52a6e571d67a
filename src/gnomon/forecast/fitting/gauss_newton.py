"""Damped Gauss-Newton from many starts at once (Marquardt 1963), for laws whose constants are free real numbers.

S problems or starts, n residuals, p constants.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# measure(constants [s, p], which of the S [s]) -> residuals [s, n] and their derivative by the constants [s, n, p]
Measure = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimise(
    measure: Measure,
    begin_Sp: np.ndarray,
    centre_p: np.ndarray,
    spread_p: np.ndarray,
    rounds: int = 100,
    keep: int = 0,
    sift_after: int = 10,
    tolerance: float = 1e-7,
) -> tuple[np.ndarray, np.ndarray]:
    """Constants [S, p] and objective [S] where each start ends: half the squared residuals plus the Gaussian prior.

    spread_p: infinite where a constant is free. keep: how many of the starts go on after `sift_after` rounds (0: all);
    only right where all starts are of one problem.
    """
    theta, prior = begin_Sp.astype(float), 1 / np.asarray(spread_p, dtype=float) ** 2
    centre = np.asarray(centre_p, dtype=float)

    def total(residual: np.ndarray, at: np.ndarray) -> np.ndarray:
        return 0.5 * ((residual**2).sum(1) + ((at - centre) ** 2 * prior).sum(1))

    with np.errstate(all="ignore"):  # a step too far overflows; it is not taken
        residual, slopes = measure(theta, np.arange(len(theta)))
        best = total(residual, theta)
        best = np.where(np.isfinite(best), best, np.inf)
        damping, live = np.full(len(theta), 1e-2), np.flatnonzero(np.isfinite(best))
        for done in range(rounds):
            if keep and done == sift_after:
                live = live[np.argsort(best[live], kind="stable")[:keep]]
            if not len(live):
                break
            step = _step(residual[live], slopes[live], prior, (theta[live] - centre) * prior, damping[live])
            new_residual, new_slopes = measure(theta[live] + step, live)
            value = total(new_residual, theta[live] + step)
            better = np.isfinite(value) & np.isfinite(new_slopes).all((1, 2)) & (value <= best[live])
            moved, gain = live[better], (best[live] - value)[better]
            theta[moved] += step[better]
            best[moved], residual[moved], slopes[moved] = value[better], new_residual[better], new_slopes[better]
            damping[live] *= np.where(better, 0.25, 6.0)
            settled = damping[live] > 1e9
            settled[better] |= gain <= tolerance * (best[moved] + 1e-6)
            live = live[~settled]
    return theta, best


def _step(
    residual: np.ndarray, slopes: np.ndarray, prior: np.ndarray, prior_slope: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """[S, p]: Marquardt's step, no constant moved by more than 3."""
    turned = slopes.transpose(0, 2, 1)
    matrix = turned @ slopes + np.diag(prior)
    gradient = (turned @ residual[..., None])[..., 0] + prior_slope
    diagonal = np.einsum("spp->sp", matrix)
    lift = diagonal * damping[:, None] + 1e-9 * (diagonal.max(1, keepdims=True) + 1e-12)
    step = -np.linalg.solve(matrix + lift[:, None, :] * np.eye(len(prior)), gradient[..., None])[..., 0]
    return step * np.minimum(1.0, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
