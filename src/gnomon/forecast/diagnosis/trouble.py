"""How likely the plain Chinchilla form is to miss a target by more than 5 %, from the table alone, before any outcome.

A logistic regression on a few features of the table and the target, learned on published families with each source left
out in turn (docs/log.md has the study). It says how hard a table is, not what to do about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gnomon.forecast import projection
from gnomon.forecast.laws import Law, PowerSum, surface, surface_tied
from gnomon.forecast.runs import Runs
from gnomon.forecast.values import Target

MISS = 0.05
MOST_RUNS = 150
FEWEST_RUNS = 6

FEATURES = (
    "distance",  # decades of compute beyond the largest run
    "size_distance",  # decades of size beyond the largest
    "token_distance",  # decades of tokens beyond the longest
    "spread",  # log of how far three surfaces that fit alike lie apart at the target
    "misfit",  # log of the runs' scatter about the surface
    "hidden",  # log of the error a decade when the top of the table is hidden and forecast
    "trend",  # of the residuals over compute, as a share of their scatter
    "tail",  # log of how much more the runs scatter upwards than downwards
    "span",  # decades of compute in the table
    "smallest",  # log10 of the smallest size
    "range",  # decades of size in the table
    "size_exponent",  # how far alpha and beta lie from 0.34, in log
    "token_exponent",
    "floor",  # the fitted floor as a share of the forecast
    "held",  # log ratio of the free and the held surface at the target
    "count",  # log of the runs
    "median_size",  # log10 of the median size of the upper half of compute
    "top",  # mean residual of the upper quarter of compute, log loss
)


@dataclass(frozen=True)
class Outlook:
    """The fits behind the features of a table; ask for a target's with features()."""

    runs: Runs

    @classmethod
    def of(cls, runs: Runs) -> Outlook:
        """At most MOST_RUNS runs are looked at: the largest third of compute, and an even sample of the others."""
        if len(runs) > MOST_RUNS:
            order = np.argsort(-runs.compute, kind="stable")
            rest = order[MOST_RUNS // 3 :]
            spaced = rest[np.linspace(0, len(rest) - 1, MOST_RUNS - MOST_RUNS // 3).astype(int)]
            runs = runs.select(np.sort(np.concatenate([order[: MOST_RUNS // 3], np.unique(spaced)])))
        return cls(runs)

    @cached_property
    def fits(self) -> list[projection.Solution]:
        """Three surfaces that published fits choose between: free, tied, with exponents held near 0.34."""
        return [_fit(law, self.runs) for law in _surfaces()]

    @cached_property
    def residual(self) -> np.ndarray:
        return np.log(self.runs.loss / self.fits[0].predict(_inputs(self.runs))[0])

    @cached_property
    def hidden_error(self) -> float:
        """Root mean square error a decade of the surface fitted below a third (or a tenth) of the largest compute."""
        errors = []
        for cut in (3.0, 10.0):
            kept = self.runs.compute <= self.runs.compute.max() / cut
            few = min(len(np.unique(self.runs.size[kept])), len(np.unique(self.runs.tokens[kept])))
            if kept.sum() < FEWEST_RUNS or few < 3 or (~kept).sum() < 1:
                continue
            below, above = self.runs.select(kept), self.runs.select(~kept)
            error = np.log(_fit(_surfaces()[2], below).predict(_inputs(above))[0] / above.loss)
            decades = np.log10(above.compute / below.compute.max())
            errors.append(float(np.sqrt(np.mean(error**2)) / max(float(decades.mean()), 0.1)))
        return float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan

    def features(self, target: Target) -> np.ndarray:
        """[len(FEATURES)], finite."""
        runs = self.runs
        at = {"parameters": np.array([target.parameters]), "tokens": np.array([target.tokens])}
        told = np.log(np.maximum([fit.predict(at)[0, 0] for fit in self.fits], 1e-9))
        scatter = 1.4826 * float(np.median(np.abs(self.residual)))
        x = np.log(runs.compute)
        slope = float(np.polyfit(x - x.mean(), self.residual, 1)[0]) if np.ptp(x) > 0.1 else 0.0
        up, down = (float(np.sqrt(np.mean(np.square(np.clip(s * self.residual, 0, None))))) for s in (1, -1))
        hidden = self.hidden_error if math.isfinite(self.hidden_error) else 0.02
        values = (
            math.log10(target.compute / runs.compute.max()),
            max(0.0, math.log10(target.parameters / runs.size.max())),
            max(0.0, math.log10(target.tokens / runs.tokens.max())),
            math.log(max(float(np.ptp(told)), 1e-3)),
            math.log(max(scatter, 1e-3)),
            math.log(min(max(hidden, 1e-3), 1.0)),
            slope * math.log(10) / max(scatter, 1e-3),
            math.log((up + 1e-3) / (down + 1e-3)),
            math.log10(runs.compute.max() / runs.compute.min()),
            math.log10(runs.size.min()),
            math.log10(runs.size.max() / runs.size.min()),
            abs(math.log(max(self.fits[0].exponents[0, 0], 1e-3) / 0.34)),
            abs(math.log(max(self.fits[0].exponents[0, 1], 1e-3) / 0.34)),
            self.fits[0].coefficients[0, 0] / math.exp(told[0]),
            told[0] - told[2],
            math.log(len(runs)),
            math.log10(np.median(runs.size[runs.compute >= np.median(runs.compute)])),
            float(self.residual[runs.compute >= np.quantile(runs.compute, 0.75)].mean()),
        )
        return np.clip(np.array(values), -20, 20)


def _surfaces() -> tuple[Law, Law, Law]:
    free = surface()
    assert isinstance(free, PowerSum)
    held = PowerSum("surface, held", free.source, free.terms, free.bounds, ((0.34, 0.05), (0.34, 0.05)))
    return free, surface_tied(), held


def _fit(law: Law, runs: Runs) -> projection.Solution:
    return projection.solve(law, _inputs(runs), runs.loss, projection.Loss(np.full(len(runs), 0.005), 1.0, 1.0))


def _inputs(runs: Runs) -> dict[str, np.ndarray]:
    return {"parameters": runs.size, "tokens": runs.tokens}
