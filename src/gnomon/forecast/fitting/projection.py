"""Variable projection: fit a law by solving its coefficients exactly and searching over its exponents only.

Golub and Pereyra (1973), with coefficients held non-negative and a Huber loss, each step a majorisation of it
(iteratively reweighted least squares), so the objective never rises. This finds the right valley from a grid of
exponents; newton.py goes to its bottom, in all variables at once. Everything is batched over S problems: a point fit
is S = 1, a bootstrap S = 4,000.

S problems, G grid points, n runs, k coefficients, q exponents.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from gnomon.forecast.fitting.newton import descend
from gnomon.forecast.fitting.robust import Loss
from gnomon.forecast.laws import Inputs, Law

__all__ = ["Loss", "Solution", "nonnegative", "objective_and_gradient", "polish", "solve"]


@dataclass(frozen=True)
class Solution:
    """exponents [S, q], coefficients [S, k], objective [S] (half the squared residuals, in units of the noise)."""

    law: Law
    exponents: np.ndarray
    coefficients: np.ndarray
    objective: np.ndarray

    def predict(self, inputs: Inputs) -> np.ndarray:
        """[S, n]: loss at the inputs."""
        return np.einsum("snk,sk->sn", self.law.columns(self.exponents, inputs), self.coefficients)

    def parameters(self, index: int = 0) -> dict[str, float]:
        names = (*self.law.coefficients, *self.law.exponents)
        values = (*self.coefficients[index], *self.exponents[index])
        return {name: float(value) for name, value in zip(names, values, strict=True)} | self.law.fixed


def solve(
    law: Law,
    inputs: Inputs,
    losses_Sn: np.ndarray,
    loss: Loss,
    starts: int = 5,
    near: Solution | None = None,
    begin: np.ndarray | None = None,
) -> Solution:
    """The law that fits best, for each of S tables of the same runs.

    losses_Sn: observed losses, positive, [n] or [S, n] (or [n] with a loss that has weights [S, n]). starts: points of
    a grid over the exponents that are polished per problem. near: a solution of almost the same problem, to go on from
    instead of a grid. begin: exponents [q] to start from besides the grid.
    Deterministic.
    """
    problems = 1 if loss.weight is None or loss.weight.ndim < 2 else len(loss.weight)
    losses_Sn = np.atleast_2d(losses_Sn)
    losses_Sn = np.broadcast_to(losses_Sn, (max(problems, len(losses_Sn)), losses_Sn.shape[1]))
    if near is not None:
        return _beside(law, inputs, losses_Sn, loss, near)
    given = [np.atleast_2d(begin)] if begin is not None else []
    return _searched(law, inputs, losses_Sn, loss, starts, given)


def _beside(law: Law, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, near: Solution) -> Solution:
    """Every table from the solution of a similar one."""
    theta, p = (np.repeat(a[:1], len(losses_Sn), axis=0) for a in (near.exponents, near.coefficients))
    if not (p[0] > 0).all():  # a coefficient at zero may be wanted by some of the tables
        theta, p, _ = polish(law, theta, inputs, losses_Sn, loss, 1e-3)
    tolerance = 1e-10 if len(losses_Sn) == 1 else 1e-7
    return Solution(law, *descend(law, theta, p, inputs, losses_Sn, loss, tolerance))


def _searched(
    law: Law, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, starts: int, given: list[np.ndarray]
) -> Solution:
    """Every table from the best points of the grid and from those given, each followed to its bottom."""
    problems = len(losses_Sn)
    begin = _best_of_grid(law, inputs, losses_Sn, loss, starts)
    begin = np.concatenate([begin, *(np.repeat(g[None, :], problems, axis=0) for g in given)], axis=1)
    each = begin.shape[1]
    index = np.repeat(np.arange(problems), each)
    rows, weighted = losses_Sn[index], loss.of(index)
    # Rough polishing tells the valleys apart and settles which coefficients are zero.
    theta, p, _ = polish(law, begin.reshape(problems * each, -1), inputs, rows, weighted, 1e-3)
    theta, p, value = descend(law, theta, p, inputs, rows, weighted, 1e-10, damping=1e-2)
    winner = value.reshape(problems, each).argmin(1) + np.arange(problems) * each
    return Solution(law, theta[winner], p[winner], value[winner])


def _best_of_grid(law: Law, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, starts: int) -> np.ndarray:
    """[S, starts, q]: the best points of the grid."""
    theta_Gq = _grid(law)
    value_SG = _grid_objective(law, theta_Gq, inputs, losses_Sn, loss)
    best_St = np.argsort(value_SG, axis=1, kind="stable")[:, : min(starts, len(theta_Gq))]
    return theta_Gq[best_St]


def _grid(law: Law) -> np.ndarray:
    """[G, q]: every combination of the values where a search begins."""
    return np.stack([a.ravel() for a in np.meshgrid(*law.grid(), indexing="ij")], axis=-1)


def _grid_objective(law: Law, theta_Gq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss) -> np.ndarray:
    """[S, G]: the objective with coefficients solved, after a few reweightings that tell outliers from the rest."""
    columns_Gnk, loss = law.columns(theta_Gq, inputs), replace(loss, log=False)
    if len(losses_Sn) <= 4:
        rows = enumerate(losses_Sn)
        values = [_reweighted(columns_Gnk, losses_n, loss.of(slice(i, i + 1))) for i, losses_n in rows]
        return np.stack(values) + law.prior_value(theta_Gq)
    # Many problems: one pass of plain least squares for all of them, as two matrix products; polishing reweights.
    weight_Sn = loss.counted(losses_Sn.shape) / (loss.scale * losses_Sn) ** 2
    products = np.einsum("gni,gnj->ngij", columns_Gnk, columns_Gnk)
    gram = np.tensordot(weight_Sn, products, axes=(1, 0))
    rhs = np.tensordot(weight_Sn * losses_Sn, columns_Gnk.transpose(1, 0, 2), axes=(1, 0))
    p = nonnegative(gram, rhs)
    total = (weight_Sn * losses_Sn**2).sum(1)[:, None]
    fitted = np.einsum("sgi,sgij,sgj->sg", p, gram, p) - 2 * (p * rhs).sum(-1)
    return 0.5 * (total + fitted) + law.prior_value(theta_Gq)


def _reweighted(columns_Gnk: np.ndarray, losses_n: np.ndarray, loss: Loss, rounds: int = 3) -> np.ndarray:
    """[G]: the Huber objective at each grid point after some rounds of reweighted least squares."""
    weights = residual = loss.counted(columns_Gnk.shape[:2])
    losses = np.broadcast_to(losses_n, weights.shape)
    for _ in range(rounds):
        residual, _ = _coefficients(columns_Gnk, losses, weights, loss)
        weights = loss.weights(residual)
    return loss.value(residual)


def _coefficients(
    columns_Snk: np.ndarray, losses_Sn: np.ndarray, weights_Sn: np.ndarray, loss: Loss
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals in units of noise [S, n] and the non-negative coefficients [S, k] that minimise their weighted
    squares."""
    relative = columns_Snk / (losses_Sn * loss.scale)[..., None]
    weighted = (relative * weights_Sn[..., None]).transpose(0, 2, 1)
    p = nonnegative(weighted @ relative, weighted @ (1 / loss.scale))
    return (relative @ p[..., None])[..., 0] - 1 / loss.scale, p


