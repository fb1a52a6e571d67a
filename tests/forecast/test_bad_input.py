"""What people feed a forecast: a clear line, or a number that says what it is worth; never a silent one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import Forecast, RunTable, Target, fit, read
from gnomon.forecast.runs import MOST_ROWS, admissible

Rows = list[dict]


def forecast(rows: Rows, metric: str, target: Target) -> Forecast:
    found = fit(RunTable.from_rows(rows), metric, draws=20).predict(target)
    assert np.isfinite(list(found.quantiles.values())).all() and min(found.quantiles.values()) > 0
    return found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r, m: {**r, m: -r[m]}, "none of the 29 rows can be used"),
        (lambda r, m: {**r, m: 0.0}, "none of the 29 rows can be used"),
        (lambda r, m: {**r, m: float("nan")}, "none of the 29 rows can be used"),
        (lambda r, m: {**r, m: "n/a" if r["seed"] == 1 else r[m]}, "holds 'n/a'; a number is expected"),
        (lambda r, m: {**r, "tokens": "many"}, "row 1, column tokens holds 'many'"),
    ],
)
def test_what_cannot_be_forecast_gets_one_line(make_ladder, metric: str, change, says: str) -> None:
    with pytest.raises(GnomonError, match=says) as caught:
        fit(RunTable.from_rows([change(r, metric) for r in make_ladder().rows()]), metric)
    assert "\n" not in str(caught.value)


FLAGGED: list[tuple[str, Callable[[Rows, str], Rows]]] = [
    ("too few rungs", lambda rows, m: rows[:1]),
    ("too few rungs", lambda rows, m: [rows[0], {**rows[0], "run_id": "twin"}]),
    ("loss rises with compute", lambda rows, m: [{**r, m: 4 - r[m]} for r in rows]),
    ("in another unit", lambda rows, m: [{**r, m: r[m] / np.log(2)} if i % 6 == 0 else r for i, r in enumerate(rows)]),
    ("a perplexity, not a loss", lambda rows, m: [{**r, m: np.exp(r[m] + 2)} for r in rows]),
]


@pytest.mark.parametrize(("says", "change"), FLAGGED, ids=[f"{i}" for i in range(len(FLAGGED))])
def test_what_can_be_guessed_at_is_flagged_with_its_reason(make_ladder, metric: str, says: str, change) -> None:
    ladder = make_ladder()
    found = forecast(change(ladder.rows(), metric), metric, ladder.target(1e15)[0])
    assert found.flag and says in found.flag_reason


def test_some_bad_rows_are_left_out_and_said(make_ladder, metric: str) -> None:
    ladder = make_ladder()
    rows = ladder.rows()
    rows[4][metric], rows[9][metric], rows[14][metric] = -1.0, None, 0.0
    found = forecast(rows, metric, ladder.target(3e14)[0])
    assert not found.flag and sum("left out" in w for w in found.warnings) == 2


@pytest.mark.parametrize(("compute", "says"), [(1e12, "lies inside the table"), (1e25, "over 10,000 times")])
def test_a_target_inside_or_far_beyond_is_flagged(make_ladder, metric: str, compute: float, says: str) -> None:
    ladder = make_ladder()
    found = forecast(ladder.rows(), metric, ladder.target(compute)[0])
    assert found.flag and says in found.flag_reason


def test_a_size_is_found_for_a_compute_even_without_a_law(make_ladder, metric: str) -> None:
    rows = make_ladder().rows()[:2]
    target = fit(RunTable.from_rows(rows), metric, draws=5).target(1e15)
    assert target.compute == 1e15 and target.parameters > rows[0]["parameters_matmul"]
    assert target.compute == pytest.approx(6 * target.parameters * target.tokens, rel=0.05)


def test_a_great_many_rows_are_thinned_to_the_best_and_a_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 40_000
    size, tokens = 10 ** rng.uniform(6, 9, count), 10 ** rng.uniform(8, 10, count)
    loss = (1.7 + (1e7 / size) ** 0.34 + (1e9 / tokens) ** 0.3) * np.exp(0.003 * rng.standard_normal(count))
    path = tmp_path / "many.csv"
    body = "\n".join(f"{n:.6g},{d:.6g},{y:.6f}" for n, d, y in zip(size, tokens, loss, strict=True))
    path.write_text("N,D,loss\n" + body + "\n")
    runs = admissible(read(path), "loss")
    assert len(runs) <= MOST_ROWS and runs.loss.min() == pytest.approx(loss.min(), abs=1e-6)
    assert runs.compute.max() / runs.compute.min() > 1e4
