"""One look at a table that all checks share: its usable runs, and how far each lies from a smooth surface through them.

The surface is the tied Chinchilla form, fitted so that rows above it pull little: whatever is wrong with a run, it is
almost always worse than it should be, so the scale is read from the rows below.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gnomon.forecast.fitting import projection
from gnomon.forecast.laws import surface_tied
from gnomon.forecast.runs import Runs, admissible
from gnomon.forecast.table import RunTable

FEWEST_RUNS = 6
MOST_FITTED = 300  # rows that the surface is fitted to
MOST_PAIRED = 600  # rows that are compared pair by pair
NEIGHBOURS = 6
SMALLEST_SCALE = 1e-3  # of log loss: finer than that no surface describes runs


@dataclass(frozen=True)
class Survey:
    """table, metric: what is looked at. runs: its admissible rows, [n]."""

    table: RunTable
    metric: str
    runs: Runs

    @classmethod
    def of(cls, table: RunTable, metric: str) -> Survey:
        return cls(table, metric, admissible(table, metric))

    @cached_property
    def fitted(self) -> np.ndarray | None:
        """Loss of the surface at every run, [n]; None where the runs are too few or too alike for one."""
        runs = self.runs
        varied = len(np.unique(runs.size)) > 1 or len(np.unique(runs.tokens)) > 1
        if len(runs) < FEWEST_RUNS or not varied or np.ptp(np.log(runs.loss)) < 1e-9:
            return None
        some = runs.select(sample(len(runs), MOST_FITTED))
        law = surface_tied()
        loss = projection.Loss(np.full(len(some), 0.01), 1.0, 0.3)
        point = projection.solve(law, {k: v for k, v in some.inputs().items() if k in law.inputs}, some.loss, loss)
        return point.predict(runs.inputs())[0]

    @cached_property
    def residual(self) -> np.ndarray:
        """Log of loss over the surface, [n]; zeros where there is no surface."""
        if self.fitted is None:
            return np.zeros(len(self.runs))
        residual = np.log(self.runs.loss / np.maximum(self.fitted, 1e-12))
        return residual - np.median(residual)

    @cached_property
    def scale(self) -> float:
        """Deviation of the rows below the surface, as a normal's, of log loss."""
        return _lower_deviation(self.residual)

    @cached_property
    def local(self) -> np.ndarray:
        """How far each row lies above its neighbours in size and tokens, in log loss, [n]: where the surface itself is
        wrong, at the edges of a wide table, neighbours are off alike."""
        if self.fitted is None or len(self.runs) > MOST_PAIRED:
            return self.residual
        x = np.stack([np.log(self.runs.size), np.log(self.runs.tokens)], axis=1)
        distance = ((x[:, None] - x) ** 2).sum(-1)
        np.fill_diagonal(distance, np.inf)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(x) - 1)]
        usual = np.median(self.residual[nearest], axis=1)
        return np.minimum(self.residual, self.residual - usual)

    @cached_property
    def height(self) -> np.ndarray:
        """`local` in deviations of its lower half, [n]."""
        return self.local / _lower_deviation(self.local)

    @cached_property
    def paired(self) -> np.ndarray:
        """Indices of the runs that are compared pair by pair: all of them, or an even sample."""
        return sample(len(self.runs), MOST_PAIRED)

    def column(self, name: str) -> np.ndarray:
        """A number column of the table at the admissible runs, [n]; NaN where it is missing."""
        values = self.table[name].astype(float)
        return values[self.rows]

    @cached_property
    def rows(self) -> np.ndarray:
        """Row of the table behind each admissible run, [n]."""
        where = {name: i for i, name in reversed(list(enumerate(self.table.ids())))}
        return np.array([where[name] for name in self.runs.ids], dtype=np.int64)


def _lower_deviation(values: np.ndarray) -> float:
    """Deviation of a normal whose lower half is that of the values."""
    below = -values[values <= 0]
    return max(1.4826 * float(np.median(below)) if len(below) else 0.0, SMALLEST_SCALE)


def sample(count: int, most: int) -> np.ndarray:
    """At most `most` of the indices 0 … count-1: all of them, or some drawn with a fixed seed, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def names(ids: np.ndarray | list[str] | tuple[str, ...], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    shown = [str(name) for name in ids]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
