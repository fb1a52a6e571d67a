"""Processes that agree, or end with one line each."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnomon.common.files import read_json
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints


def test_the_value_or_the_error_of_the_first_process_is_everybodys(ranks: Any) -> None:
    good = ranks("share", 2, value="rows", error="")
    assert good.values == 2 * [{"value": "rows from 0", "any": True, "none": False}]
    bad = ranks("share", 2, value="rows", error="no such recipe")
    assert [bad.answers[rank]["kind"] for rank in (0, 1)] == ["GnomonError", "Told"]
    assert bad.codes == [2, 2]


def test_only_one_line_for_what_all_processes_have_wrong(
    ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "one"
    cases = [
        (
            ranks("run", 2, "data=3", plan=shared_plan(), folder=str(folder)),
            "places for 3 processes and 2 were started",
        ),
        (ranks("run", 2, "tensor=2", plan=shared_plan(query_heads=3, exact_mlp=96), folder=str(folder)), "3 heads"),
        (ranks("run", 2, plan=shared_plan(batch_rows=1), folder=str(folder)), "2 shares of a step of 1 row;"),
        (ranks("different", 2, plan=shared_plan(), folder=str(folder)), "has another plan than process 0: seed is 2"),
    ]
    for outcome, words in cases:
        assert words in outcome.error(0)
        assert [outcome.answers[rank]["kind"] for rank in (0, 1)] == ["GnomonError", "Told"]
        assert outcome.codes == [2, 2]
        assert not folder.exists(), "what is refused leaves nothing"


def test_a_lost_process_ends_the_others_with_the_last_checkpoint_whole(
    ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, folder = shared_plan(steps=6), tmp_path / "runs" / "one"
    killed = ranks("run", 2, plan=plan, folder=str(folder), die="1 step 4", keep_steps=[3], every_s=1e9)
    assert killed.codes == [1, -signal.SIGKILL]
    assert "process 0 of 2: another process of this run is gone; the checkpoint of step 3 is whole" in killed.error(0)
    assert checkpoints.load(folder, 3).moments
    again = ranks("run", 2, plan=plan, folder=str(folder))
    alone = ranks("run", 2, plan=plan, folder=str(tmp_path / "runs" / "two"), every_s=1e9)
    finals = [checkpoints.load(tmp_path / "runs" / name, 6).weights for name in ("one", "two")]
    assert again.values[0]["result"]["notes"] == []
    assert all(bool((w == finals[1][name]).all()) for name, w in finals[0].items()), "the same bits as one left alone"
    assert again.values[0]["result"]["train_loss_nats"] == alone.values[0]["result"]["train_loss_nats"]


@pytest.mark.slow
def test_a_nan_of_one_process_is_a_fault_of_all_and_the_run_goes_on(
    ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    outcome = ranks("poisoned", 2, plan=shared_plan(steps=12), folder=str(tmp_path / "one"), passes=[5, 6])
    results = [value["result"] for value in outcome.values]
    assert results[0]["status"] == results[1]["status"] == "done"
    assert results[0]["train_loss_nats"] == results[1]["train_loss_nats"]
    (event,) = read_json(tmp_path / "one" / "guards.json", 1)["events"]
    assert event["step"] == 4 and event["what"].startswith("the loss, forward")


@pytest.mark.slow
def test_processes_go_back_together(ranks: Any, shared_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Four bad steps in a row: back to the beginning, and on with the data behind them."""
    passes = [5, 7, 9, 11]  # each is tried a second time, to find the module
    outcome = ranks("poisoned", 2, plan=shared_plan(steps=12), folder=str(tmp_path / "one"), passes=passes)
    results = [value["result"] for value in outcome.values]
    assert [result["status"] for result in results] == ["done", "done"]
    assert results[0]["train_loss_nats"] == results[1]["train_loss_nats"]
    assert "roll back" in results[0]["guards"]
