"""What a number is worth: shifts between table and target, the flag, the run that mends it; a number in any case."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast import Forecast, RunTable, Target, doctor
from gnomon.forecast.diagnosis.appraisal import appraise, widened
from gnomon.forecast.diagnosis.judge import judge, plain_rung
from gnomon.forecast.diagnosis.targets import declared, shifts
from gnomon.forecast.diagnosis.trouble import LEARNED_FROM, Outlook
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


def forecast_of(median: float, deviation: float) -> Forecast:
    levels = {"0.05": -1.645, "0.25": -0.674, "0.5": 0.0, "0.75": 0.674, "0.95": 1.645}
    quantiles = {level: median * float(np.exp(deviation * z)) for level, z in levels.items()}
    return Forecast("loss", "", median, quantiles, "law", {}, {"seed": 0.4, "form": 0.6}, [], ["said"], 3.0, {})


def test_a_shift_widens_and_keeps_the_median() -> None:
    wide = widened(forecast_of(2.0, 0.03), 0.04)
    assert wide.quantiles["0.5"] == wide.median == 2.0
    assert np.log(wide.quantiles["0.95"] / 2.0) == pytest.approx(1.645 * 0.05, rel=1e-6)
    assert wide.shares["shift"] == pytest.approx(0.64) and sum(wide.shares.values()) == pytest.approx(1.0)
    assert widened(wide, 0.0) is wide


def published_like(small: float, floor: float, seed: int = 0) -> Runs:
    rng = np.random.default_rng(seed)
    size = np.repeat(np.geomspace(small, 100 * small, 6), 5)
    tokens = np.tile(np.geomspace(10 * small, 1000 * small, 5), 6)
    loss = (floor + (1e8 / size) ** 0.34 + (2e9 / tokens) ** 0.3) * np.exp(0.003 * rng.standard_normal(30))
    rows = [
        {"parameters_total": n, "tokens": d, "flops": 6 * n * d, "loss": y}
        for n, d, y in zip(size, tokens, loss, strict=True)
    ]
    return admissible(RunTable.from_rows(rows), "loss")


def test_trouble_grows_with_distance_and_says_nothing_of_tables_it_never_saw() -> None:
    outlook = Outlook.of(published_like(2e7, 1.7))
    chances = [outlook.trouble(Target(6 * n * d, n, d)) for n, d in ((3e9, 3e10), (1e10, 1e11), (1e11, 1e12))]
    assert 0 < chances[0] < chances[1] < chances[2] < 1
    target = Target(6e22, 1e10, 1e12)
    assert all(0 < outlook.trouble(target, [source]) < 1 for source in LEARNED_FROM)
    assert Outlook.of(published_like(1e4, 1.7)).trouble(target) is None
    assert Outlook.of(published_like(2e7, 1.7).select(np.arange(5))).trouble(target) is None


def test_an_appraisal_carries_shift_flag_and_mend() -> None:
    runs, target = published_like(2e7, 1.7), Target(1.5e21, 5e9, 5e10, {"tokenizer": "b"})
    plain = appraise(forecast_of(2.0, 0.02), runs, [], {}, target)
    assert not plain.flag and plain.warnings == ["said"] and plain.target == {"attributes": {"tokenizer": "b"}}
    shifted = appraise(forecast_of(2.0, 0.02), runs, [], {"tokenizer": "a"}, target)
    assert shifted.flag and "tokenizer" in shifted.flag_reason and "again as the target" in shifted.mend
    assert shifted.half_width_pct > 4 * plain.half_width_pct and len(shifted.warnings) == 2
