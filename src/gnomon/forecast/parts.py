"""A loss that is a sum of parts, each with a law of its own.

A line may bend because two losses add that fall at different rates: tokens that repeat something in their context, and
tokens that do not. Each part is then forecast by itself, as a surface over size and tokens (a part has no best size of
its own, so the minima of the whole say nothing about it), and the parts are added. Their errors are taken to go
together, since the same runs carry them: the sum is no more certain than its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast import intervals
from gnomon.forecast.combine import DRAWS, Fit, fit
from gnomon.forecast.laws import Law, surface, surface_tied
from gnomon.forecast.runs import losses_of, masks
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import LEVELS, Forecast, Target, unit_of

TOLERANCE = 0.002  # of the whole, by which the parts' sum may miss it


@dataclass(frozen=True)
class PartsFit:
    """A fit of every part. predict() adds them; its components are the parts."""

    metric: str
    parts: list[Fit]
    last_point: float
    table_hash: str

    def predict(self, target: Target, outcome_stderr: float = 0.0) -> Forecast:
        """As Fit.predict, for the sum. outcome_stderr is shared among the parts by their size."""
        points = np.array([float(np.median(np.exp(p.spread(target).log_sample))) for p in self.parts])
        fraction = points / points.sum()
        spreads = [p.spread(target, outcome_stderr * f) for p, f in zip(self.parts, fraction, strict=True)]
        sample = np.sum([np.exp(s.log_sample) for s in spreads], axis=0)
        values = np.quantile(sample, LEVELS)
        # Deviations that go together add; each part counts by its fraction of the whole.
        variances = {
            name: float(sum(f * np.sqrt(s.variances[name]) for f, s in zip(fraction, spreads, strict=True)) ** 2)
            for name in spreads[0].variances
        }
        quantiles = {str(level): float(value) for level, value in zip(LEVELS, values, strict=True)}
        forecasts = [p.predict(target) for p in self.parts]
        return Forecast(
            metric=self.metric,
            unit=unit_of(self.metric),
            median=quantiles["0.5"],
            quantiles=quantiles,
            law="sum of parts",
            parameters={f"{f.metric}.{name}": value for f in forecasts for name, value in f.parameters.items()},
            shares=intervals.shares(variances),
            components=[
                {"name": f.metric, "family": "part", "median": f.median, "weight": float(w), "law": f.law}
                for f, w in zip(forecasts, fraction, strict=True)
            ],
            warnings=list(dict.fromkeys(w for f in forecasts for w in f.warnings)),
            last_point=self.last_point,
            seen={"rows": len(self.parts[0].runs), "table_hash": self.table_hash},
            target={"compute": target.compute, "parameters": target.parameters, "tokens": target.tokens},
        )


def fit_parts(
    table: RunTable,
    metric: str,
    parts: Sequence[str],
    laws: Sequence[Law] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> PartsFit:
    """Fit each part; the columns named in `parts` must add up to `metric` in every usable row.

    Raises GnomonError when they do not, when there are fewer than two, or when a part cannot be fitted.
    """
    if len(parts) < 2:
        raise GnomonError(f"{metric}: {len(parts)} parts given; a sum has two at least")
    keep = ~np.any(list(masks(table, metric).values()), axis=0)
    whole = losses_of(table, metric)[keep]
    total = np.sum([losses_of(table, name)[keep] for name in parts], axis=0)
    off = ~(np.abs(total / whole - 1) <= TOLERANCE)
    if off.any():
        name = table.ids(keep)[int(np.flatnonzero(off)[0])]
        raise GnomonError(f"{metric}: {' + '.join(parts)} is not {metric} in {off.sum()} rows, first {name}")
    # Isoflop groups belong to the whole; without them each part is fitted as a surface over all runs.
    plain = RunTable({**table.select(keep).columns, "budget": np.full(int(keep.sum()), np.nan)})
    chosen = list(laws) if laws is not None else [surface(), surface_tied()]
    fits = [fit(plain, name, chosen, draws, seed) for name in parts]
    return PartsFit(metric, fits, float(whole.min()), table.hash)
