"""The Chinchilla form, L = E + A/N^alpha + B/D^beta (arXiv:2203.15556 §3.3), plainly fitted: the form to beat.

Huber loss of 1e-3 on relative residuals. E, A and B are solved exactly on a grid of exponents by reweighted least
squares; the best starts are then finished on all five constants at once by L-BFGS with analytic gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.scorecard.method import Answer, Baseline, Question, TaskQuestion

KNEE = 1e-3
BOUNDS = (0.03, 1.5)
GRID, ROUNDS, STARTS = 14, 6, 3
GRID_RUNS = 120  # of a larger table every second, third ... run chooses the starts; all of them finish the fit
# The centre is the literature's (arXiv:2203.15556 table A3, arXiv:2404.10102), chosen knowing these families.
PRIOR_MEAN, PRIOR_DEVIATION = 0.34, 0.08
# With a prior the misfit needs a unit: a relative residual counts as Laplace noise of this scale.
NOISE = 0.05
COMPUTE_WEIGHT = 0.35


@dataclass(frozen=True)
class Surface:
    """Fitted constants; size, length: geometric means that N and D are divided by, so A and B are of loss's order."""

    floor: float
    a: float
    b: float
    alpha: float
    beta: float
    size: float
    length: float
    objective: float

    def __call__(self, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        size_term = self.a * (params / self.size) ** -self.alpha
        return self.floor + size_term + self.b * (tokens / self.length) ** -self.beta


def fit_surface(
    params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, weight: np.ndarray | None = None, prior: bool = False
) -> Surface:
    """params, tokens, loss [n] positive; weight [n] of each run, mean 1; prior: pull the exponents to 0.34 +- 0.08."""
    size, length = (float(np.exp(np.log(v).mean())) for v in (params, tokens))
    x, z = np.log(params / size), np.log(tokens / length)
    weight = np.ones(len(loss)) if weight is None else weight / weight.mean()
    strength = KNEE * NOISE if prior else 0.0
    order = np.argsort(x + z, kind="stable")[:: 1 + len(x) // GRID_RUNS]
    starts = _starts(x[order], z[order], loss[order], weight[order], strength * len(order) / len(x))
    ends = [_finish(start, x, z, loss, weight, strength) for start in starts]
    value, theta = min(ends, key=lambda end: end[0])
    floor, a, b = np.exp(theta[:3])
    return Surface(float(floor), float(a), float(b), float(theta[3]), float(theta[4]), size, length, float(value))


def _huber(residual: np.ndarray) -> np.ndarray:
    size = np.abs(residual)
    return np.where(size <= KNEE, 0.5 * size**2, KNEE * (size - 0.5 * KNEE))


def _penalty(exponents: np.ndarray, strength: float) -> np.ndarray:
    """[...]: half the squared distance from the prior in units of its deviation, times strength."""
    return 0.5 * strength * (((exponents - PRIOR_MEAN) / PRIOR_DEVIATION) ** 2).sum(-1)


def _starts(x: np.ndarray, z: np.ndarray, y: np.ndarray, weight: np.ndarray, strength: float) -> list[np.ndarray]:
    """The best points of the grid, as (log E, log A, log B, alpha, beta), no two of them neighbours."""
    axis = np.geomspace(*BOUNDS, GRID)
    exponents = np.stack([g.ravel() for g in np.meshgrid(axis, axis, indexing="ij")], axis=-1)
    columns = np.stack(
        [np.ones((len(exponents), len(y))), np.exp(-exponents[:, :1] * x), np.exp(-exponents[:, 1:] * z)], axis=-1
    )
    columns /= y[:, None]
    run_weight = np.broadcast_to(weight, columns.shape[:2])
    for _ in range(ROUNDS):
        constants = _nonnegative(columns, run_weight)
        residual = np.einsum("gnk,gk->gn", columns, constants) - 1
        run_weight = weight / np.maximum(np.abs(residual), KNEE)
    value = (weight * _huber(residual)).sum(1) + _penalty(exponents, strength)
    chosen: list[int] = []
    for i in np.argsort(value, kind="stable"):
        apart = [max(abs(i // GRID - j // GRID), abs(i % GRID - j % GRID)) > 1 for j in chosen]
        if all(apart):
            chosen.append(int(i))
        if len(chosen) == STARTS:
            break
    return [np.concatenate([np.log(np.maximum(constants[i], 1e-6)), exponents[i]]) for i in chosen]


def _nonnegative(columns: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[G, 3]: the constants >= 0 with the least weighted squares of columns @ constants - 1, by trying every subset."""
    weighted = columns * weight[..., None]
    gram, rhs = columns.transpose(0, 2, 1) @ weighted, weighted.sum(1)
    best, gain = np.zeros_like(rhs), np.full(len(rhs), -1.0)
    for subset in ((0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)):
        rows = np.array(subset)
        block = gram[:, rows[:, None], rows]
        ridge = 1e-12 * np.trace(block, axis1=1, axis2=2)[:, None, None] * np.eye(len(rows))
        part = np.linalg.solve(block + ridge, rhs[:, rows, None])[..., 0]
        reached = np.where((part >= 0).all(1), (part * rhs[:, rows]).sum(1), -1.0)
        better = reached > gain
        gain = np.where(better, reached, gain)
        full = np.zeros_like(rhs)
        full[:, rows] = part
        best = np.where(better[:, None], full, best)
    return best


def _finish(
    start: np.ndarray, x: np.ndarray, z: np.ndarray, y: np.ndarray, weight: np.ndarray, strength: float
) -> tuple[float, np.ndarray]:
    from scipy.optimize import minimize

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.stack([np.full(len(y), theta[0]), theta[1] - theta[3] * x, theta[2] - theta[4] * z])
        terms = np.exp(np.clip(terms, -60, 60)) / y
        residual = terms.sum(0) - 1
        slope = weight * np.clip(residual, -KNEE, KNEE)
        pull = strength * (theta[3:] - PRIOR_MEAN) / PRIOR_DEVIATION**2
        by_constant = terms @ slope
        by_exponent = np.array([-(terms[1] * x) @ slope, -(terms[2] * z) @ slope]) + pull
        value = (weight * _huber(residual)).sum() + _penalty(theta[3:], strength)
        return float(value) * 1e4, np.concatenate([by_constant, by_exponent]) * 1e4

    bounds = [(-14.0, 5.0)] * 3 + [BOUNDS] * 2
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return float(found.fun) / 1e4, found.x


class Chinchilla(Baseline):
    """E + A/N^alpha + B/D^beta as published. Tasks: the same form for -log(value)."""

    name = "chinchilla"

    def forecast(self, question: Question) -> Answer:
        runs = question.runs
        fitted = fit_surface(runs.params_N, runs.tokens_D, runs.loss)
        return Answer.points(fitted(question.params, question.tokens))

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        known = np.isfinite(question.params) & np.isfinite(question.tokens) & (question.value > 0)
        if known.sum() < 8:
            return None
        surprise = np.maximum(-np.log(question.value[known]), 1e-3)
        fitted = fit_surface(question.params[known], question.tokens[known], surprise)
        return np.exp(-fitted(question.at_params, question.at_tokens))


class ChinchillaPrior(Chinchilla):
    """The same with alpha, beta ~ (0.34, 0.08), runs weighted by compute^0.35, and a conformal interval from the errors
    on other sources: the best that is easily had."""

    name = "chinchilla_prior"
    conformal = True

    def forecast(self, question: Question) -> Answer:
        runs = question.runs
        weight = (runs.flops_C / runs.flops_C.max()) ** COMPUTE_WEIGHT
        fitted = fit_surface(runs.params_N, runs.tokens_D, runs.loss, weight, prior=True)
        return Answer.points(fitted(question.params, question.tokens))

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        return None
