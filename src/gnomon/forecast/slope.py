"""The slope that dies out: a learning curve's own end, carried on without a law.

ln y is a level whose slope s by ln x decays: ds = -kappa s d(ln x) + sigma dW, an integrated Ornstein-Uhlenbeck process
seen through noise. A Kalman filter (Kalman 1960) reads level and slope at the end of the curve, and what follows is
level + s (1 - e^(-kappa u)) / kappa at u = ln(x / last x). Power laws with a floor, saturating powers and logistic
curves all do this near their end; none of them has to be chosen. One pass serves every (kappa, sigma) of a grid.

G pairs of (kappa, sigma), n points, m points asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Learned on published curves (docs/log.md), each group of tasks left out in turn: (middle, spread of the logarithm).
DECAY = (0.38, 0.15)  # kappa, a unit of ln x
VOLATILITY = (2.0, 0.5)  # sigma over the noise of a point
FIRST_SLOPE_DEVIATION = 0.3


@dataclass(frozen=True)
class SlopeFit:
    """Level and slope of ln y at the end of a curve for each pair: weight, decay, volatility [G], mean [G, 2],
    covariance [G, 3] (level, both, slope); noise: deviation of a point's ln y, in the end's neighbourhood."""

    weight: np.ndarray
    decay: np.ndarray
    volatility: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def predict(self, u_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean of ln y [m] and its variance [m] (without a new point's own noise) at u >= 0."""
        fade, moved = _process(self.decay[:, None], self.volatility[:, None], np.asarray(u_m, dtype=float))[1:3]
        mean = self.mean[:, :1] + fade * self.mean[:, 1:]
        level, both, slope = self.covariance.T[..., None]
        variance = level + 2 * fade * both + fade**2 * slope + moved
        middle = self.weight @ mean
        return middle, self.weight @ (variance + (mean - middle) ** 2)


def fit_slope(u_n: np.ndarray, log_n: np.ndarray) -> SlopeFit:
    """Level and slope at the end of a curve. u_n: ln(x / last x), rising; log_n: ln y; at least 3 points."""
    decay, ratio, weight = _grid()
    noise = point_noise(log_n)
    volatility = ratio * noise
    mean = np.stack([np.full_like(decay, log_n[0]), np.zeros_like(decay)], axis=-1)
    level, both = np.full_like(decay, noise**2), np.zeros_like(decay)
    slope = np.full_like(decay, FIRST_SLOPE_DEVIATION**2)
    surprise, near = np.zeros_like(decay), np.exp(u_n)
    for i in range(1, len(u_n)):
        keep, fade, on_level, on_both, on_slope = _process(decay, volatility, u_n[i] - u_n[i - 1])
        level = level + 2 * fade * both + fade**2 * slope + on_level
        both, slope = keep * (both + fade * slope) + on_both, keep**2 * slope + on_slope
        mean = np.stack([mean[:, 0] + fade * mean[:, 1], keep * mean[:, 1]], axis=-1)
        total, miss = level + noise**2, log_n[i] - mean[:, 0]
        surprise += near[i] * miss**2 / total
        gain, lift = level / total, both / total
        mean = mean + np.stack([gain, lift], axis=-1) * miss[:, None]
        level, both, slope = level - gain * level, both - gain * both, slope - lift * both
    # The gains depend on sigma over noise alone, so the noise can be set by the surprises after the pass.
    scale = float(weight @ surprise / near[1:].sum())
    covariance = np.stack([level, both, slope], axis=-1) * scale
    return SlopeFit(weight, decay, volatility * np.sqrt(scale), mean, covariance, noise * np.sqrt(scale))


def point_noise(log_n: np.ndarray) -> float:
    """Deviation of ln y from point to point: the median second difference, at least 3e-4."""
    if len(log_n) < 5:
        return 0.01
    return max(float(np.median(np.abs(np.diff(log_n, 2)))) / 0.6745 / 6**0.5, 3e-4)


def _process(decay: np.ndarray, volatility: np.ndarray, u: np.ndarray | float) -> tuple[np.ndarray, ...]:
    """Over a stretch u: what is left of the slope, the level gained a unit of slope, and the variances added to
    level, both, slope."""
    keep = np.exp(-decay * u)
    fade = (1 - keep) / decay
    spread = volatility**2
    on_slope = spread * (1 - keep**2) / (2 * decay)
    on_level = spread / decay**2 * np.maximum(u - 2 * fade + (1 - keep**2) / (2 * decay), 0.0)
    return keep, fade, on_level, spread * fade**2 / 2, on_slope


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """decay, volatility over noise, weight [G]: the prior on a grid of two deviations."""
    z = np.linspace(-2, 2, 7)
    a, b = (axis.ravel() for axis in np.meshgrid(z, z, indexing="ij"))
    weight = np.exp(-0.5 * (a**2 + b**2))
    decay, ratio = (middle * np.exp(spread * axis) for (middle, spread), axis in ((DECAY, a), (VOLATILITY, b)))
    return decay, ratio, weight / weight.sum()
