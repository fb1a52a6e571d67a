"""Variable projection: fit a law by solving its coefficients exactly and searching over its exponents only.

Golub and Pereyra (1973), with coefficients held non-negative and a Huber loss on relative residuals, each step a
majorisation of it (iteratively reweighted least squares), so the objective never rises. Everything is batched over S
problems: a point fit is S = 1, a bootstrap S = 300, at almost the same price.

S problems, G grid points, n runs, k coefficients, q exponents.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from gnomon.forecast.laws import Inputs, Law


@dataclass(frozen=True)
class Loss:
    """Huber loss on r/scale, r = fitted/observed - 1.

    scale: relative noise of each run, [n]. knee: where squares turn to lines, in units of scale; worse is the knee on
    the side where the run lies above the law. An under-tuned run can only be worse, so a small `worse` keeps such runs
    from pulling the law up.
    """

    scale: np.ndarray
    knee: float = 2.0
    worse: float = 2.0

    def knees(self, residual: np.ndarray) -> np.ndarray:
        return np.where(residual < 0, self.worse, self.knee)

    def value(self, residual: np.ndarray) -> np.ndarray:
        """Sum over the last axis; residual in units of scale."""
        size, knee = np.abs(residual), self.knees(residual)
        return np.where(size <= knee, 0.5 * size**2, knee * (size - 0.5 * knee)).sum(-1)

    def weights(self, residual: np.ndarray) -> np.ndarray:
        """Weights of the parabola that touches the loss here and lies above it everywhere on the same side."""
        knee = self.knees(residual)
        return np.minimum(1.0, knee / np.maximum(np.abs(residual), 1e-300))


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
    law: Law, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, starts: int = 5, near: Solution | None = None
) -> Solution:
    """The law that fits best, for each of S tables of the same runs.

    losses_Sn: observed losses, positive. starts: points of a grid over the exponents that are polished per problem;
    with `near`, a solution of almost the same problem, that one is polished and no grid is searched. Deterministic.
    """
    if losses_Sn.ndim == 1:
        losses_Sn = losses_Sn[None]
    if near is not None:
        begin = np.repeat(near.exponents[:1], len(losses_Sn), axis=0)
    else:
        begin = _best_starts(law, inputs, losses_Sn, loss, starts)
    # A single fit is finished by refine(); a bootstrap is good enough at a millionth.
    solution = Solution(law, *polish(law, begin, inputs, losses_Sn, loss, 1e-4 if len(losses_Sn) == 1 else 1e-6))
    for _ in range(8 if len(losses_Sn) == 1 else 0):  # the kinks of the Huber loss can stop BFGS short; start it again
        before, solution = solution.objective[0], refine(solution, inputs, losses_Sn[0], loss)
        if solution.objective[0] >= before * (1 - 1e-9):
            break
    return solution


def _best_starts(law: Law, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, starts: int) -> np.ndarray:
    """[S, q]: the exponents that some rough polishing of the best grid points ends at."""
    theta_Gq = _grid(law)
    value_SG = _grid_objective(law, theta_Gq, inputs, losses_Sn, loss)
    starts = min(starts, len(theta_Gq))
    best_St = np.argsort(value_SG, axis=1, kind="stable")[:, :starts]
    problems = np.repeat(np.arange(len(losses_Sn)), starts)
    theta, _, value = polish(law, theta_Gq[best_St.ravel()], inputs, losses_Sn[problems], loss, 1e-3)
    winner = value.reshape(-1, starts).argmin(1) + np.arange(len(losses_Sn)) * starts
    return theta[winner]


def _grid(law: Law) -> np.ndarray:
    """[G, q]: exponents spaced evenly in their logarithm over the bounds."""
    points = {1: 40, 2: 14}.get(len(law.exponents), 7)
    axes = [np.geomspace(lo, hi, points) for lo, hi in law.bounds]
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=-1)


def _grid_objective(law: Law, theta_Gq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss) -> np.ndarray:
    """[S, G]: the objective with coefficients solved, after a few reweightings that tell outliers from the rest."""
    columns_Gnk = law.columns(theta_Gq, inputs)
    values = [_reweighted(columns_Gnk, y_n, loss) for y_n in losses_Sn] if len(losses_Sn) <= 4 else None
    if values is not None:
        return np.stack(values) + _prior(law, theta_Gq)
    # Many problems: one pass of plain least squares for all of them, as two matrix products; polishing reweights.
    weight_Sn = 1 / (loss.scale * losses_Sn) ** 2
    products = np.einsum("gni,gnj->ngij", columns_Gnk, columns_Gnk)
    gram = np.tensordot(weight_Sn, products, axes=(1, 0))
    rhs = np.tensordot(weight_Sn * losses_Sn, columns_Gnk.transpose(1, 0, 2), axes=(1, 0))
    p = nonnegative(gram, rhs)
    total = (weight_Sn * losses_Sn**2).sum(1)[:, None]
    fitted = np.einsum("sgi,sgij,sgj->sg", p, gram, p) - 2 * (p * rhs).sum(-1)
    return 0.5 * (total + fitted) + _prior(law, theta_Gq)


def _reweighted(columns_Gnk: np.ndarray, losses_n: np.ndarray, loss: Loss, rounds: int = 3) -> np.ndarray:
    """[G]: the Huber objective at each grid point after some rounds of reweighted least squares."""
    weights = np.ones(columns_Gnk.shape[:2])
    losses = np.broadcast_to(losses_n, weights.shape)
    residual = weights
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


def _prior(law: Law, theta: np.ndarray) -> np.ndarray:
    """Half the squared distance of the exponents from their prior, [...]."""
    value = np.zeros(theta.shape[:-1])
    for i, prior in enumerate(law.prior):
        if prior is not None:
            value = value + 0.5 * ((theta[..., i] - prior[0]) / prior[1]) ** 2
    return value


def objective_and_gradient(
    law: Law, theta_Sq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, rounds: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """The projected objective [S] and its gradient by the exponents [S, q], with coefficients at their optimum.

    The gradient needs no derivative of the coefficients: they are optimal, so it vanishes (envelope theorem).
    """
    columns = law.columns(theta_Sq, inputs)
    weights = np.ones_like(losses_Sn)
    for _ in range(rounds):
        residual, p = _coefficients(columns, losses_Sn, weights, loss)
        weights = loss.weights(residual)
    jacobian = _jacobian(law, theta_Sq, inputs, losses_Sn, loss, p)
    gradient = np.einsum("snq,sn,sn->sq", jacobian, weights, residual) + _prior_slope(law, theta_Sq)
    return loss.value(residual) + _prior(law, theta_Sq), gradient


def _jacobian(
    law: Law, theta_Sq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, p: np.ndarray
) -> np.ndarray:
    """[S, n, q]: derivative of the residuals (in units of noise) by the exponents, coefficients held."""
    slopes = law.slopes(theta_Sq, inputs)
    return (p[:, None, None, :] @ slopes)[..., 0, :] / (losses_Sn * loss.scale)[..., None]


def _prior_slope(law: Law, theta: np.ndarray) -> np.ndarray:
    slope = np.zeros_like(theta)
    for i, prior in enumerate(law.prior):
        if prior is not None:
            slope[..., i] = (theta[..., i] - prior[0]) / prior[1] ** 2
    return slope


def polish(
    law: Law, theta_Sq: np.ndarray, inputs: Inputs, losses_Sn: np.ndarray, loss: Loss, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Damped Gauss-Newton on the exponents from these starts: exponents [S, q], coefficients [S, k], objective [S].

    Ends when a step gains less than `tolerance` of the objective.
    """
    low, high = np.array(law.bounds).T
    prior_curvature = np.array([0.0 if prior is None else prior[1] ** -2 for prior in law.prior])
    theta = np.clip(theta_Sq, low, high)
    columns = law.columns(theta, inputs)
    residual, p = _coefficients(columns, losses_Sn, np.ones_like(losses_Sn), loss)
    value = loss.value(residual) + _prior(law, theta)
    damping = np.full(len(theta), 1e-3)
    live = np.arange(len(theta))
    for _ in range(100):
        y, th = losses_Sn[live], theta[live]
        weights = loss.weights(residual[live])
        gradient, hessian = _normal_equations(law, th, inputs, y, loss, weights, columns[live], residual[live], p[live])
        gradient += _prior_slope(law, th)
        hessian += np.eye(len(low)) * prior_curvature
        step = _step(gradient, hessian, damping[live], th, low, high)
        trial = np.clip(th + step, low, high)
        trial_columns = law.columns(trial, inputs)
        trial_residual, trial_p = _coefficients(trial_columns, y, weights, loss)
        trial_value = loss.value(trial_residual) + _prior(law, trial)
        better = trial_value <= value[live]
        moved = live[better]
        gained = value[moved] - trial_value[better]
        theta[moved], p[moved], value[moved] = trial[better], trial_p[better], trial_value[better]
        columns[moved], residual[moved] = trial_columns[better], trial_residual[better]
        damping[live] = np.where(better, damping[live] * 0.2, damping[live] * 8)
        settled = np.zeros(len(live), dtype=bool)
        settled[better] = gained <= tolerance * np.abs(value[moved])
        settled |= (np.abs(trial - th) <= 1e-9 * th).all(1)
        live = live[~(settled | (damping[live] > 1e8))]
        if not len(live):
            break
    return theta, p, value


