"""From the rows that the rungs were read on to the rows that the outcome will be read on.

Rungs are evaluated on a fixed subset of the held-out set, the target on all of it. The whole set may be a little harder
or easier; a few rungs that were read on both say by how much. All runs share the rows, so the ratio hardly depends on
the run, and what it does depend on shows as its spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.values import Forecast

# Two rungs cannot show their spread; the ratio of published subset and whole-set losses moves by about this over a
# decade.
USUAL_SPREAD = 0.001


def bridge(forecast: Forecast, pairs: Sequence[tuple[float, float]]) -> Forecast:
    """The forecast for the whole set, from a forecast for the subset.

    pairs: (value on the subset, value on the whole set) of the rungs that were read on both, same unit. The mean of
    log(whole/subset) shifts every quantile; its spread, as the error of one more run's ratio, widens them.
    Raises GnomonError without pairs or with values that are not positive.
    """
    values = np.array(list(pairs), dtype=float).reshape(-1, 2)
    if not len(values) or not (np.isfinite(values) & (values > 0)).all():
        raise GnomonError("bridge: pairs of positive (subset, whole set) losses of at least one rung are needed")
    log_ratio = np.log(values[:, 1] / values[:, 0])
    count = len(log_ratio)
    # One prior observation of the spread, so that two rungs that agree by chance do not make it zero.
    squares = ((log_ratio - log_ratio.mean()) ** 2).sum() + USUAL_SPREAD**2
    deviation = float(np.sqrt(squares / count * (1 + 1 / count)))
    shift = float(log_ratio.mean())
    quantiles = {
        level: _widened(q, forecast.median, float(level), deviation, shift) for level, q in forecast.quantiles.items()
    }
    before = _log_variance(forecast.quantiles)
    total = before + deviation**2
    shares = {name: share * before / total for name, share in forecast.shares.items()}
    shares["evaluation"] = shares.get("evaluation", 0.0) + deviation**2 / total
    scale = float(np.exp(shift))
    return replace(
        forecast,
        median=forecast.median * scale,
        quantiles=quantiles,
        shares=shares,
        components=[{**c, "median": c["median"] * scale} for c in forecast.components],
        last_point=forecast.last_point * scale,
        seen={**forecast.seen, "bridge": {"rungs": count, "log_ratio": shift, "deviation": deviation}},
    )


def _widened(quantile: float, median: float, level: float, deviation: float, shift: float) -> float:
    """A quantile moved by shift; its distance from the median grows as that of a sum of independent errors does."""
    from statistics import NormalDist

    distance = np.log(quantile / median)
    grown = np.hypot(distance, NormalDist().inv_cdf(level) * deviation) if level != 0.5 else 0.0
    return float(median * np.exp(shift + np.copysign(grown, level - 0.5)))


def _log_variance(quantiles: dict[str, float]) -> float:
    """Variance of log loss, from the 90 % interval as if it were normal."""
    return float((np.log(quantiles["0.95"] / quantiles["0.05"]) / (2 * 1.6449)) ** 2)
