"""How a run is carried out: decided once, kept, refused where it cannot be honoured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan
from gnomon.train import execution as executions
from gnomon.train.execution import Execution, Machine, decide, honoured, store, stored
from gnomon.train.trainer import train

MakePlan = Callable[..., Plan]


def test_micro_batches_are_even_and_hold_about_2k_tokens(make_plan: MakePlan) -> None:
    for rows, expected in ((4, 4), (8, 8), (9, 5), (16, 8), (33, 7)):
        assert decide(make_plan(context=256, batch_rows=rows)).micro_rows == expected
    assert decide(make_plan(context=8192, batch_rows=3)).micro_rows == 1


def test_it_is_stored_and_read_back(make_plan: MakePlan, tmp_path: Path) -> None:
    execution = decide(make_plan(), keep_steps=(9, 3))
    store(tmp_path, execution)
    assert stored(tmp_path) == execution and execution.keep_steps == (3, 9)
    assert execution.machine == Machine.here()


def interrupted(corpus: Any, plan: Plan, run_dir: Path, execution: Execution) -> None:
    def stop(what: str, step: int) -> None:
        if (what, step) == ("step", 4):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(plan, corpus, run_dir, execution=execution, on_event=stop)


def test_what_a_run_recorded_wins_on_resume(
    corpus: Any, make_plan: MakePlan, every_step: Callable[..., Execution], run_dir: Path
) -> None:
    plan = make_plan()
    interrupted(corpus, plan, run_dir, replace(every_step(plan), micro_rows=2))
    train(plan, corpus, run_dir, execution=replace(every_step(plan), micro_rows=5), mode="resume")
    kept = stored(run_dir)
    assert kept is not None and kept.micro_rows == 2


def test_another_machine_is_refused_or_remembered(
    corpus: Any,
    make_plan: MakePlan,
    every_step: Callable[..., Execution],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan()
    interrupted(corpus, plan, run_dir, every_step(plan))
    other = replace(Machine.here(), torch="2.9.0", processor="another")
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, _="cpu": other))
    with pytest.raises(GnomonError, match=r"its torch was 2\..* and here it is 2\.9\.0; its processor .*--inexact"):
        train(plan, corpus, run_dir, mode="resume")
    assert train(plan, corpus, run_dir, mode="resume", inexact=True).inexact


def test_fewer_cores_than_threads(
    corpus: Any,
    make_plan: MakePlan,
    every_step: Callable[..., Execution],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan()
    with pytest.raises(GnomonError, match="1000 threads are asked for"):
        train(plan, corpus, run_dir, execution=replace(every_step(plan), threads=1000))
    monkeypatch.setattr(executions, "cores", lambda: 4)
    interrupted(corpus, plan, run_dir, replace(every_step(plan), threads=2))
    monkeypatch.setattr(executions, "cores", lambda: 1)
    with pytest.raises(GnomonError, match="ran on 2 threads and this process may use 1 cores"):
        train(plan, corpus, run_dir, mode="resume")


def test_a_dtype_that_is_not_the_plans_is_refused(
    corpus: Any, make_plan: MakePlan, every_step: Callable[..., Execution], run_dir: Path
) -> None:
    plan = make_plan()
    with pytest.raises(GnomonError, match="its plan computes in float32, its execution in bfloat16"):
        train(plan, corpus, run_dir, execution=replace(every_step(plan), dtype="bfloat16"))
    with pytest.raises(GnomonError, match="dtype is 'float8'"):
        replace(every_step(plan), dtype="float8")


def test_torch_is_left_as_it_was(make_plan: MakePlan) -> None:
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    with honoured(replace(decide(make_plan()), threads=3)):
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (3, True)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
