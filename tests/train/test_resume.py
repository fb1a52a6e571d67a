"""Rule 3: kill a run anywhere, as often as you like; its end is bit-identical to that of a run left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.metrics import METRICS_FILE, read_metrics
from gnomon.train.result import RESULT_FILE
from gnomon.train.trainer import train

WRITING = {
    f"checkpoint {phase}" for phase in ("begin", "weights.safetensors", "moments.safetensors", "state.json", "rename")
}


@dataclass
class Death:
    """Where a run was when it was killed: the last thing it said, and the updates it had made."""

    said: str
    step: int


class Killable:
    """The process of killable.py, and one run in it at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killable.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> tuple[str, int]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process ended"
        what, _, number = line.strip().rpartition(" ")
        if what.startswith("error"):
            raise AssertionError(line)
        return what, int(number)

    def begin(self, job: dict[str, Any]) -> int:
        self.say(json.dumps(job))
        what, child = self.hear()
        assert what == "child"
        return child

    def to_the_end(self, job: dict[str, Any]) -> int:
        """Let a run go on undisturbed; its exit code."""
        self.begin(job)
        self.say("free")
        return self.wait()

    def wait(self) -> int:
        while True:
            what, number = self.hear()
            if what == "ended":
                return number

    def kill_after(self, job: dict[str, Any], events: int, instantly: bool) -> Death:
        """Start a run and kill it when it has said so many things; not instantly: a moment after it may go on."""
        child = self.begin(job)
        for _ in range(events):
            said, step = self.hear()
            assert said != "ended", "the run was over before it could be killed"
            if _ < events - 1:
                self.say("go")
        if not instantly:
            self.say("free")
        os.kill(child, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL
        return Death(said, step)


@pytest.fixture(scope="module")
def killable() -> Iterator[Killable]:
    killable = Killable()
    yield killable
    assert killable.process.stdin is not None
    killable.process.stdin.close()
    assert killable.process.wait() == 0


def campaign(killable: Killable, tmp_path: Path, dtype: str, kills: int, often: bool) -> list[Death]:
    """Kill a run at random points, finish it, compare it with one left alone. often: a checkpoint after every step."""
    steps = 3 * kills
    job = {
        "dtype": dtype,
        "steps": steps,
        "mode": "auto",
        "every_s": 0.0 if often else 3600.0,
        "keep_steps": [] if often else list(range(3, steps, 3)),
    }
    chance = random.Random(f"{dtype}{kills}{often}")
    deaths = []
    for i in range(kills):
        events = chance.randint(2, 16)
        deaths.append(killable.kill_after({**job, "folder": str(tmp_path / "killed")}, events, instantly=i % 3 < 2))
    for name in ("killed", "alone"):
        assert killable.to_the_end({**job, "folder": str(tmp_path / name)}) == 0
    killed, alone = (checkpoints.load(tmp_path / name, steps) for name in ("killed", "alone"))
    assert all(torch.equal(killed.weights[name], alone.weights[name]) for name in alone.weights)
    curves = [read_metrics(tmp_path / name / METRICS_FILE) for name in ("killed", "alone")]
    assert [row["step"] for row in curves[0]] == [row["step"] for row in curves[1]] != []
    for column in ("loss_nats", "bits_per_byte", "grad_norm", "rate", "flops"):
        assert [row[column] for row in curves[0]] == [row[column] for row in curves[1]]
    return deaths


@pytest.mark.parametrize(("dtype", "often"), [("float32", True), ("bfloat16", False)])
def test_six_kills_leave_no_trace(killable: Killable, tmp_path: Path, dtype: str, often: bool) -> None:
    deaths = campaign(killable, tmp_path, dtype, 6, often)
    assert sum(death.step >= 1 for death in deaths) >= 4
    assert sum(death.said in WRITING for death in deaths) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("often", [True, False], ids=["often", "seldom"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_twenty_kills_leave_no_trace(killable: Killable, tmp_path: Path, dtype: str, often: bool) -> None:
    deaths = campaign(killable, tmp_path, dtype, 20, often)
    assert sum(death.step >= 1 for death in deaths) >= 15
    assert sum(death.said in WRITING for death in deaths) >= 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_checkpoint_and_the_run_goes_on(
    killable: Killable, tmp_path: Path, number: signal.Signals
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
    killable: Killable, tmp_path: Path, corpus: Any, make_plan: Callable[..., Plan]
) -> None:
    job = {"dtype": "float32", "steps": 4, "mode": "auto", "every_s": 3600.0, "keep_steps": []}
    child = killable.begin({**job, "folder": str(tmp_path / "one")})
    assert killable.hear() == ("restored", 0)
    with pytest.raises(GnomonError, match=rf"another process \(pid {child}\) is at work on it"):
        train(make_plan(), corpus, tmp_path / "one", mode="auto")
    killable.say("free")
    assert killable.wait() == 0
    assert read_json(tmp_path / "one" / RESULT_FILE, 1)["status"] == "done"
