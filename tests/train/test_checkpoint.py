"""Checkpoints: whole or absent. Cut short, flipped, half-written, of another plan, on a full disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.checkpoint import Checkpoint
from gnomon.train.execution import Execution
from gnomon.train.trainer import train

MakePlan = Callable[..., Plan]
MakeExecution = Callable[..., Execution]


class Pulled(Exception):
    """The plug was pulled."""


def stop_at(what: str, step: int) -> Callable[[str, int], None]:
    def listen(heard: str, at: int) -> None:
        if (heard, at) == (what, step):
            raise Pulled

    return listen


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def alone(corpus: Any, make_plan: MakePlan, tmp_path: Path) -> dict[str, torch.Tensor]:
    """Final weights of the plan's run, left alone."""
    train(make_plan(), corpus, tmp_path / "alone")
    return checkpoints.load(tmp_path / "alone", 12).weights


def assert_same(run_dir: Path, weights: dict[str, torch.Tensor]) -> None:
    mine = checkpoints.load(run_dir, 12).weights
    assert mine.keys() == weights.keys()
    assert all(torch.equal(mine[name], weights[name]) for name in weights)


@pytest.mark.parametrize("file", ["weights.safetensors", "moments.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink], ids=["cut", "flipped", "gone"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_is_used(
    corpus: Any,
    make_plan: MakePlan,
    every_step: MakeExecution,
    run_dir: Path,
    alone: dict[str, torch.Tensor],
    file: str,
    damage: Callable[[Path], None],
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop_at("step", 8))
    damage(checkpoints.step_folder(run_dir, 7) / file)
    came_back: list[int] = []
    result = train(
        plan,
        corpus,
        run_dir,
        mode="resume",
        on_event=lambda what, step: came_back.append(step) if what == "restored" else None,
    )
    assert came_back == [6]
    assert any(f"00000007/{file}" in note for note in result.notes)
    assert_same(run_dir, alone)


def test_when_every_checkpoint_is_damaged_the_run_is_refused_with_the_reason(
    corpus: Any, make_plan: MakePlan, every_step: MakeExecution, run_dir: Path
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop_at("step", 8))
    for step in checkpoints.steps(run_dir):
        cut(checkpoints.step_folder(run_dir, step) / "weights.safetensors")
    with pytest.raises(GnomonError, match=r"no checkpoint is whole \(.*00000007/weights.*cut off or damaged"):
        train(plan, corpus, run_dir, mode="resume")


@pytest.mark.parametrize("phase", ["begin", "moments.safetensors", "state.json", "rename", "prune", "end"])
def test_a_write_that_was_cut_short_costs_nothing(
    corpus: Any,
    make_plan: MakePlan,
    every_step: MakeExecution,
    run_dir: Path,
    alone: dict[str, torch.Tensor],
    phase: str,
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop_at(f"checkpoint {phase}", 5))
    train(plan, corpus, run_dir, mode="resume")
    assert_same(run_dir, alone)
    assert not list(run_dir.rglob("*.tmp"))


def test_the_newest_two_stay_and_those_that_were_asked_for(
    corpus: Any, make_plan: MakePlan, every_step: MakeExecution, run_dir: Path
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan, keep_steps=(3,)), on_event=stop_at("step", 9))
    assert checkpoints.steps(run_dir) == [3, 7, 8]
    train(plan, corpus, run_dir, mode="resume")
    assert checkpoints.steps(run_dir) == [3, 12]
    assert checkpoints.load(run_dir, 3).moments and not checkpoints.load(run_dir, 12).moments


