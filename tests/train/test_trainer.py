"""The trainer from outside: what it writes, what it refuses, what it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json
from gnomon.recipe.flops import train_flops
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.evaluate import EvalSet, evaluate
from gnomon.train.execution import Execution
from gnomon.train.metrics import METRICS_FILE, read_metrics
from gnomon.train.result import RESULT_FILE, Result
from gnomon.train.trainer import train

MakePlan = Callable[..., Plan]


def test_a_run_learns_and_leaves_its_records(
    corpus: Any, make_plan: MakePlan, held_out: EvalSet, run_dir: Path
) -> None:
    plan = make_plan(steps=150)
    heard: list[int] = []
    result = train(
        plan,
        corpus,
        run_dir,
        evaluate=[held_out],
        callbacks=[lambda step, row: heard.append(step)],
        registry_head="head",
    )
    assert (result.status, result.steps, result.tokens, result.flops) == ("done", 150, plan.tokens, train_flops(plan))
    assert result.registry_head == "head" and not result.inexact and not result.trunk
    assert result.evaluations["development"]["loss_nats"] < 0.6 * math.log(64)
    assert Result.read(run_dir) == result
    assert checkpoints.load(run_dir, 150).state["registry_head"] == "head"
    rows = read_metrics(run_dir / METRICS_FILE)
    assert [row["step"] for row in rows] == heard == list(range(1, 151))
    assert rows[-1]["tokens"] == plan.tokens and rows[-1]["flops"] == pytest.approx(train_flops(plan))
    assert rows[0]["loss_nats"] == pytest.approx(math.log(64), rel=1e-5)  # the head starts at zero
    assert rows[-1]["loss_nats"] == result.train_loss_nats
    model = checkpoints.load_final(run_dir)
    again = evaluate(model, held_out, corpus.token_bytes)
    assert again.loss_nats == result.evaluations["development"]["loss_nats"]


def test_windows_average_their_steps(
    corpus: Any, make_plan: MakePlan, every_step: Callable[..., Execution], tmp_path: Path
) -> None:
    plan = make_plan(steps=7)
    for name, log_every in (("one", 1), ("three", 3)):
        train(plan, corpus, tmp_path / name, execution=replace(every_step(plan), log_every=log_every))
    single = read_metrics(tmp_path / "one" / METRICS_FILE)
    wide = read_metrics(tmp_path / "three" / METRICS_FILE)
    assert [row["step"] for row in wide] == [3, 6, 7]
    for column in ("loss_nats", "grad_norm"):
        assert wide[0][column] == pytest.approx(sum(row[column] for row in single[:3]) / 3, rel=1e-9)
    assert wide[2]["loss_nats"] == single[6]["loss_nats"]


def test_a_finished_run_is_returned_as_it_is_and_examined_on_new_sets_only(
    corpus: Any, make_plan: MakePlan, held_out: EvalSet, run_dir: Path
) -> None:
    plan = make_plan()
    first = train(plan, corpus, run_dir, evaluate=[held_out])
    written = (run_dir / RESULT_FILE).stat().st_mtime_ns
    assert train(plan, corpus, run_dir, evaluate=[held_out]) == first
    assert (run_dir / RESULT_FILE).stat().st_mtime_ns == written
    other = replace(held_out, name="codebase", rows=held_out.rows[:9], hash="another")
    more = train(plan, corpus, run_dir, evaluate=[held_out, other])
    assert more.evaluations["development"] == first.evaluations["development"]
    assert more.evaluations["codebase"]["tokens"] == 9 * 16
    assert Result.read(run_dir) == more


def test_a_diverged_run_ends_with_a_result(corpus: Any, make_plan: MakePlan, held_out: EvalSet, run_dir: Path) -> None:
    plan = make_plan(steps=60, rate=1e30, clip=0.0)
    result = train(plan, corpus, run_dir, evaluate=[held_out])
    assert result.status == "diverged" and 0 < result.steps < 60
    assert result.evaluations == {} and result.train_loss_nats is None
    assert read_json(run_dir / RESULT_FILE, 1)["status"] == "diverged"
    assert train(plan, corpus, run_dir) == result
    with pytest.raises(GnomonError, match="diverged at step"):
        checkpoints.load_final(run_dir)


def test_bf16_stays_close_to_fp32_and_keeps_fp32_masters(
    corpus: Any, make_plan: MakePlan, held_out: EvalSet, tmp_path: Path
) -> None:
    losses = {}
    for dtype in ("float32", "bfloat16"):
        result = train(make_plan(dtype=dtype, steps=100), corpus, tmp_path / dtype, evaluate=[held_out])
        losses[dtype] = result.evaluations["development"]["loss_nats"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    weights = checkpoints.load(tmp_path / "bfloat16", 100).weights["blocks.0.mlp.up.weight"]
    assert weights.dtype == torch.float32 and not torch.equal(weights, weights.bfloat16().float())


def test_the_order_of_rows_and_the_weights_have_seeds_of_their_own(
    corpus: Any, make_plan: MakePlan, tmp_path: Path
) -> None:
    curves = {}
    for name, changes in {"base": {}, "seed": {"seed": 9}, "order": {"order_seed": 9}}.items():
        train(make_plan(**changes), corpus, tmp_path / name)
        curves[name] = [row["loss_nats"] for row in read_metrics(tmp_path / name / METRICS_FILE)]
    assert curves["base"] != curves["seed"] != curves["order"] != curves["base"]


def test_modes_cannot_be_confused(
    corpus: Any, make_plan: MakePlan, every_step: Callable[..., Execution], run_dir: Path
) -> None:
    plan = make_plan()
    with pytest.raises(GnomonError, match="no run to resume; train begins one"):
        train(plan, corpus, run_dir, mode="resume")
    assert not run_dir.exists()

    def stop(what: str, step: int) -> None:
        if (what, step) == ("step", 3):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop)
    with pytest.raises(GnomonError, match="was begun and has a checkpoint of step 2; resume goes on"):
        train(plan, corpus, run_dir)
    assert train(plan, corpus, run_dir, mode="auto").status == "done"


def test_what_cannot_be_trained_is_refused_in_one_line(corpus: Any, make_plan: MakePlan, run_dir: Path) -> None:
    cases = {
        "this is corpus cccccccc": make_plan(corpus="d" * 64),
        "its model 32": make_plan(vocab=32),
        "fewer than one batch of 9000": make_plan(batch_rows=9000),
        "schedule: warm-up 0.9": make_plan(warmup_fraction=0.9),
    }
    for message, plan in cases.items():
        with pytest.raises(GnomonError, match=message) as refusal:
            train(plan, corpus, run_dir)
        assert "\n" not in str(refusal.value)


def test_another_runs_folder_is_refused(corpus: Any, make_plan: MakePlan, run_dir: Path) -> None:
    train(make_plan(), corpus, run_dir)
    with pytest.raises(GnomonError, match="another run: seed is 1 there and 3 here"):
        train(make_plan(seed=3), corpus, run_dir)
