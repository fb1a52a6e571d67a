"""A law of loss and what it misses: L = E + A/N^alpha + B/D^beta, times a misfit that neighbouring runs share.

No published form fits a ladder down to its noise: what is left over goes the same way in neighbouring runs and drifts
with scale. A least-squares fit takes such residuals for independent, trusts the many small runs, and is both wrong and
too sure far out. Here ln(loss) = ln(law) + misfit + noise with a Gaussian misfit (universal kriging: Matheron 1969):
a rough one that grows towards small runs, and a smooth one, by which the law itself may bend over a few decades. The
largest runs then anchor the forecast, and the prior on exponents and on A/N^alpha : E, B/D^beta : E takes over where
the runs say little. Maximum a posteriori by Gauss-Newton, covariance by Laplace's approximation; noise is Student's.

n runs, t targets; theta: ln E, ln A/E and ln B/E at the reference size and length, alpha, beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.forecast.laws import Inputs, Law
from gnomon.forecast.runs import Runs

# Where the prior on the ratios holds: about the middle of published ladders, in logs.
LOG_SIZE, LOG_TOKENS = float(np.log(1e8)), float(np.log(2e9))
MOST_RUNS = 400
NAMES = ("E", "A", "B", "alpha", "beta")
# Weight, in runs, of the belief that the settings' own scale of misfit and noise is right.
SCALE_RUNS = 5.0
ROUNDS = 3


@dataclass(frozen=True)
class Setting:
    """What is known before a table is seen; learned.json holds the numbers, benchmarks/learn_forecast.py finds them.

    exponent, ratio_size, ratio_tokens: (mean, deviation) of alpha and beta, of ln A/(E N^alpha) at 1e8 parameters and
    of ln B/(E D^beta) at 2e9 tokens. rough, smooth: (deviation of log loss, length in e-folds of size and of tokens)
    of the misfit. growth: the rough misfit grows as compute^-growth/2 below the largest run. noise: deviation of log
    loss of the largest run, growing as compute^-fade/2 below it. tail: degrees of freedom of the noise.
    """

    exponent: tuple[float, float]
    ratio_size: tuple[float, float]
    ratio_tokens: tuple[float, float]
    rough: tuple[float, float]
    smooth: tuple[float, float]
    growth: float
    noise: float
    fade: float
    tail: float

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Setting:
        pairs = ("exponent", "ratio_size", "ratio_tokens", "rough", "smooth")
        return cls(**{**value, **{name: (value[name][0], value[name][1]) for name in pairs}})

    @property
    def mean(self) -> np.ndarray:
        return np.array([0.0, self.ratio_size[0], self.ratio_tokens[0], self.exponent[0], self.exponent[0]])

    @property
    def precision(self) -> np.ndarray:
        """Nothing is known of E itself: its unit differs from table to table."""
        deviations = np.array([self.ratio_size[1], self.ratio_tokens[1], self.exponent[1], self.exponent[1]])
        return np.diag(np.append(1e-6, deviations**-2))


class KrigedSurface(Law):
    """The name and page of the law, for the lists of members; fit_kriged() fits it."""

    name = "surface with misfit"
    source = "arXiv:2203.15556 §3.3, with a Gaussian misfit (Matheron 1969)"
    inputs = ("parameters", "tokens")
    coefficients, exponents = ("E", "A", "B"), ("alpha", "beta")
    bounds, prior = ((0.0, 2.0), (0.0, 2.0)), (None, None)


@dataclass(frozen=True)
class Kriged:
    """A fit. theta [5] with covariance [5, 5]; x, y [n]: logs of size and tokens from the reference, their residuals
    kriged by inverse [n, n]: (misfit + noise covariance)^-1. scale: factor on the rough misfit and the noise that the
    table asked for. thetas [S, 5]: the point itself, or draws of it."""

    setting: Setting
    theta: np.ndarray
    covariance: np.ndarray
    x: np.ndarray
    y: np.ndarray
    log_loss: np.ndarray
    growth: np.ndarray
    inverse: np.ndarray
    scale: float
    thetas: np.ndarray

    def predict(self, inputs: Inputs) -> np.ndarray:
        """[S, t]: loss at these sizes and token counts, the residuals of neighbouring runs carried over."""
        x, y = _logs(inputs)
        weights = self._cross(x, y) @ self.inverse
        residual = self.log_loss - log_values(self.thetas, self.x, self.y)
        return np.exp(log_values(self.thetas, x, y) + residual @ weights.T)

    def misfit_deviation(self, inputs: Inputs) -> np.ndarray:
        """[t]: how far log loss may lie off the law there, after what the runs say about it."""
        x, y = _logs(inputs)
        cross = self._cross(x, y)
        prior = (self.scale * self.setting.rough[0]) ** 2 + self.setting.smooth[0] ** 2
        return np.sqrt(np.maximum(prior - np.einsum("tn,nm,tm->t", cross, self.inverse, cross), 0.0))

    def drawn(self, draws: int, seed: int) -> Kriged:
        """The same fit with draws of theta from its covariance."""
        rng = np.random.default_rng(seed)
        factor = np.linalg.cholesky(self.covariance)
        thetas = self.theta + rng.standard_normal((draws, len(self.theta))) @ factor.T
        return Kriged(**{**self.__dict__, "thetas": thetas})

    def parameters(self, index: int = 0) -> dict[str, float]:
        """E, A, B, alpha, beta of the law itself, in the units of the table."""
        log_floor, size, tokens, alpha, beta = self.thetas[index]
        a = np.exp(log_floor + size + alpha * LOG_SIZE)
        b = np.exp(log_floor + tokens + beta * LOG_TOKENS)
        values = (np.exp(log_floor), a, b, alpha, beta)
        return {name: float(value) for name, value in zip(NAMES, values, strict=True)}

    def _cross(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[t, n]: covariance of the misfit at targets and runs; a target's rough misfit is that of the largest run."""
        rough, smooth = kernels(self.setting, x, y, self.x, self.y)
        return self.scale**2 * rough * self.growth + smooth


