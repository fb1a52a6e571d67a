"""How likely the plain Chinchilla form is to miss a target by more than 5 %, from the table alone, before any outcome.

A logistic regression on four features, learned on rolling-origin targets of published families, each source counting
alike; tested leaving one source out (docs/log.md has the study). It says how hard a table is, not what to do about it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gnomon.forecast.fitting import projection
from gnomon.forecast.laws import Law, PowerSum, surface
from gnomon.forecast.runs import Runs, admissible
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Target

MISS = 0.05
MOST_RUNS = 150
FEWEST_RUNS, FEWEST_SIZES, FEWEST_LENGTHS = 8, 3, 3
# Tables of smaller models than any that was learned from get no answer.
SMALLEST_MEDIAN = 5e6

FEATURES = (
    "distance",  # decades of compute beyond the largest run
    "floor",  # the fitted floor as a share of the forecast: a large one is fitted to the bend of small models
    "held",  # log ratio of the free surface and of one with exponents held near 0.34, at the target
    "smallest",  # log10 of the smallest size: tiny models follow another law
)
# Source left out ("": none) -> intercept and a weight a feature.
WEIGHTS: dict[str, tuple[float, float, float, float, float]] = {
    "": (1.24, 1.13, 2.76, 9.07, -0.807),
    "chinchilla": (0.66, 1.26, 2.66, 8.63, -0.714),
    "gadre": (1.55, 1.08, 2.38, 8.66, -0.803),
    "gemstone": (1.5, 1.18, 2.42, 9.2, -0.816),
    "marin": (1.24, 1.1, 2.82, 8.86, -0.8),
    "misfitting": (0.817, 1.11, 3.51, 9.19, -0.833),
    "opt": (3.24, 1.2, 3.28, 8.03, -1.17),
    "porian": (1.43, 1.15, 1.94, 17.2, -0.768),
    "steplaw": (0.459, 1.12, 2.92, 9.1, -0.709),
    "xlstm": (0.63, 1.02, 3.29, 8.75, -0.749),
}
LEARNED_FROM = tuple(sorted(source for source in WEIGHTS if source))


@dataclass(frozen=True)
class Outlook:
    """The fits behind the features of a table's runs; ask for a target's with features()."""

    runs: Runs

    @classmethod
    def of(cls, runs: Runs) -> Outlook:
        """At most MOST_RUNS runs are looked at: the third of largest compute, and an even sample of the others."""
        if len(runs) > MOST_RUNS:
            order = np.argsort(-runs.compute, kind="stable")
            rest = order[MOST_RUNS // 3 :]
            spaced = rest[np.linspace(0, len(rest) - 1, MOST_RUNS - MOST_RUNS // 3).astype(int)]
            runs = runs.select(np.sort(np.concatenate([order[: MOST_RUNS // 3], np.unique(spaced)])))
        return cls(runs)

    @property
    def answers(self) -> bool:
        """Whether the table is of a kind that was learned from."""
        runs = self.runs
        return (
            len(runs) >= FEWEST_RUNS
            and len(np.unique(runs.size)) >= FEWEST_SIZES
            and len(np.unique(runs.tokens)) >= FEWEST_LENGTHS
            and float(np.median(runs.size)) >= SMALLEST_MEDIAN
            and float(np.ptp(np.log(runs.loss))) > 1e-9
        )

    @cached_property
    def fits(self) -> tuple[projection.Solution, projection.Solution]:
        """The Chinchilla form with free exponents, and with exponents held near 0.34."""
        free = surface()
        assert isinstance(free, PowerSum)
        held = PowerSum("surface, held", free.source, free.terms, free.bounds, ((0.34, 0.05), (0.34, 0.05)))
        return _fit(free, self.runs), _fit(held, self.runs)

    def features(self, target: Target) -> np.ndarray:
        """[len(FEATURES)]."""
        free, held = self.fits
        at = {"parameters": np.array([target.parameters]), "tokens": np.array([target.tokens])}
        told = [max(float(fit.predict(at)[0, 0]), 1e-9) for fit in (free, held)]
        values = (
            math.log10(target.compute / float(self.runs.compute.max())),
            float(free.coefficients[0, 0]) / told[0],
            math.log(told[0] / told[1]),
            math.log10(float(self.runs.size.min())),
        )
        return np.array(values)

    def trouble(self, target: Target, left_out: Iterable[str] = ()) -> float | None:
        """Chance in [0, 1] of a miss by more than 5 %; None where the table is of no kind that was learned from.

        left_out: sources that the weights must not have seen; of several, the first that they saw.
        """
        if not self.answers:
            return None
        seen = next((source for source in left_out if source in WEIGHTS), "")
        intercept, *weights = WEIGHTS[seen]
        score = intercept + float(np.array(weights) @ self.features(target))
        return 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))


def trouble(table: RunTable, metric: str, target: Target) -> float | None:
    """Outlook.trouble of a table's admissible runs."""
    return Outlook.of(admissible(table, metric)).trouble(target)


def _fit(law: Law, runs: Runs) -> projection.Solution:
    inputs = {"parameters": runs.size, "tokens": runs.tokens}
    return projection.solve(law, inputs, runs.loss, projection.Loss(np.full(len(runs), 0.005), 1.0, 1.0))