def nonnegative(gram: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """p >= 0 that minimises p'Gp/2 - rhs'p, exactly: every subset of active coefficients is solved and the best kept.

    gram: [..., k, k] positive semi-definite; rhs: [..., k]; k is small (2^k solves).
    """
    k = rhs.shape[-1]
    scale = np.sqrt(np.maximum(np.einsum("...kk->...k", gram), 1e-300))
    gram = gram / (scale[..., :, None] * scale[..., None, :])
    rhs = rhs / scale
    best, gain = np.zeros_like(rhs), np.zeros(rhs.shape[:-1])
    for subset in itertools.chain.from_iterable(itertools.combinations(range(k), r) for r in range(k, 0, -1)):
        rows = np.array(subset)
        block = gram[..., rows[:, None], rows] + 1e-13 * np.eye(len(rows))
        part = np.linalg.solve(block, rhs[..., rows, None])[..., 0]
        better = (part >= 0).all(-1)
        if len(subset) == k and better.all():
            return part / scale  # the free optimum is allowed everywhere
        reached = np.where(better, (part * rhs[..., rows]).sum(-1), -1.0)
        better &= reached > gain
        gain = np.where(better, reached, gain)
        candidate = np.zeros_like(rhs)
        candidate[..., rows] = part
        best = np.where(better[..., None], candidate, best)
    return best / scale


def objective_and_gradient(
    law: Law, theta_Sq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, rounds: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """The projected objective [S] and its gradient by the exponents [S, q], with coefficients at their optimum.

    The gradient needs no derivative of the coefficients: they are optimal, so it vanishes (envelope theorem).
    """
    columns = law.columns(theta_Sq, inputs)
    weights = loss.counted(losses_Sn.shape)
    for _ in range(rounds):
        residual, p = _coefficients(columns, losses_Sn, weights, loss)
        weights = loss.weights(residual)
    jacobian = _jacobian(law, theta_Sq, inputs, losses_Sn, loss, p)
    gradient = np.einsum("snq,sn,sn->sq", jacobian, weights, residual) + law.prior_slope(theta_Sq)[0]
    return loss.value(residual) + law.prior_value(theta_Sq), gradient


def _jacobian(
    law: Law, theta_Sq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, p: np.ndarray
) -> np.ndarray:
    """[S, n, q]: derivative of the residuals (in units of noise) by the exponents, coefficients held."""
    slopes = law.slopes(theta_Sq, inputs)
    return (p[:, None, None, :] @ slopes)[..., 0, :] / (losses_Sn * loss.scale)[..., None]


def polish(
    law: Law, theta_Sq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Damped Gauss-Newton on the exponents from these starts: exponents [S, q], coefficients [S, k], objective [S].

    Residuals are taken relative (loss.log is for descend()). Ends when a step gains less than `tolerance` of the
    objective.
    """
    loss = replace(loss, log=False)
    low, high = np.array(law.bounds).T
    theta = np.clip(theta_Sq, low, high)
    columns = law.columns(theta, inputs)
    residual, p = _coefficients(columns, losses_Sn, loss.counted(losses_Sn.shape), loss)
    value = loss.value(residual) + law.prior_value(theta)
    damping = np.full(len(theta), 1e-3)
    live = np.arange(len(theta))
    for _ in range(100):
        y, th, mine = losses_Sn[live], theta[live], loss.of(live)
        weights = mine.weights(residual[live])
        gradient, hessian = _normal_equations(law, th, inputs, y, mine, weights, columns[live], residual[live], p[live])
        slope, curvature = law.prior_slope(th)
        gradient += slope
        hessian += np.diag(curvature)
        step = _step(gradient, hessian, damping[live], th, low, high)
        trial = np.clip(th + step, low, high)
        trial_columns = law.columns(trial, inputs)
        trial_residual, trial_p = _coefficients(trial_columns, y, weights, mine)
        trial_value = mine.value(trial_residual) + law.prior_value(trial)
        better = trial_value <= value[live]
        moved = live[better]
        gained = value[moved] - trial_value[better]
        theta[moved], p[moved], value[moved] = trial[better], trial_p[better], trial_value[better]
        columns[moved], residual[moved] = trial_columns[better], trial_residual[better]
        damping[live] = np.where(better, damping[live] * 0.2, damping[live] * 8)
        settled = np.zeros(len(live), dtype=bool)
        settled[better] = gained <= tolerance * np.abs(value[moved])
        settled |= (np.abs(trial - th) <= 1e-9 * np.abs(th)).all(1)
        live = live[~(settled | (damping[live] > 1e8))]
        if not len(live):
            break
    return theta, p, value


def _normal_equations(
    law: Law,
    theta_Sq: np.ndarray,
    inputs: Inputs,
    losses_Sn: np.ndarray,
    loss: Loss,
    weights_Sn: np.ndarray,
    columns_Snk: np.ndarray,
    residual_Sn: np.ndarray,
    p_Sk: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [S, q] and Gauss-Newton matrix [S, q, q] of the projected objective (Kaufman's approximation)."""
    jacobian = _jacobian(law, theta_Sq, inputs, losses_Sn, loss, p_Sk)
    weighted = (jacobian * weights_Sn[..., None]).transpose(0, 2, 1)
    gradient = (weighted @ residual_Sn[..., None])[..., 0]
    relative = columns_Snk / (losses_Sn * loss.scale)[..., None] * (p_Sk > 0)[:, None, :]
    relative = relative * np.sqrt(weights_Sn)[..., None]
    relative = relative / np.sqrt(np.maximum((relative**2).sum(1, keepdims=True), 1e-300))
    gram = relative.transpose(0, 2, 1) @ relative
    # An inactive coefficient has an empty column; one on its diagonal leaves it out of the projection.
    gram += np.eye(gram.shape[-1]) * np.where(p_Sk > 0, 1e-12, 1.0)[:, None, :]
    across = relative.transpose(0, 2, 1) @ (jacobian * np.sqrt(weights_Sn)[..., None])
    hessian = weighted @ jacobian - across.transpose(0, 2, 1) @ np.linalg.solve(gram, across)
    return gradient, hessian


def _step(
    gradient: np.ndarray, hessian: np.ndarray, damping: np.ndarray, theta: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Marquardt's step; an exponent at its bound that would leave stays where it is."""
    free = ~(((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0)))
    diagonal = np.maximum(np.einsum("sqq->sq", hessian), 1e-12)
    q = gradient.shape[1]
    matrix = hessian * free[:, :, None] * free[:, None, :]
    matrix = matrix + np.eye(q) * np.where(free, diagonal * damping[:, None], 1.0)[:, None, :]
    return np.linalg.solve(matrix, -(gradient * free)[..., None])[..., 0]
