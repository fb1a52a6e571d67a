"""The last digits of many fits at once: damped Newton steps on coefficients and exponents together.

Coefficients move in their logarithm, since a coefficient and its exponent are nearly collinear there and straight;
floors move as they are and stop at zero. The Huber loss has a Hessian almost everywhere, but an indefinite one, so each
step adds a multiple of the matrix of iteratively reweighted least squares, which is positive and majorises the loss:
Levenberg's damping in the metric of the problem itself. With nine rows of ten beyond the knee it ends within 1e-8 of
the optimum in six to eight steps, where reweighting alone creeps for hundreds.

S problems, n runs, k coefficients, q exponents; m = k + q.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.fitting.robust import Loss
from gnomon.forecast.laws.law import Inputs, Law, Rows

CHUNK_NUMBERS = 65_536  # rows times problems worked on at once: what fits a core's cache
ROUNDS = 100
LONGEST = 0.1  # of the range of an exponent, in one step


def descend(
    law: Law,
    theta_Sq: np.ndarray,
    p_Sk: np.ndarray,
    inputs: Inputs,
    losses_Sn: np.ndarray,
    loss: Loss,
    tolerance: float = 1e-9,
    damping: float = 0.1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponents [S, q], coefficients [S, k] and objective [S] at the minimum that is downhill from here.

    losses_Sn: [S, n] or [1, n]. Ends when a step gains less than `tolerance` of the objective. A coefficient that is
    zero and no floor stays zero. damping: small from afar, 0.1 from a neighbouring solution.
    """
    problems, runs = len(theta_Sq), losses_Sn.shape[-1]
    size = max(1, CHUNK_NUMBERS // runs)
    done = []
    for first in range(0, problems, size):
        some = slice(first, first + size)
        losses = losses_Sn if len(losses_Sn) == 1 else losses_Sn[some]
        done.append(_descend(law, theta_Sq[some], p_Sk[some], inputs, losses, loss.of(some), tolerance, damping))
    theta, p, value = (np.concatenate(parts) for parts in zip(*done, strict=True))
    return theta, p, value


_FIELDS = ("x", "p", "theta", "parts", "ratio", "residual", "value")


class _State:
    """Variables x [S, m] of one chunk with each row's parts of the fitted over the observed loss [S, k, n]."""

    def __init__(self, law: Law, x: np.ndarray, inputs: Inputs, log_losses: np.ndarray, loss: Loss) -> None:
        k = len(law.coefficients)
        floors = np.array(law.floors)
        p = np.where(floors, x[:, :k], np.exp(np.where(floors, 0.0, x[:, :k])))
        self.x, self.p, self.theta = x, p, x[:, k:].copy()
        self.parts = law.parts(self.theta, p, inputs, log_losses)
        self.ratio = self.parts.sum(1)
        self.residual = loss.residual(self.ratio)
        self.value = loss.value(self.residual) + law.prior_value(self.theta)

    def take(self, other: _State, rows: np.ndarray) -> None:
        """Let the other's problems stand here as well."""
        for name in _FIELDS:
            getattr(self, name)[rows] = getattr(other, name)[rows]

    def of(self, rows: np.ndarray) -> _State:
        part = object.__new__(_State)
        for name in _FIELDS:
            setattr(part, name, getattr(self, name)[rows])
        return part


def _descend(
    law: Law,
    theta_Sq: np.ndarray,
    p_Sk: np.ndarray,
    inputs: Inputs,
    losses_Sn: np.ndarray,
    loss: Loss,
    tolerance: float,
    first_damping: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k = len(law.coefficients)
    floors = np.array(law.floors)
    limits = np.array(law.bounds)
    low = np.concatenate([np.where(floors, 0.0, -745.0), limits[:, 0]])
    high = np.concatenate([np.where(floors, np.inf, 700.0), limits[:, 1]])
    begin = np.where(floors, p_Sk, np.log(np.maximum(p_Sk, 5e-324)))
    x = np.concatenate([begin, np.clip(theta_Sq, limits[:, 0], limits[:, 1])], axis=1)
    logs = np.log(losses_Sn)  # [1, n] where all problems share the losses
    state = _State(law, x, inputs, logs, loss)
    damping = np.full(len(x), first_damping)
    live = np.arange(len(x))  # the problems that `state` still holds
    found = np.empty_like(x), np.empty(len(x))
    for _ in range(ROUNDS):
        step, expected = _step(law, state, inputs, logs, loss, damping, low, high)
        trial = _State(law, np.clip(state.x + step, low, high), inputs, logs, loss)
        better = (trial.value <= state.value) & (expected >= 0)
        gained = state.value - trial.value
        settled = better & (gained <= tolerance * np.abs(state.value))
        settled &= 0.5 * expected <= 10 * tolerance * np.abs(state.value)
        if not better.all():
            trial.take(state, np.flatnonzero(~better))
        state = trial
        damping = damping * np.where(better, 0.2, 8.0)
        settled |= (damping > 1e10) | (np.abs(step).max(1) <= 1e-13)
        found[0][live], found[1][live] = state.x, state.value
        if settled.all():
            break
        if settled.any():
            keep = np.flatnonzero(~settled)
            state, live, damping = state.of(keep), live[keep], damping[keep]
            logs, loss = logs if len(logs) == 1 else logs[keep], loss.of(keep)
    x, value = found
    return x[:, k:], np.where(floors, x[:, :k], np.where(x[:, :k] <= -700, 0.0, np.exp(x[:, :k]))), value


def _step(
    law: Law,
    now: _State,
    inputs: Inputs,
    log_losses: np.ndarray,
    loss: Loss,
    damping_S: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The step [S, m], and what the gradient says it gains [S]."""
    gradient, hessian = _derivatives(law, now, inputs, log_losses, loss, damping_S)
    free = ~(((now.x <= low) & (gradient > 0)) | ((now.x >= high) & (gradient < 0)))
    gradient = gradient * free
    size = np.sqrt(np.maximum(np.abs(np.einsum("smm->sm", hessian)), 1e-30))
    both = (free[:, :, None] & free[:, None, :]) / (size[:, :, None] * size[:, None, :])
    matrix = hessian * both + np.eye(len(low)) * np.where(free, 1e-12, 1.0)[:, None, :]
    step = np.linalg.solve(matrix, -(gradient / size)[..., None])[..., 0] / size * free
    k = len(law.coefficients)
    longest = (np.abs(step[:, k:]) / (high - low)[k:]).max(1, initial=0.0)
    step = step * np.minimum(1.0, LONGEST / np.maximum(longest, 1e-300))[:, None]
    return step, -(gradient * step).sum(1)


def _derivatives(
    law: Law, now: _State, inputs: Inputs, log_losses: np.ndarray, loss: Loss, damping_S: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [S, m] of the objective and its damped Hessian [S, m, m]."""
    k = len(law.coefficients)
    pull, weight = loss.slope_and_curvature(now.residual, damping_S)
    if loss.log:
        weight -= pull * loss.scale  # the logarithm bends
        relative = 1 / (now.ratio * loss.scale)
    else:
        relative = (1 / loss.scale)[None, :]
    rows = Rows(np.exp(-log_losses) * relative, pull, weight)
    parts = now.parts * relative[:, None, :]
    gradient, hessian = law.normal_equations(now.theta, now.p, inputs, parts, rows)
    slope, curvature = law.prior_slope(now.theta)
    gradient[:, k:] += slope
    hessian[:, k:, k:] += np.diag(curvature)
    return gradient, hessian
