"""The envelope is opened bucket by bucket: error in points, inside or not, CRPS beside the baselines'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.capability.buckets import Buckets
from gnomon.capability.forecast import QUANTILES, means
from gnomon.capability.outcomes import Table
from gnomon.common.errors import GnomonError


@dataclass(frozen=True)
class BucketOutcome:
    """One bucket. rate: what the target measured. error_points: forecast minus outcome. crps: in points, of the
    forecast and of each baseline (whose CRPS is its absolute error). inside: whether its 90 % interval held it."""

    bucket: int
    rate: float
    stderr: float
    error_points: float
    inside: bool
    crps: float
    baseline_crps: dict[str, float]
    counted: bool

    @property
    def beats_baselines(self) -> bool:
        return all(self.crps < other for other in self.baseline_crps.values())


def crps(quantiles: dict[str, float], outcome: float) -> float:
    """CRPS from quantiles: the mean pinball loss, twice; levels as in QUANTILES."""
    losses = []
    for level in QUANTILES:
        gap = outcome - quantiles[str(level)]
        losses.append(2 * (level if gap >= 0 else level - 1) * gap)
    return float(np.mean(losses))


def verify(body: dict[str, Any], buckets: Buckets, target: Table) -> list[BucketOutcome]:
    """Outcomes of a registered forecast. body: its CapabilityForecast as a dict; target: the target's run alone.

    Raises GnomonError when the buckets are not those that were sealed, or the table holds more than one run.
    """
    if buckets.hash != body["assignment"]:
        raise GnomonError("capability: these buckets are not the ones that were sealed with the forecast")
    if len(target.runs) != 1:
        raise GnomonError(f"capability: {len(target.runs)} runs; the target alone is verified")
    out = []
    for told, members in zip(body["buckets"], buckets.members, strict=True):
        y, error = means(target.of_problems(members))
        rate = math.exp(-float(y[0]))
        q = told["quantiles"]
        out.append(BucketOutcome(
            told["bucket"], rate, rate * float(error[0]), 100 * (told["rate"] - rate),
            q["0.05"] <= rate <= q["0.95"], 100 * crps(q, rate),
            {name: 100 * abs(value - rate) for name, value in told["baselines"].items()}, not told["state"],
        ))  # fmt: skip
    return out
