"""Laws of compute alone: last point, power + floor (arXiv:2303.08774 §3.1), and BNSL with one break (arXiv:2210.14891).

They see the frontier (the running minimum of loss over compute), or the minima of isoFLOP budgets where these are
asked about, and answer only for targets that lie on it. Residuals of log loss, several starts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.scorecard.method import Answer, Baseline, Question, TaskQuestion
from gnomon.forecast.scorecard.minima import minima

FEWEST_FRONTIER, FRONTIER_SPAN = 4, 5.0
FEWEST_MINIMA = 4


def frontier(family: Family) -> np.ndarray:
    """Indices of the runs that are better than every run of less compute, ascending in compute."""
    order = np.lexsort([family.loss, family.flops_C])
    lowest = np.minimum.accumulate(family.loss[order])
    first = np.concatenate([[True], lowest[1:] < lowest[:-1]])
    return order[first]


def seen_by(question: Question) -> tuple[np.ndarray, np.ndarray] | None:
    """Compute and loss of the points that a law of compute is fitted to; None when they are too few or too close."""
    if question.optimum:
        points = minima(question.runs)
        x, y = np.array([m.budget for m in points]), np.array([m.loss for m in points])
        return (x, y) if len(x) >= FEWEST_MINIMA else None
    best = frontier(question.runs)
    x, y = question.runs.flops_C[best], question.runs.loss[best]
    return (x, y) if len(x) >= FEWEST_FRONTIER and x[-1] / x[0] >= FRONTIER_SPAN else None


class LastPoint(Baseline):
    """The best loss seen."""

    name = "last_point"

    def forecast(self, question: Question) -> Answer:
        return Answer.points(np.full(len(question), question.runs.loss.min()))

    def curve(self, x: np.ndarray, y: np.ndarray, at: np.ndarray, source: str) -> np.ndarray | None:
        return np.full(len(at), y[-1])

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        return np.full(len(question.at_params), question.value.max())


class _OfCompute(Baseline):
    fit: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]

    def forecast(self, question: Question) -> Answer:
        points = seen_by(question)
        if points is None or not question.on_frontier.any():
            return Answer.nothing(len(question))
        law = type(self).fit(*points)
        return Answer.points(np.where(question.on_frontier, law(question.compute), np.nan))

    def curve(self, x: np.ndarray, y: np.ndarray, at: np.ndarray, source: str) -> np.ndarray | None:
        return type(self).fit(x, y)(at)


def fit_power_floor(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """y = a x^-b + c, by least squares of log residuals from a grid of b: a, c >= 0 solved first, then all polished."""
    from scipy.optimize import least_squares

    u = np.log(x / np.exp(np.log(x).mean()))
    begin = []
    for b in np.geomspace(0.01, 2.0, 12):
        columns = np.stack([np.exp(-b * u), np.ones_like(u)], axis=1) / y[:, None]
        a, c = np.linalg.lstsq(columns, np.ones_like(y), rcond=None)[0]
        begin.append(np.array([np.log(max(a, 1e-6)), np.log(max(c, 1e-8)), np.log(b)]))

    def law(p: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.logaddexp(p[0] - np.exp(p[2]) * v, p[1])

    ends = [
        least_squares(lambda p: law(p, u) - np.log(y), p, bounds=([-30, -30, -7], [30, 30, 2]), max_nfev=120)
        for p in begin[::3]
    ]
    best = min(ends, key=lambda end: end.cost).x
    centre = np.exp(np.log(x).mean())
    return lambda at: np.exp(law(best, np.log(at / centre)))


def fit_bnsl(x: np.ndarray, y: np.ndarray, starts: int = 4) -> Callable[[np.ndarray], np.ndarray]:
    """y = a + b x^-c0 (1 + (x/d)^(1/f))^(-c1 f), by least squares of log residuals from several starts."""
    from scipy.optimize import least_squares

    centre = float(np.log(x).mean())
    u = np.log(x) - centre
    span = float(u.max() - u.min())
    rng = np.random.default_rng(0)

    def law(p: np.ndarray, v: np.ndarray) -> np.ndarray:
        log_a, log_b, slope, bend, log_d, log_f = p
        sharpness = np.exp(log_f)
        falling = log_b - slope * v - bend * sharpness * np.logaddexp(0.0, (v - log_d) / sharpness)
        return np.logaddexp(log_a, falling)

    low = [-30, -30, -0.5, -3, u.min() - span, np.log(0.05)]
    high = [float(np.log(y.max())) + 1, 30, 3, 3, u.max() + span, np.log(5.0)]
    best, cost = None, np.inf
    for i in range(starts):
        floor = np.log(y.min()) + np.log([0.9, 0.5, 0.1][i % 3])
        begin = [floor, np.log(y.mean()), 0.1 + 0.2 * rng.random(), 0.1 * rng.standard_normal()]
        begin += [u.min() + span * rng.random(), np.log(0.3 + rng.random())]
        begin = np.clip(begin, np.array(low) + 1e-6, np.array(high) - 1e-6)
        end = least_squares(lambda p: law(p, u) - np.log(y), begin, bounds=(low, high), max_nfev=150)
        if end.cost < cost:
            best, cost = end.x, end.cost
    assert best is not None
    return lambda at: np.exp(law(best, np.log(at) - centre))


class PowerFloor(_OfCompute):
    """a C^-b + c. Tasks: the same form for -log(value)."""

    name = "power_floor"
    fit = staticmethod(fit_power_floor)

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        known = np.isfinite(question.compute) & (question.value > 0)
        if known.sum() < 5:
            return None
        surprise = np.maximum(-np.log(question.value[known]), 1e-3)
        return np.exp(-fit_power_floor(question.compute[known], surprise)(question.at_compute))


class Bnsl(_OfCompute):
    """A smoothly broken power law with one break and a floor."""

    name = "bnsl"
    fit = staticmethod(fit_bnsl)
