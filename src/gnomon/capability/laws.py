"""Two laws of a bucket's pass rate over compute, each with what it says of the quantity that is measured.

The measured quantity is the mean over problems of H_n - H_c (gnomon.evals.pass_rates), -E[log pass rate] up to its
censoring tail. Power: alpha C^-k, as the report has it. Mixture: every problem i passes with probability
ceiling * sigmoid(slope * (log C - onset_i)), onsets normal over problems; a binomial likelihood, so that no success at
all says what it says, and bounded on both sides.

R runs, P problems of a bucket, Q nodes of the quadrature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnomon.capability.outcomes import Table
from gnomon.evals.pass_rates import tail

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
LOG_WEIGHTS = np.log(WEIGHTS / WEIGHTS.sum())
TINY = 1e-9
FLOOR = 1e-3  # nats: a mean -log pass rate below it cannot be told from 0 in logarithms

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Power:
    """y = alpha C^-k."""

    log_alpha: float
    k: float

    def at(self, compute: float) -> float:
        return math.exp(self.log_alpha - self.k * math.log(compute))


def fit_power(compute: Array, y: Array, error: Array) -> Power:
    """Weighted least squares in logarithms. y, error: mean -log pass rate of each run and its standard error, [R]."""
    level = np.maximum(y, FLOOR)
    weight = (level / np.maximum(error, 0.05 * level)) ** 2
    x = np.log(compute)
    centre = np.average(x, weights=weight)
    spread = np.average((x - centre) ** 2, weights=weight)
    slope = np.average((x - centre) * np.log(level), weights=weight) / spread if spread > 0 else 0.0
    return Power(float(np.average(np.log(level), weights=weight) - slope * centre), float(-slope))


@dataclass(frozen=True)
class Mixture:
    """ceiling: the most a pass rate can be. slope: of the sigmoid, per unit of log compute. onset, spread: mean and
    standard deviation over problems of the log compute at which half the ceiling is reached."""

    ceiling: float
    slope: float
    onset: float
    spread: float

    @classmethod
    def of(cls, theta: Array) -> Mixture:
        return cls(_sigmoid(theta[0]), math.exp(theta[1]), float(theta[2]), math.exp(theta[3]))

    def rates(self, compute: float) -> Array:
        """Pass rates at the quadrature's onsets, [Q]."""
        z = self.slope * (math.log(compute) - self.onset - self.spread * NODES)
        return self.ceiling / (1 + np.exp(-np.clip(z, -60, 60)))

    def mean_rate(self, compute: float) -> float:
        """Mean pass rate over problems."""
        return float(self.rates(compute) @ np.exp(LOG_WEIGHTS))

    def at(self, compute: float, draws: int) -> float:
        """Mean of what `draws` draws a problem measure: -log p less the tail they cannot see."""
        p = np.clip(self.rates(compute), TINY, 1.0)
        seen = [-math.log(q) - tail_of(draws, float(q)) for q in p]
        return float(np.array(seen) @ np.exp(LOG_WEIGHTS))


def tail_of(draws: int, p: float) -> float:
    """gnomon.evals.pass_rates.tail; for rates that `draws` draws almost never see, from its definition at once."""
    if p * draws > 1e-3:
        return tail(draws, p)
    return -math.log(p) - draws * p  # H_n - H_c is nearly n p on average


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, x))))


# Weak priors on (logit ceiling, log slope, onset in decades from the ladder's middle, log spread): means, deviations.
PRIOR_MEAN = np.array([3.0, 0.0, 2.0, 0.3])
PRIOR_DEVIATION = np.array([1.5, 0.7, 6.0, 0.8])


def fit_mixture(table: Table, weight: Array | None = None, start: Array | None = None) -> tuple[Mixture, Array]:
    """(law, its parameters) by maximum posterior. weight [P]: how often each problem counts (a bootstrap's draw)."""
    from scipy.optimize import minimize

    x = np.log(table.compute)
    middle = float(x.mean())
    passes, fails = table.passes.T, (table.draws - table.passes).T  # [P, R]
    counts = np.ones(passes.shape[0]) if weight is None else weight

    centre = PRIOR_MEAN + np.array([0.0, 0.0, middle, 0.0])

    def objective(theta: Array) -> tuple[float, Array]:
        """Minus log posterior and its gradient."""
        law = Mixture.of(theta)
        z = np.clip(law.slope * (x[:, None] - law.onset - law.spread * NODES[None, :]), -60, 60)
        sigmoid = 1 / (1 + np.exp(-z))
        p = np.clip(law.ceiling * sigmoid, TINY, 1 - TINY)  # [R, Q]
        likelihood = passes @ np.log(p) + fails @ np.log1p(-p) + LOG_WEIGHTS  # [P, Q]
        top = likelihood.max(axis=1, keepdims=True)
        each = np.exp(likelihood - top)
        total = each.sum(axis=1, keepdims=True)
        share = counts[:, None] * each / total
        pull = passes.T @ share - (fails.T @ share) * p / (1 - p)  # of log p, [R, Q]
        by_z = pull * (1 - sigmoid)
        away = (theta - centre) / PRIOR_DEVIATION
        value = -float(counts @ (top + np.log(total))[:, 0]) + 0.5 * float(away @ away)
        slope = np.array([
            pull.sum() * (1 - law.ceiling), (by_z * z).sum(), -law.slope * by_z.sum(),
            -law.slope * law.spread * (by_z @ NODES).sum(),
        ])  # fmt: skip
        return value, -slope + away / PRIOR_DEVIATION

    begin = centre if start is None else start
    found = minimize(objective, begin, jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-8})
    return Mixture.of(found.x), found.x
