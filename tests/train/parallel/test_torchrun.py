"""`torchrun -m gnomon train`, as a person types it: processes of their own, ports that torchrun finds free itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gnomon.common.files import read_json
from gnomon.train import checkpoint as checkpoints
from gnomon.train.result import RESULT_SCHEMA

PATIENCE_S = 300


def torchrun(processes: int, *arguments: str, restarts: int = 0) -> subprocess.Popen[str]:
    """torchrun with gnomon in so many processes; its output and errors in one stream."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, f"--max-restarts={restarts}", "-m", "gnomon", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Exit code and the lines that gnomon wrote, torchrun's own left out."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, [line for line in output.splitlines() if line.startswith(("gnomon:", "run "))]


def processes_of(launcher: int) -> dict[int, int]:
    """Of a torchrun: process ids by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher:
                environment = (folder / "environ").read_bytes().split(b"\0")
                found[int(next(v[5:] for v in environment if v.startswith(b"RANK=")))] = int(folder.name)
        except (OSError, ValueError, StopIteration):
            continue
    return found


@pytest.fixture(scope="module")
def place(small_home: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(text, home) with the corpus of that text built already."""
    home, _ = small_home
    folder = tmp_path_factory.mktemp("torchrun")
    shutil.copytree(home.parent / "text", folder / "text")
    return folder


def new_run(place: Path, home: str) -> list[str]:
    sizes = ["--compute", "1e10", "--width", "32"]
    return ["train", str(place / "text"), "corpus.vocabulary=300", *sizes, "--home", str(place / home)]


@pytest.mark.slow
def test_a_killed_process_and_a_restart_by_torchrun_change_no_bit(place: Path) -> None:
    code, lines = ended(torchrun(2, *new_run(place, "alone")))
    assert code == 0 and lines[-1].startswith("run ") and "bits per byte: documents" in lines[-1]
    assert sum("bits per byte: documents" in line for line in lines) == 1, "only the first process speaks"
    (alone,) = (place / "alone" / "runs").iterdir()
    assert read_json(alone / "execution.json", 1)["mesh"] == "data=2"

    process = torchrun(2, *new_run(place, "killed"), restarts=2)
    killed = place / "killed" / "runs" / alone.name
    deadline = time.monotonic() + PATIENCE_S
    while not checkpoints.steps(killed) and process.poll() is None:  # the branch's checkpoint, one fifth into the run
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(processes_of(process.pid)[1], signal.SIGKILL)
    code, lines = ended(process)
    assert code == 0, lines
    assert any("process 0 of 2: another process of this run is gone; the checkpoint of step" in line for line in lines)
    finals = [checkpoints.load(run, checkpoints.steps(run)[-1]) for run in (alone, killed)]
    assert all(bool((tensor == finals[1].weights[name]).all()) for name, tensor in finals[0].weights.items())
    results = [read_json(run / "result.json", RESULT_SCHEMA) for run in (alone, killed)]
    assert results[0]["evaluations"] == results[1]["evaluations"]


@pytest.mark.slow
def test_what_is_wrong_is_said_once(place: Path) -> None:
    cases = [
        (2, [*new_run(place, "wrong"), "--mesh", "data=3"], "mesh data=3: it has places for 3 processes and 2 were"),
        (2, [*new_run(place, "wrong"), "--mesh", "data=1,tensor=1,data=2"], "each at most once"),
        (2, ["train", "no-such-recipe"], "recipe no-such-recipe: no such file"),
        (2, ["train", "--resume", "0123", "--home", str(place / "wrong")], "0123"),
    ]
    for processes, arguments, words in cases:
        code, lines = ended(torchrun(processes, *arguments))
        assert code != 0 and len(lines) == 1 and words in lines[0], lines
    assert not list((place / "wrong").glob("runs/*"))


@pytest.mark.slow
def test_a_mesh_without_torchrun_is_refused(place: Path) -> None:
    command = [sys.executable, "-m", "gnomon", *new_run(place, "wrong"), "--mesh", "data=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert (
        done.stderr.strip().splitlines()[-1].startswith("gnomon: mesh data=2: it has places for 2 processes and 1 was")
    )
