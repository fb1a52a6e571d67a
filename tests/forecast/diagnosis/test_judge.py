"""What a number is worth: shifts between table and target, the flag, the run that mends it; a number in any case."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast import RunTable, Target, doctor
from gnomon.forecast.diagnosis.judge import judge, plain_rung
from gnomon.forecast.diagnosis.targets import declared, shifts
from gnomon.forecast.fallback import fallback_member
from gnomon.forecast.runs import Runs, admissible


def runs_of(rows: list[dict], metric: str) -> Runs:
    return admissible(RunTable.from_rows(rows), metric)


def test_a_target_like_the_runs_is_not_widened(make_ladder) -> None:
    rows = [{**r, "tokenizer": "t1", "context": 2048, "schedule": "Cosine"} for r in make_ladder().rows()]
    common = declared(RunTable.from_rows(rows))
    same = Target(1e15, 1e4, 1e10, {"tokenizer": "t1", "context": 2048, "schedule": "cosine", "note": "x"})
    assert shifts(common, same) == ([], 0.0)
    assert shifts({}, Target(1e15, 1e4, 1e10, {"tokenizer": "t2"})) == ([], 0.0)


def test_shifts_that_no_law_sees_are_named_and_widen(make_ladder) -> None:
    rows = [{**r, "tokenizer": "t1", "context": 2048, "unique_tokens": 1e12} for r in make_ladder().rows()]
    common = declared(RunTable.from_rows(rows))
    found, width = shifts(common, Target(1e15, 1e4, 1e12, {"tokenizer": "t2", "context": 8192, "unique_tokens": 1e11}))
    assert [f.code for f in found] == ["shift_tokenizer", "shift_context", "shift_unique_tokens"]
    assert 0.1 < width < 0.2 and all("widened by" in f.effect for f in found)
    assert "10 times" in found[2].message


def test_a_sound_table_is_not_flagged_and_a_wide_interval_is(make_ladder, metric: str) -> None:
    ladder = make_ladder()
    runs, target = runs_of(ladder.rows(), metric), ladder.target(1e14)[0]
    findings = doctor(ladder.table(), metric, target)
    assert not judge(runs, findings, target, 3.0).flag
    wide = judge(runs, findings, target, 40.0)
    assert wide.flag and "± 40 %" in wide.reason and "3e+13 FLOPs" in wide.mend
    assert judge(runs, findings, target, float("nan")).flag
    assert judge(runs, findings, target, 3.0, trouble=0.9).flag


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows, m: rows[:1], "more runs"),
        (lambda rows, m: [{**r, m: 4.0 - r[m]} for r in rows], "again at half"),
        (lambda rows, m: [{**r, "tokenizer": str(i % 2)} for i, r in enumerate(rows)], "one tokenizer"),
    ],
)
def test_each_flag_names_the_cheapest_mend(make_ladder, metric: str, change, says: str) -> None:
    ladder = make_ladder()
    rows, target = change(ladder.rows(), metric), ladder.target(1e14)[0]
    table = RunTable.from_rows(rows)
    verdict = judge(admissible(table, metric), doctor(table, metric, target), target, 5.0)
    assert verdict.flag and says in verdict.mend and "\n" not in verdict.reason + verdict.mend


def test_the_next_rung_lies_between_the_table_and_the_target(make_ladder, metric: str) -> None:
    ladder = make_ladder()
    runs, target = runs_of(ladder.rows(), metric), ladder.target(1e15)[0]
    compute, size, tokens = plain_rung(runs, target)
    assert runs.compute.max() < compute < target.compute
    assert runs.size.min() < size < target.parameters
    assert compute == pytest.approx(6 * size * tokens, rel=0.02)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_runs_give_a_number_from_the_slope_of_other_ladders(make_ladder, metric: str, count: int) -> None:
    ladder = make_ladder(budgets=(1e18, 3e18, 1e19))
    runs = runs_of(ladder.rows()[:count], metric)
    member = fallback_member(runs, draws=200, seed=1)
    far = {"compute": np.array([1e20])}
    point, draws = member.point.predict(far)[0, 0], member.draws.predict(far)[:, 0]
    assert 0.5 * runs.loss.min() < point < runs.loss.min()
    low, high = np.quantile(draws, [0.05, 0.95])
    assert low < point < high and 0.05 < (high - low) / point < 1


def test_two_identical_runs_and_a_rising_loss_still_give_a_number(make_ladder, metric: str) -> None:
    row = make_ladder().rows()[0]
    twins = runs_of([{**row, "run_id": "a", "tokens": row["tokens"] + 1}, {**row, "run_id": "b"}], metric)
    rising = runs_of([{**r, metric: 4.0 - r[metric]} for r in make_ladder().rows()], metric)
    for runs in (twins, rising):
        member = fallback_member(runs, draws=50)
        assert np.isfinite(member.draws.predict({"compute": np.array([1e23])})).all()
        assert 0 < member.point.predict({"compute": np.array([1e23])})[0, 0] <= runs.loss.max()
