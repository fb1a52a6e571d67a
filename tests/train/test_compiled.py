"""torch.compile: when it is used, and that it changes nothing but the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.recipe.flops import train_flops
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train import compiled
from gnomon.train.compiled import COMPILED, Trial, choose, obstacle
from gnomon.train.execution import Execution, decide, stored
from gnomon.train.learner import FlatLearner
from gnomon.train.term import NextToken
from gnomon.train.trainer import train
from gnomon.workflow.coordinates import SHAPE, coordinates, over_width, steps_of, width_slopes

NEEDS_COMPILER = pytest.mark.skipif(bool(obstacle("cpu")), reason="torch.compile needs a C++ compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gnomon"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """What trials will find; an unexpected one fails."""
    found: list[Trial] = []
    monkeypatch.setattr(compiled, "trial", lambda plan, execution: found.pop())
    monkeypatch.setattr(compiled, "obstacle", lambda device: "")
    return found


def peak_for(plan: Plan, seconds: float) -> float:
    """A machine on which this plan takes so long, by the estimate."""
    return train_flops(plan) / seconds / compiled.LIKELY_SHARE


def test_a_short_run_is_never_compiled_unasked(
    make_plan: Callable[..., Plan], cache: Path, trials: list[Trial]
) -> None:
    plan = make_plan()
    execution = decide(plan)
    assert choose(plan, execution, None, peak_for(plan, 599)) == execution


@pytest.mark.parametrize(("trial", "pays"), [(Trial(0.1, 0.07, 60.0), True), (Trial(0.1, 0.0999, 60.0), False)])
def test_a_long_run_compiles_where_that_pays_and_the_trial_is_made_once(
    make_plan: Callable[..., Plan], cache: Path, trials: list[Trial], trial: Trial, pays: bool
) -> None:
    plan = make_plan(steps=20_000)
    execution = decide(plan)
    trials.append(trial)
    chosen = choose(plan, execution, None, peak_for(plan, 2000))
    assert chosen.kernels == (COMPILED if pays else execution.kernels)
    assert "over 20,000 steps that saves" in chosen.reason
    assert choose(plan, execution, None, peak_for(plan, 2000)) == chosen and not trials
    assert choose(plan, execution, False, peak_for(plan, 2000)) == execution


def test_compiling_is_had_for_the_asking_or_refused_in_a_line(
    make_plan: Callable[..., Plan], trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    assert choose(plan, decide(plan), True, 1.0).kernels == COMPILED
    monkeypatch.setattr(compiled, "obstacle", lambda device: "torch.compile needs a C++ compiler; g++, for example")
    with pytest.raises(GnomonError, match=r"--compile: torch\.compile needs a C"):
        choose(plan, decide(plan), True, 1.0)


def test_a_compiled_run_is_not_resumed_where_there_is_no_compiler(
    corpus: Any, make_plan: Callable[..., Plan], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    execution = replace(decide(plan), kernels=COMPILED)
    run_dir.mkdir(parents=True)
    (run_dir / "plan.json").write_text("{}")
    from gnomon.train import execution as executions

    executions.store(run_dir, execution)
    monkeypatch.setattr(compiled, "obstacle", lambda device: "no compiler")
    with pytest.raises(GnomonError, match="its gradient came from torch-compile and here is"):
        executions.settle(run_dir, plan, None, [NextToken()], inexact=False)


def learner(plan: Plan, execution: Execution, terms: Any) -> FlatLearner:
    return FlatLearner(plan, replace(execution, kernels=COMPILED), terms)


@NEEDS_COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_and_eager_agree_and_a_trial_is_measured(
    make_plan: Callable[..., Plan], cache: Path, dtype: str
) -> None:
    plan = make_plan(depth=3, width=32, head_dim=8, dtype=dtype)
    rows = np.random.default_rng(1).integers(0, 64, (6, plan.shape.context + 1))
    execution = Execution(1, 6, dtype, 1)
    usual, faster = FlatLearner(plan, execution, [NextToken(1e-4)]), learner(plan, execution, [NextToken(1e-4)])
    tolerance = 2e-5 if dtype == "float32" else 3e-2
    for _ in range(5):
        shown = [one.gradient(rows) for one in (usual, faster)]
        torch.testing.assert_close(shown[1], shown[0], rtol=tolerance, atol=tolerance)
        size = float(usual.flat.gradient.abs().max())
        torch.testing.assert_close(faster.flat.gradient, usual.flat.gradient, rtol=tolerance, atol=tolerance * size)
        for one in (usual, faster):
            one.update(0.1, one.norm())
    assert any((cache / "inductor").rglob("*.cpp")) or any((cache / "inductor").rglob("*.so"))
    tried = compiled.trial(plan, execution)
    assert tried.step_s > 0 and tried.compiled_step_s > 0


@NEEDS_COMPILER
@pytest.mark.slow
def test_a_compiled_run_cut_off_and_resumed_ends_bit_for_bit_alike(
    corpus: Any, make_plan: Callable[..., Plan], every_step: Callable[..., Execution], tmp_path: Path, cache: Path
) -> None:
    plan = make_plan()
    execution = every_step(plan, kernels=COMPILED)
    train(plan, corpus, tmp_path / "whole", execution=execution)

    def stop(what: str, step: int) -> None:
        if (what, step) == ("checkpoint end", 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan, corpus, tmp_path / "cut", execution=execution, on_event=stop)
    torch._dynamo.reset()
    train(plan, corpus, tmp_path / "cut", mode="resume")
    assert stored(tmp_path / "cut").kernels == COMPILED  # type: ignore[union-attr]
    ends = [checkpoints.load(tmp_path / run, plan.steps).weights for run in ("whole", "cut")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@NEEDS_COMPILER
@pytest.mark.slow
def test_the_coordinate_check_passes_under_compile(cache: Path) -> None:
    """T7: the same distances as eager steps, so the same slopes; and the slopes themselves over two widths."""
    small = replace(SHAPE, width=32)
    eager, faster = (coordinates(small, 0, steps=s) for s in (steps_of(FlatLearner), steps_of(learner)))
    for mine, other in zip(faster, eager, strict=True):
        assert mine.change == pytest.approx(other.change, rel=1e-2), mine.module
    slopes = width_slopes(over_width((32, 128), seeds=(0, 1), steps=steps_of(learner)))
    assert abs(slopes.pop("head")) <= 0.15
    slopes.pop("embedding")
    assert max(abs(slope) for slope in slopes.values()) <= 0.2  # four runs; eager is held to 0.1 on thirty-two
