"""A bucket's pass rate at the target, with an interval: two laws, weighed by what they did one step earlier.

The rule is fixed before any target: hide the runs of the largest compute, let each law forecast them, weigh the laws
by the inverse of their mean squared error there (over all buckets), with a floor so that luck alone decides nothing.
The interval mixes bootstraps over chains (templates) and runs (seeds) under each law with what was missed one step
earlier. A bucket is "saturated" or "at the floor" when the largest run already shows it; it is named and not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnomon.capability.buckets import Buckets
from gnomon.capability.laws import Mixture, Power, fit_mixture, fit_power
from gnomon.capability.outcomes import Table
from gnomon.common.errors import GnomonError

SATURATED, AT_FLOOR = 0.95, 0.02
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
BOOTSTRAPS = 200
ERROR_FLOOR = 0.03  # points / 100: what a law may miss by without losing weight
LEAST_RUNS, LEAST_BUCKETS = 4, 3
FORMS = ("power", "mixture")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BucketForecast:
    """One bucket at the target. rate: exp(-mean -log pass rate), between 0 and 1; quantiles: of the same.

    state: "" where it counts, else "saturated" or "at the floor". forms: what each law alone says. baselines: what the
    largest run and a logistic in log compute say.
    """

    bucket: int
    problems: int
    state: str
    rate: float
    quantiles: dict[str, float]
    forms: dict[str, float]
    baselines: dict[str, float]
    seen: tuple[tuple[float, float], ...]  # (compute, rate) of every run

    @property
    def width_points(self) -> float:
        """Width of the 90 % interval in points."""
        return 100 * (self.quantiles["0.95"] - self.quantiles["0.05"])

    def to_dict(self) -> dict[str, Any]:
        """For the registry."""
        return {
            "bucket": self.bucket, "problems": self.problems, "state": self.state, "rate": self.rate,
            "quantiles": self.quantiles, "forms": self.forms, "baselines": self.baselines,
        }  # fmt: skip


@dataclass(frozen=True)
class CapabilityForecast:
    """All buckets at one compute. weights: of the laws. verdict: one line in words."""

    compute: float
    draws: int
    weights: dict[str, float]
    buckets: tuple[BucketForecast, ...]
    assignment: str  # hash of the frozen buckets
    verdict: str

    @property
    def counted(self) -> tuple[BucketForecast, ...]:
        return tuple(b for b in self.buckets if not b.state)


def forecast(
    table: Table, buckets: Buckets, compute: float, draws: int, seed: int = 0, bootstraps: int = BOOTSTRAPS
) -> CapabilityForecast:
    """Forecast every bucket at `compute` FLOPs, as `draws` draws a problem would measure it.

    Raises GnomonError for fewer than four computes, or a target that is not beyond them.
    """
    levels = np.unique(table.compute)
    if len(levels) < LEAST_RUNS:
        raise GnomonError(f"capability: runs at {len(levels)} computes; at least {LEAST_RUNS} are needed")
    if compute <= levels[-1]:
        raise GnomonError(
            f"capability: a target of {compute:.3g} FLOPs is not beyond the largest run's {levels[-1]:.3g}"
        )
    parts = [table.of_problems(members) for members in buckets.members]
    weights, missed = _earlier(parts, levels, draws)
    rng = np.random.default_rng(seed)
    found = tuple(
        _bucket(number, part, compute, draws, weights, (missed, bootstraps), rng)
        for number, part in enumerate(parts, 1)
    )
    counted = sum(not b.state for b in found)
    verdict = f"{counted} of {len(found)} buckets can be forecast"
    if counted < LEAST_BUCKETS:
        verdict = f"not forecastable here: {counted} of {len(found)} buckets are between floor and ceiling"
    return CapabilityForecast(compute, draws, weights, found, buckets.hash, verdict)


def means(table: Table, weight: Array | None = None) -> tuple[Array, Array]:
    """(mean -log pass rate of each run, its standard error over clusters), [R] each."""
    w = np.ones(len(table.problems)) if weight is None else weight
    y = table.minus_log @ w / w.sum()
    index = np.unique(np.asarray(table.clusters), return_inverse=True)[1]
    groups = int(index.max()) + 1
    off = (table.minus_log - y[:, None]) * w
    sums = np.array([np.bincount(index, row, minlength=groups) for row in off])
    return y, np.sqrt((sums**2).sum(axis=1) * groups / max(1, groups - 1)) / w.sum()


def said(form: str, table: Table, compute: float, draws: int, weight: Array | None = None,
         start: Array | None = None) -> float:  # fmt: skip
    """What one law, fitted to a bucket, says the mean -log pass rate will measure."""
    if form == "power":
        y, error = means(table, weight)
        law: Power = fit_power(table.compute, y, error)
        return law.at(compute)
    mixture, _ = fit_mixture(table, weight, start)
    return mixture.at(compute, draws)


def _earlier(parts: list[Table], levels: Array, draws: int) -> tuple[dict[str, float], float]:
    """(weights of the laws, root mean square of what their mean missed), one step earlier, in log -log pass rate."""
    missed: dict[str, list[float]] = {form: [] for form in FORMS}
    both: list[float] = []
    for part in parts:
        before, after = part.only(part.compute < levels[-1]), part.only(part.compute == levels[-1])
        y = float(means(after)[0].mean())
        if AT_FLOOR < math.exp(-y) < SATURATED:
            told = {form: said(form, before, float(levels[-1]), draws) for form in FORMS}
            for form in FORMS:
                missed[form].append(math.exp(-told[form]) - math.exp(-y))
            both.append(sum(math.exp(-v) for v in told.values()) / len(told) - math.exp(-y))
    if not both:
        return {"power": 0.0, "mixture": 1.0}, 0.1
    inverse = {form: 1 / (float(np.mean(np.square(v))) + ERROR_FLOOR**2) for form, v in missed.items()}
    total = sum(inverse.values())
    return {form: v / total for form, v in inverse.items()}, float(np.sqrt(np.mean(np.square(both))))


def _bucket(
    number: int, part: Table, compute: float, draws: int, weights: dict[str, float], how: tuple[float, int], rng: Any
) -> BucketForecast:
    missed, bootstraps = how
    y, _ = means(part)
    top = float(y[part.compute == part.compute[-1]].mean())
    shown = math.exp(-top)
    state = "saturated" if shown > SATURATED else "at the floor" if shown < AT_FLOOR else ""
    mixture, theta = fit_mixture(part)
    alone = {"power": said("power", part, compute, draws), "mixture": mixture.at(compute, draws)}
    drawn = np.array([_drawn(part, compute, draws, theta, weights, rng) for _ in range(bootstraps)])
    drawn = np.clip(drawn + rng.normal(0, missed, len(drawn)), 0.0, 1.0)
    rate = float(np.median(drawn))
    return BucketForecast(
        number, len(part.problems), state, rate, {str(q): float(np.quantile(drawn, q)) for q in QUANTILES},
        {form: math.exp(-v) for form, v in alone.items()}, baselines(part, compute),
        tuple((float(c), math.exp(-float(v))) for c, v in zip(part.compute, y, strict=True)),
    )  # fmt: skip


def _drawn(part: Table, compute: float, draws: int, theta: Array, weights: dict[str, float], rng: Any) -> float:
    """The rate under resampled chains and runs, by a law drawn by its weight."""
    index = np.unique(np.asarray(part.clusters), return_inverse=True)[1]
    groups, runs = int(index.max()) + 1, len(part.runs)
    weight = np.bincount(rng.integers(0, groups, groups), minlength=groups)[index].astype(np.float64)
    again = part.only(np.isin(np.arange(runs), rng.integers(0, runs, runs)))
    if len(np.unique(again.compute)) < LEAST_RUNS - 1:
        again = part
    form = FORMS[int(rng.random() < weights["mixture"])]
    return math.exp(-said(form, again, compute, draws, weight, theta))


def baselines(part: Table, compute: float) -> dict[str, float]:
    """What people say without a law: the largest run's rate stays; a logistic in log compute goes on."""
    y, _ = means(part)
    rates = np.clip(np.exp(-y), 1e-3, 1 - 1e-3)
    x = np.log(part.compute)
    slope, level = np.polyfit(x, np.log(rates / (1 - rates)), 1)
    logistic = 1 / (1 + math.exp(-max(-40.0, min(40.0, level + slope * math.log(compute)))))
    return {"last": float(np.exp(-y[part.compute == part.compute[-1]].mean())), "logistic": logistic}


__all__ = ["BucketForecast", "CapabilityForecast", "Mixture", "baselines", "forecast", "means", "said"]
