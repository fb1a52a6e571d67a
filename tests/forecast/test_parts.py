"""A sum of two losses that fall at different rates: the line bends, the parts do not."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable, doctor, fit, fit_parts, score


def copied(size, tokens):
    """Loss of tokens that repeat their context: falls fast once models are big enough."""
    return 0.05 + 0.9 * (4e3 / size) ** 0.6 + 0.5 * (1e6 / tokens) ** 0.6


def fresh(size, tokens):
    return 0.7 + 0.6 * (4e3 / size) ** 0.2 + 0.5 * (1e6 / tokens) ** 0.2


def split_rows(make_ladder, metric: str, noise: float = 0.002) -> tuple[list[dict], object]:
    ladder = make_ladder(law=lambda n, d: copied(n, d) + fresh(n, d), noise=0.0)
    rng = np.random.default_rng(0)
    rows = ladder.rows()
    for row in rows:
        at = np.array(row["parameters_matmul"]), np.array(row["tokens"])
        seed = np.exp(noise * rng.standard_normal())
        row["copied"], row["fresh"] = float(copied(*at) * seed), float(fresh(*at) * seed)
        row[metric] = row["copied"] + row["fresh"]
    return rows, ladder


def test_parts_are_forecast_apart_and_added(make_ladder, metric: str) -> None:
    rows, ladder = split_rows(make_ladder, metric)
    table = RunTable.from_rows(rows)
    target, loss = ladder.target(3e14)
    forecast = fit_parts(table, metric, ["copied", "fresh"], draws=40).predict(target)
    result = score(forecast, loss)
    assert result.inside_90 and result.error_pct < 2 and result.error_pct < result.last_point_error_pct / 4
    assert [c["name"] for c in forecast.components] == ["copied", "fresh"]
    assert sum(c["median"] for c in forecast.components) == pytest.approx(forecast.median, rel=0.01)
    assert sum(forecast.shares.values()) == pytest.approx(1)
    assert forecast.last_point == min(r[metric] for r in rows)


def test_parts_that_do_not_add_up_are_refused(make_ladder, metric: str) -> None:
    rows, _ = split_rows(make_ladder, metric)
    rows[4]["fresh"] *= 1.1
    with pytest.raises(GnomonError, match=r"copied \+ fresh is not .* in 1 rows, first b0k4s0"):
        fit_parts(RunTable.from_rows(rows), metric, ["copied", "fresh"])
    with pytest.raises(GnomonError, match="two at least"):
        fit_parts(RunTable.from_rows(rows), metric, [metric])


def test_the_whole_can_still_be_fitted(make_ladder, metric: str) -> None:
    rows, ladder = split_rows(make_ladder, metric)
    table = RunTable.from_rows(rows)
    assert not any(f.severity == "fatal" for f in doctor(table, metric))
    assert score(fit(table, metric, draws=20).predict(ladder.target(3e14)[0]), ladder.target(3e14)[1]).error_pct < 5
