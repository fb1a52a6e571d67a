"""The doctor: what ruins a forecast is found, named and explained; what is sound is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable, doctor, fit
from gnomon.forecast.runs import admissible


def codes(rows: list[dict], metric: str) -> dict[str, tuple[str, ...]]:
    return {f.code: f.rows for f in doctor(RunTable.from_rows(rows), metric)}


def test_a_sound_ladder_has_no_findings(make_ladder, laws, metric: str) -> None:
    for law in laws.values():
        for seed in range(4):
            assert doctor(make_ladder(law=law, seed=seed).table(), metric) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"annealed": False}, "unannealed"),
        ({"status": "diverged"}, "diverged"),
        ({"trunk": True}, "trunk"),
        ({"registered": True}, "registered"),
        ({"bits_per_byte_codebase": None}, "missing"),
        ({"flops": None}, "missing"),
        ({"bits_per_byte_codebase": -1.0}, "not_positive"),
        ({"bits_per_byte_codebase": 0.0}, "not_positive"),
        ({"flops": -5e18}, "not_positive"),
        ({"run_id": "b1k0s0"}, "duplicate"),
    ],
)
def test_a_bad_row_is_named_and_left_out(make_ladder, metric: str, change: dict, code: str) -> None:
    rows = make_ladder().rows()
    rows[7].update(change)
    name = rows[7]["run_id"]
    assert codes(rows, metric)[code] == (name,)
    runs = admissible(RunTable.from_rows(rows), metric)
    assert len(runs) == len(rows) - 1


@pytest.mark.parametrize(
    ("column", "value", "severity"),
    [
        ("corpus", "other", "fatal"),
        ("tokenizer", "t2", "fatal"),
        ("numerics", "2", "warning"),
        ("dtype", "bf16", "warning"),
    ],
)
def test_mixtures_are_found(make_ladder, metric: str, column: str, value: str, severity: str) -> None:
    rows = [{**row, column: "usual"} for row in make_ladder().rows()]
    rows[3][column] = value
    found = [f for f in doctor(RunTable.from_rows(rows), metric) if f.code == f"mixed_{column}"]
    assert [(f.severity, f.rows) for f in found] == [(severity, (rows[3]["run_id"],))]


def test_flops_of_another_convention_are_found(make_ladder, metric: str) -> None:
    rows = make_ladder().rows()
    rows[5]["flops"] = rows[5]["flops"] / 3
    assert codes(rows, metric)["flops_inconsistent"] == (rows[5]["run_id"],)
    scaled = [{**row, "flops": row["flops"] * 1000} for row in make_ladder().rows()]
    assert codes(scaled, metric)["flops_inconsistent"] == ()


def test_runs_of_too_few_steps_are_found(make_ladder, metric: str) -> None:
    rows = make_ladder().rows()
    rows[0]["steps"] = 60
    assert codes(rows, metric)["few_steps"] == (rows[0]["run_id"],)


@pytest.mark.parametrize("extra", [0.03, 0.05])
def test_a_bend_that_steepens_the_line_is_caught(make_ladder, metric: str, extra: float) -> None:
    """As where small models begin to copy from context: above 3e12 FLOPs loss falls faster per e-fold."""
    rows = make_ladder(noise=0.002).rows()
    for row in rows:
        row[metric] *= np.exp(-extra * max(0.0, np.log(row["flops"] / 2.9e12)))
    found = [f for f in doctor(RunTable.from_rows(rows), metric) if f.code == "slope_break"]
    assert len(found) == 1 and "the line bends" in found[0].message
    assert set(found[0].rows) == {r["run_id"] for r in rows if r["budget"] > 2.9e12}
    assert any("bends" in w for w in fit(RunTable.from_rows(rows), metric, draws=10).predict(
        make_ladder().target(3e14)[0]).warnings)  # fmt: skip


def test_a_line_that_goes_flat_is_caught_but_a_floor_is_lawful(make_ladder, metric: str) -> None:
    rows = make_ladder(noise=0.001).rows()
    for row in rows:
        if row["budget"] == 1e13:
            row[metric] *= 1.1
    assert "slope_break" in codes(rows, metric)
    floor = make_ladder(law=lambda n, d: 1.9 + 0.6 * (2.2e3 / n) ** 0.4 + 0.6 * (4e5 / d) ** 0.4)
    assert not any(f.code == "slope_break" for f in doctor(floor.table(), metric))


def test_noise_alone_seldom_looks_like_a_bend(make_ladder, metric: str) -> None:
    found = [doctor(make_ladder(noise=0.004, seed=s).table(), metric) for s in range(40)]
    assert sum(any(f.code == "slope_break" for f in each) for each in found) <= 3


def test_too_few_rungs_are_a_fatal_finding_and_a_flagged_number(make_ladder, metric: str) -> None:
    rows = make_ladder().rows()
    for few in (
        rows[:1],
        [rows[0], {**rows[0], "run_id": "again"}],
        [r for r in rows if r["budget"] < 5e11],
        [{**r, "budget": None} for r in rows if r["budget"] < 2e11],
        [{**r, metric: 2.0} for r in rows],
    ):
        table = RunTable.from_rows(few)
        assert "too_few" in {f.code for f in doctor(table, metric) if f.severity == "fatal"}
        forecast = fit(table, metric, draws=20).predict(make_ladder().target(1e15)[0])
        assert forecast.flag and "too few rungs for a law" in forecast.flag_reason and forecast.mend
        assert np.isfinite(list(forecast.quantiles.values())).all() and forecast.half_width_pct > 1
    with pytest.raises(GnomonError, match="too few rungs for a law"):
        fit(RunTable.from_rows([]), metric)


def test_a_missing_metric_or_size_is_named(make_ladder, metric: str) -> None:
    table = make_ladder().table()
    with pytest.raises(GnomonError, match="no column 'bits_per_byte_poems'"):
        doctor(table, "bits_per_byte_poems")
    with pytest.raises(GnomonError, match="row 1, column corpus holds text"):
        doctor(table, "corpus")
    losses = [str(loss) for loss in table[metric]]
    losses[2] = "abc"
    with pytest.raises(GnomonError, match=r"row 3, .* holds text, 'abc'; losses are numbers"):
        doctor(RunTable({**table.columns, metric: np.array(losses)}), metric)
    small = RunTable({k: v for k, v in table.columns.items() if k != "parameters_matmul"})
    with pytest.raises(GnomonError, match="model sizes"):
        fit(small, metric)


def test_loss_that_rises_with_compute_is_flagged(make_ladder, metric: str) -> None:
    rows = [{**r, metric: 4.0 - r[metric]} for r in make_ladder().rows()]
    assert "rising_loss" in codes(rows, metric)


def test_a_target_inside_the_table_is_a_finding(make_ladder, metric: str) -> None:
    ladder = make_ladder()
    found = doctor(ladder.table(), metric, ladder.target(1e12)[0])
    assert [f.code for f in found] == ["target_inside"] and len(found[0].rows) > 10
