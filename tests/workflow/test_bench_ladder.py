"""gnomon bench ladder and bench stacked: how both sides are added up, and that what they measure can be measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnomon.ladder.jobs import Job
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.workflow.bench_ladder import Cost, Ladder, bench_ladder_lines
from gnomon.workflow.bench_stacked import bench_stacked, stacked_lines
from gnomon.workflow.ladder_pace import Pace

SHAPE = ModelShape(vocab=64, context=16, width=16, depth=1, head_dim=8)
PLAN = Plan(
    SHAPE,
    Optimisation(rate=0.01, base_width=16, base_depth=1, embed_ratio=1, timescale=0.3, beta1=0.9, beta2=0.95),
    steps=100, batch_rows=2, seed=1, order_seed=2, corpus="c" * 64,
)  # fmt: skip
COST = Cost(step={(SHAPE, 2): 0.1}, opening={SHAPE: 1.0}, token={SHAPE: 0.001}, start=2.0)


def ladder(*steps: int) -> Ladder:
    plans = [replace(PLAN, steps=count, seed=seed) for seed, count in enumerate(steps)]
    return Ladder([Job("train", plan, ("documents",)) for plan in plans], plans[:2], subset=1000, whole=3000)


def test_one_process_does_everything_one_after_another() -> None:
    assert COST.run(PLAN, 1000) == pytest.approx(100 * 0.1 + 1 + 1)
    assert ladder(100, 50).alone(COST) == pytest.approx(2 + (10 + 2) + (5 + 2) + 2 * 3)


def test_processes_take_the_costliest_job_that_is_left() -> None:
    # 30, 20 and 10 seconds of steps, 2 of opening and examination each: one does 32, the other 22 and 12.
    assert ladder(100, 300, 200).on(COST, 2) == pytest.approx(2 + 34 + 2 + 3)
    assert ladder(100, 300, 200).on(COST, 1) == pytest.approx(2 + 66 + 2 + 6)


def test_the_lines_say_both_sides_and_how_far_the_sum_was_off() -> None:
    value = {
        "recipe": "smoke", "runs": 1, "steps": 10, "processes": 2, "eager_threads": 1, "gnomon_s": 10.0,
        "eager_s": 40.0, "ratio": 4.0,
        "shapes": [{"width": 8, "rows": 4, "runs": 1, "steps": 10, "gnomon_s": 0.001, "eager_1_s": 0.004}],
        "whole": {"gnomon_s": 9.0, "eager_s": 36.0, "ratio": 4.0, "estimate_off": {"gnomon_s": 0.1, "eager_s": -0.05}},
    }  # fmt: skip
    text = "\n".join(bench_ladder_lines(value))
    assert "10 s beside 40 s: 4.00x" in text and "+10% and -5% off" in text and "4.00x" in text


def test_steps_openings_evaluations_and_runs_can_be_measured(small_home, tmp_path) -> None:
    _, corpus = small_home
    plan = replace(PLAN, shape=replace(SHAPE, vocab=corpus.vocab), corpus=corpus.hash, steps=3)
    pace = Pace(corpus, tmp_path)
    for request in (
        {"what": "step", "threads": 1, "count": 5},
        {"what": "opening"},
        {"what": "token", "threads": 1, "tokens": 64},
    ):
        assert pace.answer({**request, "plan": plan.to_dict()}) > 0
    assert pace.answer({"what": "runs", "jobs": [Job("train", plan, ("documents",), 64).to_dict()]}) > 0
    assert (tmp_path / "home" / "runs" / plan.run_id / "result.json").exists()


def test_the_table_of_stacks_has_every_side() -> None:
    value = bench_stacked(turns=1, sizes=((8, 2),))
    (row,) = value["sizes"]
    assert {"eager", "stack of 2", "stack of 8"} <= set(row["ms"]) and min(row["ms"].values()) > 0
    assert "34,504" in "\n".join(stacked_lines(value))
