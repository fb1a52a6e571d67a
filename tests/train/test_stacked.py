"""A stack: what a run computes in it is what it computes alone, whatever becomes of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.evaluate import EvalSet
from gnomon.train.execution import ANYWHERE, STACKED, decide, stored
from gnomon.train.metrics import read_metrics
from gnomon.train.result import Result
from gnomon.train.stacking import StackedRun, stack_execution, train_stacked
from gnomon.train.trainer import train

# Everything that may differ between the runs of a stack.
VARIED: tuple[dict[str, Any], ...] = (
    {"seed": 1, "order_seed": 2},
    {"seed": 3, "order_seed": 4, "rate": 0.02, "timescale": 0.5, "beta2": 0.99, "z_loss": 1e-2},
    {
        "seed": 5,
        "order_seed": 6,
        "steps": 9,
        "warmup_fraction": 0.3,
        "decay_fraction": 0.5,
        "decay_shape": "sqrt",
        "clip": 0.2,
    },
)
SHAPES: tuple[dict[str, Any], ...] = (
    {"depth": 2},
    {"width": 32, "kv_heads": 2, "tied": True, "qk_norm": False, "embedding_norm": False, "branch_multiplier": 0.5},
)


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(run_dir, checkpoints.steps(run_dir)[-1]).weights


def stack(plans: Sequence[Plan], corpus: Any, home: Path, **changes: Any) -> dict[str, Any]:
    """Train these together, each in home/<run id>. changes: of the execution."""
    runs = [StackedRun(plan, home / plan.run_id) for plan in plans]
    execution = replace(stack_execution(plans[0], len(plans)), **{"micro_rows": 2, "log_every": 2, **changes})
    return train_stacked(runs, corpus, execution=execution)


def same_bits(first: Path, second: Path) -> None:
    """The same final weights and the same curve, but for the clock."""
    a, b = weights_of(first), weights_of(second)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    curves = [read_metrics(folder / "metrics.parquet") for folder in (first, second)]
    for row, other in zip(*curves, strict=True):
        assert [row[k] for k in ("step", "loss_nats", "grad_norm")] == [
            other[k] for k in ("step", "loss_nats", "grad_norm")
        ]


@pytest.mark.parametrize(
    ("shape", "dtype", "tolerance"),
    [
        pytest.param(SHAPES[0], "float64", 1e-10, id="usual, float64"),
        pytest.param(SHAPES[1], "float32", 2e-4, id="grouped and tied, float32"),
        pytest.param(SHAPES[0], "float32", 2e-4, id="usual, float32", marks=pytest.mark.slow),
        pytest.param(SHAPES[1], "float64", 1e-10, id="grouped and tied, float64", marks=pytest.mark.slow),
    ],
)
def test_a_stacked_run_equals_the_same_run_alone(
    shape: dict[str, Any], dtype: str, tolerance: float, corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plans = [make_plan(**{"steps": 100, "dtype": dtype, **shape, **changes}) for changes in VARIED]
    outcomes = stack(plans, corpus, tmp_path / "together")
    for plan in plans:
        alone = replace(decide(plan), kernels="torch", micro_rows=3, log_every=2)
        expected = train(plan, corpus, tmp_path / "alone" / plan.run_id, execution=alone)
        assert outcomes[plan.run_id].train_loss_nats == pytest.approx(expected.train_loss_nats, abs=tolerance)
        ours, theirs = (weights_of(tmp_path / where / plan.run_id) for where in ("together", "alone"))
        for name, weight in theirs.items():
            torch.testing.assert_close(ours[name], weight, atol=tolerance, rtol=tolerance)


def test_a_stack_in_bf16_keeps_fp32_masters_and_stays_near_its_twin(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plans = [make_plan(seed=seed, dtype="bfloat16") for seed in (1, 2)]
    outcomes = stack(plans, corpus, tmp_path / "together")
    for plan in plans:
        alone = replace(decide(plan), kernels="torch", log_every=2)
        expected = train(plan, corpus, tmp_path / "alone" / plan.run_id, execution=alone)
        assert outcomes[plan.run_id].train_loss_nats == pytest.approx(expected.train_loss_nats, abs=5e-3)
        assert all(weight.dtype == torch.float32 for weight in weights_of(tmp_path / "together" / plan.run_id).values())


def test_what_a_run_computes_does_not_depend_on_its_neighbours(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plans = [make_plan(**changes) for changes in VARIED]
    stack(plans, corpus, tmp_path / "three")
    stack(plans[:2], corpus, tmp_path / "two")
    stack(plans[:1], corpus, tmp_path / "one")
    same_bits(tmp_path / "three" / plans[0].run_id, tmp_path / "one" / plans[0].run_id)
    same_bits(tmp_path / "three" / plans[1].run_id, tmp_path / "two" / plans[1].run_id)


def test_each_run_leaves_what_the_trainer_leaves(
    corpus: Any, make_plan: Callable[..., Plan], held_out: EvalSet, tmp_path: Path
) -> None:
    plans = [make_plan(**changes) for changes in VARIED]
    heard: list[str] = []

    def listener(plan: Plan) -> Callable[[int, dict[str, float]], None]:
        return lambda *_: heard.append(plan.run_id)

    runs = [StackedRun(plan, tmp_path / plan.run_id, [held_out], [listener(plan)], "head") for plan in plans]
    outcomes = train_stacked(runs, corpus)
    for plan in plans:
        folder, result = tmp_path / plan.run_id, outcomes[plan.run_id]
        assert isinstance(result, Result) and result == Result.read(folder)
        assert (result.status, result.steps, result.registry_head) == ("done", plan.steps, "head")
        assert set(result.evaluations) == {held_out.name}
        assert any("stack of 3" in note for note in result.notes)
        execution = stored(folder)
        assert execution is not None and execution.kernels == STACKED
        assert checkpoints.read_plan(folder) == plan
        assert train(plan, corpus, folder, mode="auto") == result  # it is finished for everybody
    assert set(heard) == {plan.run_id for plan in plans}


class Killed(Exception):
    pass


def killed_at(plans: Sequence[Plan], corpus: Any, home: Path, run: int, event: str, step: int) -> None:
    """Train until that run says that event at that step; then the process is as good as dead."""

    def listen(plan: Plan) -> Callable[[str, int], None]:
        def on_event(what: str, at: int) -> None:
            if (plan, what, at) == (plans[run], event, step):
                raise Killed

        return on_event

    runs = [StackedRun(plan, home / plan.run_id, on_event=listen(plan)) for plan in plans]
    execution = replace(stack_execution(plans[0], 3), micro_rows=2, log_every=2, checkpoint_every_s=0.0)
    with pytest.raises(Killed):
        train_stacked(runs, corpus, execution=execution)


@pytest.mark.parametrize("event", ["step", "checkpoint rename"])
def test_a_stack_killed_half_way_goes_on_bit_for_bit_together_or_alone(
    event: str, corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plans = [make_plan(**changes) for changes in VARIED]
    stack(plans, corpus, tmp_path / "whole")
    # In the middle of a step of all: the first has its checkpoint of step 5, the others have not.
    for where in ("together", "alone"):
        killed_at(plans, corpus, tmp_path / where, 1, event, 5)
    assert len({checkpoints.steps(tmp_path / "together" / plan.run_id)[-1] for plan in plans}) == 2
    stack(plans, corpus, tmp_path / "together")
    for plan in plans:
        train(plan, corpus, tmp_path / "alone" / plan.run_id, mode="resume")
    for plan in plans:
        for where in ("together", "alone"):
            same_bits(tmp_path / where / plan.run_id, tmp_path / "whole" / plan.run_id)


def test_a_run_that_diverges_ends_alone(corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plans = [make_plan(**changes) for changes in VARIED]
    stack(plans, corpus, tmp_path / "whole")
    poisoned = make_plan(seed=9, steps=30, rate=1e30)
    outcomes = stack([poisoned, *plans], corpus, tmp_path / "together")
    assert outcomes[poisoned.run_id].status == "diverged"
    for plan in plans:
        same_bits(tmp_path / "together" / plan.run_id, tmp_path / "whole" / plan.run_id)


def test_a_run_in_use_or_begun_otherwise_does_not_hold_up_the_rest(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    from gnomon.common.files import Lock

    plans = [make_plan(**changes) for changes in VARIED]
    before = replace(decide(plans[1]), kernels="torch", micro_rows=6)
    begin = tmp_path / plans[1].run_id

    def stop(what: str, step: int) -> None:
        if (what, step) == ("step", 3):
            raise Killed

    with pytest.raises(Killed):
        train(plans[1], corpus, begin, execution=before, on_event=stop)
    with Lock(tmp_path / plans[2].run_id / ".lock", "run"):
        outcomes = stack(plans, corpus, tmp_path)
    assert isinstance(outcomes[plans[2].run_id], GnomonError)
    assert outcomes[plans[0].run_id].status == outcomes[plans[1].run_id].status == "done"
    execution = stored(begin)
    assert execution is not None and execution.kernels == "torch"


def test_a_stack_of_different_shapes_is_refused(corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plans = [make_plan(), make_plan(width=24)]
    with pytest.raises(GnomonError, match=plans[1].run_id):
        train_stacked([StackedRun(plan, tmp_path / plan.run_id) for plan in plans], corpus)


def test_the_rows_of_all_runs_fill_one_pass(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(context=512, batch_rows=8)
    executions = [stack_execution(plan, runs) for runs in (1, 4, 64)]
    assert [execution.micro_rows for execution in executions] == [4, 2, 1]
    assert all(execution.kernels in ANYWHERE for execution in executions)


def test_a_full_disk_is_named(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_file", full)
    with pytest.raises(JobFailed, match="the disk is full"):
        stack([make_plan(**changes) for changes in VARIED], corpus, tmp_path)


def test_rows_of_every_run_are_its_own(corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Two runs that differ in their data order alone end at different weights."""
    plans = [make_plan(order_seed=order) for order in (1, 2)]
    stack(plans, corpus, tmp_path)
    first, second = (weights_of(tmp_path / plan.run_id)["head.weight"] for plan in plans)
    assert not np.allclose(first.numpy(), second.numpy())