def test_a_full_disk_is_a_failed_job_that_keeps_the_last_good_checkpoint(
    corpus: Any,
    make_plan: MakePlan,
    every_step: MakeExecution,
    run_dir: Path,
    alone: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, write = make_plan(), checkpoints.write_file

    def full_at_step_5(path: Path, data: bytes) -> None:
        if path.parent.name == "00000005.tmp" and path.name == "moments.safetensors":
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(checkpoints, "write_file", full_at_step_5)
    with pytest.raises(JobFailed, match=r"00000005: the disk is full; the checkpoint of step 4 is whole") as failure:
        train(plan, corpus, run_dir, execution=every_step(plan))
    assert failure.value.exit_code == 1
    assert checkpoints.steps(run_dir) == [3, 4] and not list(run_dir.rglob("*.tmp"))
    monkeypatch.undo()
    train(plan, corpus, run_dir, mode="resume")
    assert_same(run_dir, alone)


def test_a_checkpoint_of_another_plan_is_refused_by_the_field_that_differs(
    corpus: Any, make_plan: MakePlan, every_step: MakeExecution, tmp_path: Path
) -> None:
    one, other = make_plan(), make_plan(rate=0.02)
    for plan, name in ((one, "one"), (other, "other")):
        with pytest.raises(Pulled):
            train(plan, corpus, tmp_path / name, execution=every_step(plan), on_event=stop_at("step", 4))
    with pytest.raises(GnomonError, match=r"another run: optimisation\.rate is 0\.01 there and 0\.02 here"):
        train(other, corpus, tmp_path / "one", mode="resume")
    shutil.rmtree(tmp_path / "one" / "checkpoint")
    shutil.copytree(tmp_path / "other" / "checkpoint", tmp_path / "one" / "checkpoint")
    with pytest.raises(GnomonError, match=r"another plan: optimisation\.rate is 0\.02 there and 0\.01 here"):
        train(one, corpus, tmp_path / "one", mode="resume")


def test_a_run_that_stopped_halfway_has_no_final_model(
    corpus: Any, make_plan: MakePlan, every_step: MakeExecution, run_dir: Path
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop_at("step", 4))
    with pytest.raises(GnomonError, match="stopped at step 3 of 12"):
        checkpoints.load_final(run_dir)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    weights = {"w": torch.arange(6.0).view(2, 3).t()}
    checkpoints.save(tmp_path, Checkpoint(3, weights, {}, {"tokens": 5}))
    found = checkpoints.load(tmp_path, 3)
    assert torch.equal(found.weights["w"], weights["w"]) and found.state["tokens"] == 5
    state = checkpoints.step_folder(tmp_path, 3) / "state.json"
    state.write_text(state.read_text().replace('"tokens": 5', '"tokens": 6'))
    with pytest.raises(checkpoints.Damaged, match=r"state\.json: its content does not match its hash"):
        checkpoints.load(tmp_path, 3)


def test_a_checkpoint_from_before_a_field_of_the_plan_existed_is_still_of_that_plan(tmp_path):
    """Version n reads n - 1: the missing field has its default."""
    from gnomon.common.hashing import plain
    from gnomon.recipe.plan import ModelShape, Optimisation, Plan
    from gnomon.train.checkpoint import require_same_plan

    rates = Optimisation(0.01, 16, 1, 1.0, 0.3, 0.9, 0.95)
    plan = Plan(ModelShape(64, 8, 16, 1), rates, steps=3, batch_rows=2, seed=0, order_seed=0, corpus="c")
    older = plain(plan.to_dict())
    del older["optimisation"]["width_exponent"], older["study"]
    require_same_plan(plan, {"plan": older}, tmp_path)
    older["steps"] = 4
    with pytest.raises(GnomonError, match="steps is 4 there and 3 here"):
        require_same_plan(plan, {"plan": older}, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w, m, s: w.update({"blocks.7.mlp.up.weight": w["norm.weight"]}), "holds blocks.7.mlp.up.weight, which"),
        (lambda w, m, s: w.pop("head.weight"), "lacks head.weight, which this model has"),
        (lambda w, m, s: w.update({"norm.weight": torch.ones(8)}), r"norm.weight is \[8\] there and \[16\] here"),
        (lambda w, m, s: m.pop("second.head.weight"), "moments.safetensors: lacks second.head.weight"),
        (lambda w, m, s: m.clear(), "holds no optimiser state; nothing can follow it"),
    ],
    ids=["unknown tensor", "missing tensor", "another shape", "missing moment", "no moments"],
)
def test_a_checkpoint_of_another_model_is_refused_by_its_first_odd_tensor(
    corpus: Any, make_plan: MakePlan, every_step: MakeExecution, run_dir: Path, spoil: Callable[..., Any], words: str
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop_at("step", 4))
    found = checkpoints.load(run_dir, 3)
    spoil(found.weights, found.moments, found.state)
    checkpoints.save(run_dir, found)
    with pytest.raises(GnomonError, match=words) as refusal:
        train(plan, corpus, run_dir, mode="resume")
    assert "\n" not in str(refusal.value) and refusal.value.exit_code == 2


def test_a_checkpoint_from_a_newer_gnomon_is_refused_and_nothing_is_lost(
    corpus: Any, make_plan: MakePlan, every_step: MakeExecution, run_dir: Path
) -> None:
    plan = make_plan()
    with pytest.raises(Pulled):
        train(plan, corpus, run_dir, execution=every_step(plan), on_event=stop_at("step", 4))
    for step in checkpoints.steps(run_dir):
        state = checkpoints.step_folder(run_dir, step) / "state.json"
        newer = f'"schema_version": {checkpoints.STATE_SCHEMA + 1}'
        state.write_text(state.read_text().replace(f'"schema_version": {checkpoints.STATE_SCHEMA}', newer))
    with pytest.raises(GnomonError, match=r"schema_version is 3; this gnomon reads 1–2"):
        train(plan, corpus, run_dir, mode="resume")
    assert checkpoints.steps(run_dir) == [2, 3]
