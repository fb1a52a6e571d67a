"""Everything a fit believes, as a weighted cloud of laws: the log loss of any run, draw by draw.

Advice needs more than one target's interval: how the target moves when another run comes out high or low, and how loss
moves when size is traded for tokens. A particle is one law and one of its draws; its values at two runs belong
together.

What runs have in common beyond any law is the surface's misfit (kriging.py), where the fit has one: its covariance says
how soon a run stops to speak about another. Without it, all laws may be wrong together beyond the largest run: that
error grows in proportion to the decades passed (as intervals.py found), and two runs s and t decades out share it with
correlation sqrt(s/t): a run half way to the target tells half of it.

S particles, n runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gnomon.forecast.combine import Fit
from gnomon.forecast.values import Target

if TYPE_CHECKING:
    from gnomon.forecast.kriging import Kriged

# The member whose misfit is shared between runs.
MISFIT = "surface with misfit"
# A law with less weight than this adds time and no spread.
SMALLEST_WEIGHT = 0.02
DRAWS = 100


@dataclass(frozen=True)
class Points:
    """Runs asked about: compute (counted as the table's `flops`), parameters, tokens, each [n]."""

    compute: np.ndarray
    parameters: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, *targets: Target) -> Points:
        rows = [(t.compute, t.parameters, t.tokens) for t in targets]
        return cls(*np.array(rows, dtype=float).reshape(-1, 3).T)

    def __len__(self) -> int:
        return len(self.compute)

    def select(self, keep: np.ndarray) -> Points:
        return Points(self.compute[keep], self.parameters[keep], self.tokens[keep])


@dataclass(frozen=True)
class Posterior:
    """fit: where it comes from. members: indices of the laws that count. draws: particles a law. weights [S]: sum to 1.
    drift: deviation, per decade beyond the largest run, of the error that all laws share."""

    fit: Fit
    members: tuple[int, ...]
    draws: int
    weights: np.ndarray
    drift: float = 0.0

    def log_loss(self, points: Points) -> np.ndarray:
        """[S, n]: log loss of these runs under each particle."""
        at = {"compute": points.compute, "parameters": points.parameters, "tokens": points.tokens}
        return np.concatenate([self._member(index, at) for index in self.members])

    def mean(self, points: Points) -> np.ndarray:
        """[n]: the weighted mean of log_loss()."""
        return self.weights @ self.log_loss(points)

    def covariance(self, points: Points) -> np.ndarray:
        """[n, n] of the runs' expected log losses: their own noise is not in it."""
        if self.kriged is not None:
            return _kriged_covariance(self.kriged, self.fit, points)
        values = self.log_loss(points)
        centred = values - self.weights @ values
        known = (centred * self.weights[:, None]).T @ centred
        decades = np.maximum(np.log10(points.compute / self.fit.runs.compute.max()), 1e-12)
        near, far = np.minimum.outer(decades, decades), np.maximum.outer(decades, decades)
        return known + self.drift**2 * near * far * np.sqrt(near / far)

    def noise_variance(self, points: Points) -> np.ndarray:
        """[n]: of one new run's log loss about the law: its seed, and what scatters runs beyond seeds."""
        if self.kriged is not None:
            setting = self.kriged.setting
            return self.kriged.scale**2 * setting.noise**2 * np.exp(setting.fade * _below(self.fit, points))
        seeds = self.fit.noise.at(points.compute) ** 2
        return seeds + max(self.fit.row_deviation**2 - self.fit.noise.deviation**2, 0.0)

    @property
    def kriged(self) -> Kriged | None:
        """The surface with a misfit, where the fit has one."""
        found = [member.point for member in self.fit.members if member.law.name == MISFIT]
        return found[0] if found else None  # type: ignore[return-value]  # that law's solution is a Kriged

    def _member(self, index: int, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """[draws, n] of one law; the draws are taken about the law's point, whose level is better than theirs."""
        member = self.fit.members[index]
        assert member.draws is not None  # fit() always draws
        given = {name: at[name] for name in member.law.inputs}
        point = np.log(member.point.predict(given))
        draws = np.log(member.draws.predict(given))[: self.draws]
        cloud = point + draws - np.median(draws, axis=0)
        return cloud + self._off_optimum(at) if member.family == "minima" else cloud

    def _off_optimum(self, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """[draws, n]: what a law of the minima must add for a size that is not the best one."""
        allocation = self.fit.shape.allocation_draws
        if allocation is None:
            return np.zeros((self.draws, len(at["compute"])))
        distance = np.log(at["compute"] / allocation.reference)
        best = allocation.intercept[:, None] + allocation.exponent[:, None] * distance
        return self.fit.shape.curvature * (np.log(at["parameters"]) - best[: self.draws]) ** 2


def posterior(fit: Fit, target: Target | None = None, draws: int = DRAWS) -> Posterior:
    """The cloud of a fit. target: the drift is then as wide as makes the variance there that of the fit's own interval,
    so that the interval that is shown is the one that advice narrows."""
    weight = fit.weights if target is None else weights_at(fit, target)
    members = tuple(int(i) for i in np.flatnonzero(weight >= min(SMALLEST_WEIGHT, weight.max())))
    count = min([draws, *(_draw_count(fit, i) for i in members)])
    shares = np.repeat(weight[list(members)] / weight[list(members)].sum() / count, count)
    still = Posterior(fit, members, count, shares)
    decades = 0.0 if target is None else float(np.log10(target.compute / fit.runs.compute.max()))
    if target is None or decades <= 0:
        return still
    spread = fit.spread(target)
    wished = float(np.var(spread.log_sample)) - spread.variances.get("outcome", 0.0)
    known = float(still.covariance(Points.of(target))[0, 0])
    return Posterior(fit, members, count, shares, float(np.sqrt(max(0.0, wished - known))) / decades)


def _below(fit: Fit, points: Points) -> np.ndarray:
    """[n]: e-folds of compute below the largest run, 0 above it."""
    return np.maximum(np.log(fit.runs.compute.max() / points.compute), 0.0)


def _kriged_covariance(kriged: Kriged, fit: Fit, points: Points) -> np.ndarray:
    """[n, n]: of the law's constants, and of the misfit that is left after what the table's runs say of it."""
    from gnomon.forecast.kriging import LOG_SIZE, LOG_TOKENS, kernels, log_law

    setting = kriged.setting
    x, y = np.log(points.parameters) - LOG_SIZE, np.log(points.tokens) - LOG_TOKENS
    growth = np.exp(0.5 * setting.growth * _below(fit, points))
    rough, smooth = kernels(setting, x, y, x, y)
    prior = kriged.scale**2 * rough * growth * growth[:, None] + smooth
    rough, smooth = kernels(setting, x, y, kriged.x, kriged.y)
    cross = kriged.scale**2 * rough * growth[:, None] * kriged.growth + smooth
    weights = cross @ kriged.inverse
    slopes = log_law(kriged.theta, x, y)[1] - weights @ log_law(kriged.theta, kriged.x, kriged.y)[1]
    return prior - weights @ cross.T + slopes @ kriged.covariance @ slopes.T


def _draw_count(fit: Fit, index: int) -> int:
    draws = fit.members[index].draws
    assert draws is not None  # fit() always draws
    return len(draws.predict({name: values[:1] for name, values in fit.runs.inputs().items()}))


def weights_at(fit: Fit, target: Target) -> np.ndarray:
    """[M]: each law's weight in the forecast of this target."""
    shares = {c["name"]: c["weight"] for c in fit.predict(target).components}
    return np.array([float(shares[member.law.name]) for member in fit.members])