def refine(solution: Solution, inputs: Inputs, losses_n: np.ndarray, loss: Loss) -> Solution:
    """The last digits of a single fit: BFGS on coefficients and exponents at once, from where polish() stopped.

    Where most runs lie beyond the knee the Huber loss is almost absolute error, and reweighting creeps. The variables
    are whitened by the Gauss-Newton matrix, since coefficients and exponents are nearly collinear (so the tolerance on
    the gradient is one of the objective: its square); those at a bound stay.
    """
    from scipy.optimize import minimize

    law = solution.law
    k = len(law.coefficients)
    low, high = np.array(law.bounds).T
    begin = np.concatenate([solution.coefficients[0], solution.exponents[0]])
    free = np.concatenate([begin[:k] > 0, (begin[k:] > low) & (begin[k:] < high)])
    size = np.where(begin > 0, begin, 1.0)

    def at(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All variables, residuals [n] and their derivatives by the logs of the free variables [n, free]."""
        variables = begin.copy()
        variables[free] = size[free] * np.exp(np.clip(logs, -3, 3))
        theta = variables[None, k:]
        relative = law.columns(theta, inputs)[0] / (losses_n * loss.scale)[:, None]
        residual = relative @ variables[:k] - 1 / loss.scale
        slopes = _jacobian(law, theta, inputs, losses_n[None], loss, variables[None, :k])[0]
        return variables, residual, (np.concatenate([relative, slopes], axis=1) * variables)[:, free]

    _, residual, slopes = at(np.zeros(free.sum()))
    curvature = (slopes * loss.weights(residual)[:, None]).T @ slopes
    values, vectors = np.linalg.eigh(curvature)
    whiten = vectors / np.sqrt(np.maximum(values, 1e-9 * values.max()))

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        variables, residual, slopes = at(whiten @ z)
        prior = np.concatenate([np.zeros(k), _prior_slope(law, variables[k:]) * variables[k:]])[free]
        gradient = whiten.T @ (slopes.T @ (loss.weights(residual) * residual) + prior)
        return float(loss.value(residual) + _prior(law, variables[k:])), gradient

    found = minimize(objective, np.zeros(free.sum()), jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 300})
    variables = at(whiten @ found.x)[0]
    allowed = bool(((variables[k:] >= low) & (variables[k:] <= high)).all())
    if not allowed or not found.fun < solution.objective[0]:
        return solution
    return Solution(law, variables[None, k:], variables[None, :k], np.array([found.fun]))


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
