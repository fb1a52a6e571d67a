"""Rule 3: kill a run anywhere, as often as you like; its end is bit-identical to that of a run left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.result import RESULT_FILE
from gnomon.train.trainer import train
from gnomon.workflow.drill import Drill, Host, drill_lines


@pytest.fixture(scope="module")
def killable() -> Iterator[Host]:
    with Host() as host:
        yield host
    assert host.process.returncode == 0


@pytest.mark.parametrize(("dtype", "often"), [("float32", True), ("bfloat16", False)])
def test_six_kills_leave_no_trace(killable: Host, tmp_path: Path, dtype: str, often: bool) -> None:
    assert Drill(killable, tmp_path, dtype, steps=18).kills(6, often).startswith("6 kills")


def test_the_drill_in_short(tmp_path: Path) -> None:
    """What make drill does to a run, a part of it: see workflow/drill.py for what each requires."""
    with Host() as host:
        short = Drill(host, tmp_path, "bfloat16", steps=24)
        assert "is used" not in short.all_damaged() and short.full_disk() and short.power() and short.clock()


@pytest.mark.slow
def test_the_whole_drill() -> None:
    """Fifty kills and all the rest, in fp32 and bf16."""
    *outcomes, (total, good) = drill_lines()
    assert good and total == f"{len(outcomes)} passed, 0 failed" and len(outcomes) == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_checkpoint_and_the_run_goes_on(
    killable: Host, tmp_path: Path, number: signal.Signals
) -> None:
    job = {"dtype": "float32", "steps": 12, "mode": "auto", "every_s": 3600.0, "keep_steps": []}
    folder = tmp_path / "stopped"
    child = killable.begin({**job, "folder": str(folder)})
    while killable.hear() != ("step", 5):
        killable.say("go")
    os.kill(child, number)
    killable.say("free")
    assert killable.wait() == 130
    (step,) = checkpoints.steps(folder)
    assert 5 <= step <= 6  # the signal may be handled after the next step
    for name in ("stopped", "alone"):
        assert killable.to_the_end({**job, "folder": str(tmp_path / name)}) == 0
    weights = [checkpoints.load(tmp_path / name, 12).weights for name in ("stopped", "alone")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_a_second_process_on_the_same_run_is_refused(
    killable: Host, tmp_path: Path, corpus: Any, make_plan: Callable[..., Plan]
) -> None:
    job = {"dtype": "float32", "steps": 4, "mode": "auto", "every_s": 3600.0, "keep_steps": []}
    child = killable.begin({**job, "folder": str(tmp_path / "one")})
    assert killable.hear() == ("restored", 0)
    with pytest.raises(GnomonError, match=rf"another process \(pid {child}\) is at work on it"):
        train(make_plan(), corpus, tmp_path / "one", mode="auto")
    killable.say("free")
    assert killable.wait() == 0
    assert read_json(tmp_path / "one" / RESULT_FILE, 1)["status"] == "done"
