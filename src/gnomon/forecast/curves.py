"""One learning curve carried on: fit_curve(x, y).predict(x further out) gives a median and quantiles.

x is any one amount that grows (samples, tokens, steps), y any loss or error above zero. The forecast is a fixed mixture
in ln y: mostly the slope that dies out (slope.py), and the median of four laws (laws/curve.py) whose residuals count
more towards the end of the curve. Only where the laws carried the curve's own upper half and last third on far better
does the mixture turn round; weights by 1/error^2 there were tried and are worse (docs/log.md). For one number a curve,
as in the benchmark of arXiv:2209.06640, take `.predict(x).median`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.fitting.gauss_newton import minimise
from gnomon.forecast.laws.curve import M2, M3, M4, Broken, Curve
from gnomon.forecast.slope import SlopeFit, fit_slope, point_noise
from gnomon.forecast.values import LEVELS

FEWEST_POINTS = 5
MOST_POINTS = 300  # more are averaged into as many equal steps of ln x
TESTED_RATIO = 2.2  # last x asked about over last x seen, on the curves that the constants were learned from
MEMBERS = ((M4, 0.5), (Broken, 0.0), (M3, 1.0), (M2, 1.5))  # and the power of x that weights their residuals
LAW_SHARE = 0.2  # of the laws' median in the forecast …
CLEAR_SHARE = 0.8  # … and where the laws carried the curve's own later parts on this many times better than the slope
CLEARLY = 2.0
CUTS = (0.5, 0.7)
KEPT = 4  # starts of a law that go on after the first rounds


@dataclass(frozen=True)
class LawFit:
    """A law fitted to a curve: constants in u = ln(x / last x), by name."""

    law: Curve
    theta: np.ndarray

    @property
    def constants(self) -> dict[str, float]:
        return {name: float(value) for name, value in zip(self.law.constants, self.theta, strict=True)}

    def predict(self, u_m: np.ndarray) -> np.ndarray:
        """ln y [m]."""
        return self.law.log_loss(self.theta[None], np.asarray(u_m, dtype=float))[0][0]


@dataclass(frozen=True)
class CurveForecast:
    """x [m]; median [m] and quantiles {level: [m]} of y; components: {name, source, weight, median [m]} a member."""

    x: np.ndarray
    median: np.ndarray
    quantiles: dict[float, np.ndarray]
    components: list[dict[str, Any]]
    warnings: list[str]


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve. last_x: where it ends; slope: the process at its end; laws: the four laws; law_share: weight of
    their median."""

    x: np.ndarray
    y: np.ndarray
    slope: SlopeFit
    laws: tuple[LawFit, ...]
    law_share: float
    warnings: tuple[str, ...]

    @property
    def last_x(self) -> float:
        return float(self.x[-1])

    def predict(self, x: Sequence[float] | np.ndarray | float, levels: Sequence[float] = LEVELS) -> CurveForecast:
        """The curve at x, each in the unit that was fitted. Inside the curve the points are interpolated, and said so.

        Raises GnomonError when an x is not a positive number.
        """
        asked = np.atleast_1d(np.asarray(x, dtype=float))
        if not (np.isfinite(asked) & (asked > 0)).all():
            raise GnomonError("curve: a negative, zero or missing x was asked about; positive numbers are expected")
        u = np.log(asked / self.last_x)
        ahead = np.maximum(u, 0.0)
        process, variance = self.slope.predict(ahead)
        with np.errstate(over="ignore"):
            each = np.stack([law.predict(ahead) for law in self.laws])
        middle = (1 - self.law_share) * process + self.law_share * np.median(each, axis=0)
        disagree = (
            np.mean((each - process) ** 2, axis=0) * LAW_SHARE**2
        )  # shares of a clear case would widen what they sharpen
        deviation = np.sqrt(variance + disagree + self.slope.noise**2)
        inside = u < 0
        middle = np.where(inside, np.interp(asked, self.x, np.log(self.y)), middle)
        quantiles = {level: _exp(middle + NormalDist().inv_cdf(level) * deviation) for level in levels}
        return CurveForecast(
            asked, _exp(middle), quantiles, self._components(process, each), self._warnings(asked, inside)
        )

    def _components(self, process: np.ndarray, each: np.ndarray) -> list[dict[str, Any]]:
        members = [("slope", "integrated Ornstein-Uhlenbeck process", 1 - self.law_share, process)]
        share = self.law_share / len(self.laws)
        members += [(fit.law.name, fit.law.source, share, line) for fit, line in zip(self.laws, each, strict=True)]
        return [
            {"name": name, "source": source, "weight": weight, "median": _exp(line)}
            for name, source, weight, line in members
        ]

    def _warnings(self, asked: np.ndarray, inside: np.ndarray) -> list[str]:
        said = list(self.warnings)
        if inside.any():
            said.append(f"{int(inside.sum())} x lie inside the curve (it ends at {self.last_x:g}): interpolated")
        if asked.max(initial=0.0) > TESTED_RATIO * self.last_x:
            ratio = asked.max() / self.last_x
            said.append(f"the furthest x is {ratio:.3g} times the last; tested up to {TESTED_RATIO:g} times")
        return said