def log_law(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln(E + A/N^alpha + B/D^beta) [n] and its derivative by theta [n, 5]."""
    of_size = np.exp(np.clip(theta[1] - theta[3] * x, -50, 50))
    of_tokens = np.exp(np.clip(theta[2] - theta[4] * y, -50, 50))
    total = 1 + of_size + of_tokens
    a, b = of_size / total, of_tokens / total
    return theta[0] + np.log(total), np.stack([np.ones_like(a), a, b, -x * a, -y * b], axis=-1)


def log_values(thetas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[S, n]: log_law() of many thetas [S, 5], without derivatives."""
    log_floor, size, tokens, alpha, beta = thetas.T[..., None]
    return log_floor + np.log1p(np.exp(size - alpha * x) + np.exp(tokens - beta * y))


def kernels(
    setting: Setting, x: np.ndarray, y: np.ndarray, x2: np.ndarray, y2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rough (exponential) and smooth (squared exponential) covariance of the misfit, [t, n] each."""
    dx, dy = np.abs(x[:, None] - x2), np.abs(y[:, None] - y2)
    (rough, short), (smooth, long) = setting.rough, setting.smooth
    return rough**2 * np.exp(-(dx + dy) / short), smooth**2 * np.exp(-0.5 * (dx**2 + dy**2) / long**2)


def fit_kriged(runs: Runs, setting: Setting) -> Kriged:
    """The law and its misfit from a table's runs (the largest 200 and as many of the others, where there are more)."""
    runs = _thinned(runs, MOST_RUNS)
    x, y = _logs(runs.inputs())
    log_loss, below = np.log(runs.loss), np.log(runs.compute.max() / runs.compute)
    growth = np.exp(0.5 * setting.growth * below)
    noise = setting.noise**2 * np.exp(setting.fade * below)
    rough, smooth = kernels(setting, x, y, x, y)
    rough = rough * growth * growth[:, None]
    theta = setting.mean
    theta[0] = np.average(log_loss - log_law(theta, x, y)[0], weights=1 / noise)
    trust, scale = np.ones(len(runs)), 1.0
    for last in [False] * (ROUNDS - 1) + [True]:
        used = scale
        inverse = np.linalg.inv(used**2 * (rough + np.diag(noise / trust)) + smooth)
        theta, hessian = _maximise(setting, x, y, log_loss, inverse, theta)
        residual = log_loss - log_law(theta, x, y)[0]
        pull = inverse @ residual
        scale = used * np.sqrt((SCALE_RUNS / used**2 + residual @ pull) / (SCALE_RUNS + len(runs)))
        if not last:
            own = used**2 * noise / trust * pull  # what of the residual is the run's own noise
            trust = (setting.tail + 1) / (setting.tail + own**2 / (noise * scale**2))
    covariance = np.linalg.inv(hessian)
    return Kriged(setting, theta, covariance, x, y, log_loss, growth, inverse, float(used), theta[None])


def _maximise(
    setting: Setting, x: np.ndarray, y: np.ndarray, log_loss: np.ndarray, inverse: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """theta of the highest posterior density from this start, and the curvature there; damped Gauss-Newton."""
    mean, prior = setting.mean, setting.precision

    def cost(at: np.ndarray) -> float:
        residual = log_loss - log_law(at, x, y)[0]
        return float(0.5 * residual @ inverse @ residual + 0.5 * (at - mean) @ prior @ (at - mean))

    damping, value = 1e-3, cost(theta)
    for _ in range(40):
        fitted, slopes = log_law(theta, x, y)
        pulled = slopes.T @ inverse
        hessian = pulled @ slopes + prior
        gradient = pulled @ (log_loss - fitted) - prior @ (theta - mean)
        gained = 0.0
        while damping < 1e8:
            step = np.clip(np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient), -1, 1)
            if (new := cost(theta + step)) <= value:
                theta, gained, value = theta + step, value - new, new
                break
            damping *= 8
        damping = max(damping * 0.2, 1e-9)
        if gained < 1e-7:
            break
    return theta, hessian


def _logs(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    size, tokens = (np.asarray(inputs[name], dtype=float) for name in ("parameters", "tokens"))
    return np.log(size) - LOG_SIZE, np.log(tokens) - LOG_TOKENS


def _thinned(runs: Runs, most: int) -> Runs:
    """At most that many runs: the larger half of these by compute, the other half spread evenly over the rest."""
    if len(runs) <= most:
        return runs
    order = np.argsort(-runs.compute, kind="stable")
    half = most // 2
    rest = order[half:][np.linspace(0, len(order) - half - 1, most - half).round().astype(int)]
    return runs.select(np.sort(np.concatenate([order[:half], rest])))
