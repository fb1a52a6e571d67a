"""The learned part: leaves a source out, widens with distance, follows closed forecasts, names its version."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import Forecast, RunTable, Target, fit
from gnomon.forecast.intervals import updated_factor
from gnomon.forecast.learned import FILE, learned, method_version, sources_seen

METRIC = "loss_nats_validation"


def table(count: int = 40, seed: int = 0, noise: float = 0.003) -> RunTable:
    rng = np.random.default_rng(seed)
    compute = 1e19 * 10 ** rng.uniform(-3, 0, count)
    size = np.sqrt(compute / 6 / rng.uniform(5, 80, count))
    tokens = compute / 6 / size
    loss = (1.8 + 400 / size**0.34 + 2000 / tokens**0.36) * np.exp(noise * rng.standard_normal(count))
    rows = zip(range(count), size, tokens, loss, strict=True)
    return RunTable.from_rows(
        [
            {"run_id": str(i), "parameters_total": n, "tokens": d, "flops": 6 * n * d, METRIC: value}
            for i, n, d, value in rows
        ]
    )


def target(compute: float) -> Target:
    size = np.sqrt(compute / 120)
    return Target(compute, size, compute / 6 / size)


def test_every_source_can_be_left_out_and_a_stranger_changes_nothing() -> None:
    for source in sources_seen():
        assert learned({source}).sources == tuple(s for s in sources_seen() if s != source)
        assert learned(source).sources == learned({source}).sources
    assert learned({"nobody"}).setting == learned().setting
    with pytest.raises(GnomonError, match="one source at a time"):
        learned(sources_seen()[:2])
    value = json.loads(FILE.read_text(encoding="utf-8"))
    assert set(value["without"]) == {"", *sources_seen()}


def test_a_forecast_says_what_it_rests_on() -> None:
    source = sources_seen()[0]
    forecast = fit(table(), METRIC, draws=20, left_out={source}).predict(target(1e21))
    assert forecast.seen["method"] == method_version() and re.fullmatch(r"gnomon-\d+\+[0-9a-f]{12}", method_version())
    assert source not in forecast.seen["learned_from"] and len(forecast.seen["learned_from"]) > 3
    assert {"ratio", "80", "90", "targets", "sources"} <= set(forecast.seen["coverage_record"])
    for component in forecast.components:
        assert component["expected_error_pct"] > 0 and component["tested_at"] == [10.0, 100.0]
    best = max(forecast.components, key=lambda c: c["weight"])
    assert best["name"] == forecast.law
    assert "surface with misfit" in {c["name"] for c in forecast.components}
    assert forecast.shares[forecast.seen["largest_share"]] == max(forecast.shares.values()) and forecast.seen["shrink"]
    json.dumps(forecast.to_dict(), allow_nan=False)


def test_widths_grow_with_distance_and_hold_the_outcome() -> None:
    fitted = fit(table(), METRIC, draws=20)
    asked = [target(c) for c in (3e19, 1e20, 1e21, 1e22)]
    forecasts = [fitted.predict(t) for t in asked]
    widths = [f.half_width_pct for f in forecasts]
    assert widths == sorted(widths) and 1 < widths[1] < 8
    for t, f in zip(asked, forecasts, strict=True):
        true = 1.8 + 400 / t.parameters**0.34 + 2000 / t.tokens**0.36
        assert f.quantiles["0.1"] < true < f.quantiles["0.9"]
        levels = list(f.quantiles.values())
        assert levels == sorted(levels) and sum(f.shares.values()) == pytest.approx(1)


def test_a_table_worse_than_any_published_one_is_not_made_to_look_usual() -> None:
    good, bad = (fit(table(noise=n), METRIC, draws=20).predict(target(1e21)).half_width_pct for n in (0.003, 0.3))
    assert bad > 2 * good


def test_weights_follow_the_record_at_the_targets_distance() -> None:
    fitted = fit(table(), METRIC, draws=20)
    near, far = (fitted.weights_at(target(c)) for c in (3e19, 1e22))
    assert near.sum() == pytest.approx(1) and far.sum() == pytest.approx(1)
    expected = learned().expected_error
    assert expected("surface", 2) > expected("surface", 1) and expected("never tested", 1) >= expected("surface", 1)


def closed(error: float) -> tuple[Forecast, float]:
    forecast = fit(table(), METRIC, draws=20).predict(target(1e21))
    return forecast, forecast.median * float(np.exp(error))


def test_closed_forecasts_move_the_width() -> None:
    hit, miss = closed(0.0), closed(0.15)
    assert updated_factor([]) == 1.0
    assert updated_factor([hit] * 5) < 1.0 < updated_factor([miss] * 5) < 3.0
    assert updated_factor([miss] * 40) > updated_factor([miss] * 5)
    narrow, wide = (fit(table(), METRIC, draws=20, factor=f).predict(target(1e21)).half_width_pct for f in (1.0, 2.0))
    assert wide == pytest.approx(2 * narrow, rel=0.05)
