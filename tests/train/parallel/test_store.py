"""Checkpoints of many processes: taken up by any mesh, whole or absent, and at the end ordinary files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from gnomon.common.files import read_json
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.execution import EXECUTION_SCHEMA
from gnomon.train.metrics import read_metrics


def finals(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoints.step_folder(folder, step) / "weights.safetensors")


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((tensor - other[name]).abs().max()) for name, tensor in one.items())


def journey(ranks: Any, plan: Plan, folder: Path, stations: list[tuple[int, str, int]]) -> dict[str, Any]:
    """One run in sittings of (processes, mesh, checkpoint after which it is stopped or 0); the last one's answer."""
    stops = [stop for _, _, stop in stations if stop]
    for size, mesh, stop in stations:
        outcome = ranks(
            "run", size, mesh, plan=plan, folder=str(folder), stop_after=stop, evaluate=4, keep_steps=stops, every_s=1e9
        )
        assert outcome.codes[0] == (130 if stop else 0), outcome
    return outcome.answers[0].get("value", {})


def test_a_run_goes_on_in_two_processes_and_back_in_one(
    ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = shared_plan(dtype="float64", steps=9)
    alone = journey(ranks, plan, tmp_path / "alone", [(1, "", 0)])
    moved = journey(ranks, plan, tmp_path / "moved", [(1, "", 3), (2, "", 6), (1, "", 0)])
    assert farthest(finals(tmp_path / "alone", 9), finals(tmp_path / "moved", 9)) < 1e-10
    one, other = alone["result"], moved["result"]
    assert one["run_id"] == other["run_id"] == plan.run_id and one["evaluations"].keys() == other["evaluations"].keys()
    assert abs(one["train_loss_nats"] - other["train_loss_nats"]) < 1e-10
    assert other["notes"] == [
        "from step 3 on: data=2 in place of one process; the same rows, equal within rounding",
        "from step 6 on: one process in place of data=2; the same rows, equal within rounding",
    ]
    curves = [read_metrics(tmp_path / name / "metrics.parquet") for name in ("alone", "moved")]
    assert [row["step"] for row in curves[0]] == [row["step"] for row in curves[1]] == [2, 4, 6, 8, 9]
    assert max(abs(a["loss_nats"] - b["loss_nats"]) for a, b in zip(*curves, strict=True)) < 1e-10


def test_shards_are_checked_and_the_folder_of_a_run_says_how_it_was_carried_out(
    ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, folder = shared_plan(steps=6), tmp_path / "one"
    journey(ranks, plan, folder, [(2, "tensor=2", 2), (2, "tensor=2", 4)])
    assert read_json(folder / "execution.json", EXECUTION_SCHEMA)["mesh"] == "tensor=2"
    shard = checkpoints.step_folder(folder, 4) / "shards" / "__1_0.distcp"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    with pytest.raises(checkpoints.Damaged, match=r"__1_0\.distcp: its \d+ bytes do not match their hash"):
        checkpoints.load(folder, 4)
    result = journey(ranks, plan, folder, [(2, "tensor=2", 0)])["result"]
    assert len(result["notes"]) == 1 and "passed over a damaged checkpoint" in result["notes"][0]
    assert sorted(p.name for p in checkpoints.step_folder(folder, 6).iterdir()) == ["state.json", "weights.safetensors"]
    journey(ranks, plan, tmp_path / "two", [(2, "tensor=2", 0)])
    assert farthest(finals(folder, 6), finals(tmp_path / "two", 6)) == 0, "the same bits as one left alone"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_two_four_one(ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path, dtype: str) -> None:
    plan = shared_plan(dtype=dtype, steps=16)
    journey(ranks, plan, tmp_path / "alone", [(1, "", 0)])
    stations = [(1, "", 4), (2, "data=2", 8), (4, "data=2,tensor=2", 12), (1, "", 0)]
    result = journey(ranks, plan, tmp_path / "moved", stations)["result"]
    limit = 1e-10 if dtype == "float64" else 2e-5
    assert farthest(finals(tmp_path / "alone", 16), finals(tmp_path / "moved", 16)) < limit
    assert len(result["notes"]) == 3
    stations = [(4, "data=4", 5), (2, "tensor=2", 10), (4, "replicate=2,data=2", 0)]
    journey(ranks, plan, tmp_path / "again", stations)
    assert farthest(finals(tmp_path / "alone", 16), finals(tmp_path / "again", 16)) < limit


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_cannot_write_ends_the_run_in_one_line_with_the_last_checkpoint_whole(
    ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path, rank: int
) -> None:
    plan, folder = shared_plan(steps=6), tmp_path / "one"
    outcome = ranks("run", 2, plan=plan, folder=str(folder), full=f"{rank} step 4")
    assert outcome.codes == [1, 1]
    assert [outcome.answers[r]["kind"] for r in (0, 1)] == ["JobFailed", "Told"]
    assert "the checkpoint of step 3 is whole; free some space and resume" in outcome.error(0)
    assert "\n" not in outcome.error(0)
    assert checkpoints.steps(folder)[-1] == 3 and checkpoints.load(folder, 3).moments
    journey(ranks, plan, folder, [(2, "data=2", 0)])
    assert not list((folder / "checkpoint").glob("*.tmp"))