def fit_curve(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> CurveFit:
    """Fit one learning curve. x, y: [n] in any order, positive, at least 5 different x; equal x are averaged (in ln y).

    Raises GnomonError when lengths differ, a value is not a positive number, or too few x are left.
    """
    u, log, last = _points(x, y)
    slope = fit_slope(u, log)
    warnings: tuple[str, ...] = ()
    if slope.weight @ slope.mean[:, 1] > 2 * np.sqrt(slope.weight @ slope.covariance[:, 2]):
        warnings = ("the curve rises at its end; a law that falls says nothing about it",)
    return CurveFit(last * np.exp(u), np.exp(log), slope, _laws(u, log), _law_share(u, log), warnings)


def _exp(log: np.ndarray) -> np.ndarray:
    """e^log, far enough from infinity to be computed with."""
    return np.exp(np.clip(log, -300.0, 300.0))


def _laws(u_n: np.ndarray, log_n: np.ndarray) -> tuple[LawFit, ...]:
    return tuple(LawFit(law(), fit_law(law(), u_n, log_n, power)[0][0]) for law, power in MEMBERS)


def _law_share(u_n: np.ndarray, log_n: np.ndarray) -> float:
    """CLEAR_SHARE where, from both cuts, the laws met the rest of the curve CLEARLY better than the slope did."""
    noise = point_noise(log_n)
    for cut in CUTS:
        seen = u_n <= np.log(cut)
        if seen.sum() < 8 or (~seen).sum() < 3:
            return LAW_SHARE
        u, log, ahead = u_n[seen] - u_n[seen][-1], log_n[seen], u_n[~seen] - u_n[seen][-1]
        laws = np.median([fit.predict(ahead) for fit in _laws(u, log)], axis=0)
        errors = [
            np.hypot(np.sqrt(np.mean((line - log_n[~seen]) ** 2)), noise)
            for line in (fit_slope(u, log).predict(ahead)[0], laws)
        ]
        if errors[0] <= CLEARLY * errors[1]:
            return LAW_SHARE
    return CLEAR_SHARE


def _points(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """u = ln(x / last x) rising [n], ln y [n], last x; equal x averaged, long curves thinned."""
    try:
        amount, loss = (np.asarray(values, dtype=float).ravel() for values in (x, y))
    except (TypeError, ValueError):
        raise GnomonError("curve: x or y holds something that is not a number") from None
    if len(amount) != len(loss):
        raise GnomonError(f"curve: {len(amount)} x but {len(loss)} y; one y for each x is expected")
    for name, values in (("x", amount), ("y", loss)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise GnomonError(f"curve: {name}[{bad[0]}] is {values[bad[0]]}; positive numbers are expected")
    if len(np.unique(amount)) < FEWEST_POINTS:
        raise GnomonError(f"curve: {len(np.unique(amount))} different x; at least {FEWEST_POINTS} are needed")
    last = float(amount.max())
    u, log = np.log(amount / last), np.log(loss)
    group = np.unique(amount, return_inverse=True)[1].ravel()
    if group.max() >= MOST_POINTS:
        group = np.unique(np.ceil(MOST_POINTS * (1 - u / u.min())), return_inverse=True)[1].ravel()
    count = np.bincount(group)
    u, log = (np.bincount(group, values) / count for values in (u, log))
    return u - u[-1], log, last * float(np.exp(u[-1]))


def fit_law(
    law: Curve, u_n: np.ndarray, log_n: np.ndarray, towards_end: float = 0.0, rounds: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Constants [S, p] and objective [S] from every start of the law, best first: damped Gauss-Newton.

    Minimises the squared residuals of ln y in units of the points' noise, weighted x^towards_end, and the law's prior.
    """
    root = np.exp(0.5 * towards_end * u_n) / point_noise(log_n)

    def measure(at: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log, slopes = law.log_loss(at, u_n)
        return (log - log_n) * root, slopes * root[:, None]

    begin = law.starts(u_n, log_n)
    theta, value = minimise(measure, begin, np.array(law.centre), np.array(law.spread), rounds, keep=KEPT)
    order = np.argsort(value, kind="stable")
    return theta[order], value[order]
