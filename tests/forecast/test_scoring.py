"""Scores against their definitions."""

from __future__ import annotations

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import Forecast, bridge, score, scored_row
from gnomon.forecast.scoring import crps, winkler
from gnomon.forecast.values import LEVELS


def forecast_of(median: float = 2.0, deviation: float = 0.05) -> Forecast:
    quantiles = {str(q): median * math.exp(NormalDist(0, deviation).inv_cdf(q)) for q in LEVELS}
    shares = {"seed": 0.25, "evaluation": 0.0, "minimum": 0.25, "form": 0.25, "outcome": 0.25}
    return Forecast(
        metric="bits_per_byte_codebase",
        unit="bits per byte",
        median=median,
        quantiles=quantiles,
        law="surface",
        parameters={"E": 1.0},
        shares=shares,
        components=[{"name": "surface", "median": median, "weight": 1.0}],
        warnings=[],
        last_point=2.5,
        seen={"rows": 12, "table_hash": "0"},
    )


def test_crps_is_the_integral_of_its_definition() -> None:
    quantiles = forecast_of().quantiles
    levels = np.array([0.0, *map(float, quantiles), 1.0])
    from gnomon.forecast.scoring import _extended

    ends = _extended(quantiles)[1]
    for outcome in (1.5, 1.97, 2.0, 2.06, 2.6):
        y = np.linspace(min(ends[0], outcome) - 0.01, max(ends[-1], outcome) + 0.01, 400_001)
        cdf = np.interp(y, ends, levels, left=0.0, right=1.0)
        integral = float(((cdf - (y >= outcome)) ** 2).sum() * (y[1] - y[0]))
        assert crps(quantiles, outcome) == pytest.approx(integral, rel=1e-3)


def test_crps_is_near_that_of_the_normal() -> None:
    """Closed form of a normal at its centre: deviation * (sqrt(2) - 1) / sqrt(pi)."""
    quantiles = {str(q): NormalDist(3, 0.1).inv_cdf(q) for q in LEVELS}
    assert crps(quantiles, 3.0) == pytest.approx(0.1 * (math.sqrt(2) - 1) / math.sqrt(math.pi), rel=0.05)


def test_score_reports_what_the_issue_asks() -> None:
    forecast = forecast_of()
    result = score(forecast, 2.02)
    assert result.error_pct == pytest.approx(100 * (2.02 - 2) / 2.02)
    assert result.last_point_error_pct == pytest.approx(100 * (2.5 / 2.02 - 1))
    assert result.inside_90 and result.inside_80
    assert not score(forecast, 2.3).inside_90
    row = json.loads(json.dumps(scored_row(forecast, 2.02)))
    assert set(row) == {
        "metric", "unit", "median", "q05", "q95", "outcome", "error_pct", "last_point_error_pct", "inside_90",
    }  # fmt: skip
    assert scored_row(forecast, None)["inside_90"] is None


def test_winkler_charges_what_lies_outside() -> None:
    assert winkler(1.0, 2.0, 1.5, 0.1) == 1.0
    assert winkler(1.0, 2.0, 2.1, 0.1) == pytest.approx(1.0 + 20 * 0.1)


@pytest.mark.parametrize("outcome", [float("nan"), float("inf"), 0.0, -1.0])
def test_an_outcome_that_is_none_is_refused(outcome: float) -> None:
    with pytest.raises(GnomonError, match="outcome"):
        score(forecast_of(), outcome)


def test_a_forecast_survives_json() -> None:
    forecast = forecast_of()
    assert Forecast.from_dict(json.loads(json.dumps(forecast.to_dict()))) == forecast


def test_bridge_shifts_by_the_ratio_and_widens_by_its_spread() -> None:
    forecast = forecast_of()
    sharp = bridge(forecast, [(2.0, 2.02), (1.0, 1.01), (1.5, 1.515)])
    assert sharp.median == pytest.approx(forecast.median * 1.01)
    assert sharp.last_point == pytest.approx(forecast.last_point * 1.01)
    wide = bridge(forecast, [(2.0, 2.16), (1.0, 0.98)])
    assert wide.half_width_pct > 1.3 * sharp.half_width_pct > 1.3 * forecast.half_width_pct * 0.999
    for bridged in (sharp, wide):
        assert sum(bridged.shares.values()) == pytest.approx(1)
        assert list(bridged.quantiles.values()) == sorted(bridged.quantiles.values())
    assert wide.shares["evaluation"] > 0.4 > sharp.shares["evaluation"]


def test_bridge_needs_positive_pairs() -> None:
    for pairs in ([], [(1.0, 0.0)], [(float("nan"), 1.0)]):
        with pytest.raises(GnomonError, match="bridge"):
            bridge(forecast_of(), pairs)
