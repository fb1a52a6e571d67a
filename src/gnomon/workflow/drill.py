"""`gnomon drill`: everything that can befall a run, done to one; after each it must end as one left alone, bit for bit,
or refuse with the reason and keep its last good checkpoint. OPT-175B was interrupted more than fifty times
(arXiv:2205.01068); so is this. In fp32 and bf16, with recorded execution, on real processes, files and signals.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gnomon.common.files import read_json

KILLS = 25  # of each dtype
STEPS, STOPPED_AT = 75, 20
DTYPES = ("float32", "bfloat16")
FAR_S = 10 * 365 * 86400.0
WRITING = {f"checkpoint {phase}" for phase in ("begin", "weights.safetensors", "moments.safetensors", "state.json",
                                               "rename")}  # fmt: skip


class Failed(Exception):
    """A promise was not kept; the message says which."""


def require(kept: bool, promise: str) -> None:
    if not kept:
        raise Failed(promise)


@dataclass
class Death:
    """Where a run was when it was killed: the last thing it said, and the steps it had taken."""

    said: str
    step: int


class Host:
    """The process of drill_child.py, and one run in it at a time. message: what the last run failed with."""

    def __init__(self) -> None:
        self.message = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gnomon.workflow.drill_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def __enter__(self) -> Host:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        assert self.process.stdin is not None
        if kind is not None:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> tuple[str, int]:
        """The next event of the run, and its step. ("ended", exit code) is the last."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline().strip()
            if not line:
                raise Failed("the process that forks the runs has ended")
            if line.startswith("error "):
                self.message = self.message or line.split(" ", 2)[2]
                continue
            what, _, number = line.rpartition(" ")
            return what, int(number)

    def begin(self, job: dict[str, Any]) -> int:
        """Start a run that waits at every event; its process id."""
        self.message = ""
        self.say(json.dumps(job))
        what, child = self.hear()
        assert what == "child"
        return child

    def wait(self) -> int:
        """Until the run has ended; its exit code."""
        while True:
            what, number = self.hear()
            if what == "ended":
                return number

    def to_the_end(self, job: dict[str, Any]) -> int:
        """Let a run go on undisturbed; its exit code."""
        self.begin(job)
        self.say("free")
        return self.wait()

    def until(self, what: str, step: int) -> None:
        """Let the run go on until it says this, and hold it there."""
        while (heard := self.hear()) != (what, step):
            require(heard[0] != "ended", f"the run ended ({self.message}) before {what} {step}")
            self.say("go")

    def kill_at(self, job: dict[str, Any], what: str, step: int) -> None:
        """Start a run and kill it when it says this."""
        child = self.begin(job)
        self.until(what, step)
        os.kill(child, signal.SIGKILL)
        require(self.wait() == -signal.SIGKILL, "a killed run ends by the signal")

    def kill_after(self, job: dict[str, Any], events: int, instantly: bool) -> Death:
        """Start a run and kill it when it has said so many things; not instantly: a moment after it may go on."""
        child = self.begin(job)
        for i in range(events):
            said, step = self.hear()
            require(said != "ended", f"the run was over ({self.message}) before it could be killed")
            if i < events - 1:
                self.say("go")
        if not instantly:
            self.say("free")
        os.kill(child, signal.SIGKILL)
        require(self.wait() == -signal.SIGKILL, "a killed run ends by the signal")
        return Death(said, step)


# What is compared


def stored(run_dir: Path) -> list[int]:
    """Steps of the checkpoints in a run's folder, ascending."""
    folder = run_dir / "checkpoint"
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def checkpoint(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoint" / f"{step:08d}"


def ending(run_dir: Path, steps: int) -> dict[str, Any]:
    """What two runs that are one have in common: final weights (by hash), the learning curve, what was seen."""
    from gnomon.train.metrics import METRICS_FILE, read_metrics

    state = read_json(checkpoint(run_dir, steps) / "state.json", 2)
    columns = ("step", "loss_nats", "bits_per_byte", "grad_norm", "rate", "flops", "skipped_steps", "alarms")
    curve = [[row[name] for name in columns] for row in read_metrics(run_dir / METRICS_FILE)]
    return {"weights": state["files"]["weights.safetensors"], "curve": curve, "guard": state["guard"]["counts"]}


def require_same(run_dir: Path, alone: Path, steps: int) -> None:
    mine, theirs = ending(run_dir, steps), ending(alone, steps)
    for what in theirs:
        require(mine[what] == theirs[what], f"the {what} of the run differ from those of one left alone")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


# What befalls a run


@dataclass
class Drill:
    """One dtype's exercises. place: an empty folder. alone: a run that nothing befell."""

    host: Host
    place: Path
    dtype: str
    steps: int = STEPS

    def __post_init__(self) -> None:
        self.alone = self.place / "alone"
        require(self.host.to_the_end(self.job("alone")) == 0, f"a run left alone ends well ({self.host.message})")

    def job(self, name: str, **changes: Any) -> dict[str, Any]:
        """A run in a folder of that name. every_s 0: a checkpoint after every step."""
        common = {"folder": str(self.place / name), "dtype": self.dtype, "steps": self.steps, "every_s": 0.0}
        return {**common, "keep_steps": [], **changes}

    def finish(self, name: str, **changes: Any) -> None:
        """Take the run up again, to its end, and compare it."""
        code = self.host.to_the_end(self.job(name, **changes))
        require(code == 0, f"taken up again the run ends well ({self.host.message})")
        require_same(self.place / name, self.alone, self.steps)

    def stopped(self, name: str, what: str = "step", step: int = STOPPED_AT + 1) -> Path:
        """A run that was killed at that event, by default with checkpoints of steps 19 and 20."""
        self.host.kill_at(self.job(name), what, step)
        return self.place / name

    def kills(self, count: int, often: bool) -> str:
        """SIGKILL at seeded random moments; often: with a checkpoint after every step, so inside many of them."""
        name, chance = f"killed{often}", random.Random(f"{self.dtype}{count}{often}")
        changes = {"every_s": 0.0} if often else {"every_s": 3600.0, "keep_steps": list(range(3, self.steps, 3))}
        # A step is 8 events with its checkpoint; 3 steps are 10 with one, and some are lost with every kill. So the run
        # gets far, and not to its end.
        most = max(6, round((5 if often else 10 / 3) * self.steps / count))
        deaths = [
            self.host.kill_after(self.job(name, **changes), chance.randint(2, most), instantly=i % 3 < 2)
            for i in range(count)
        ]
        self.finish(name, **changes)
        inside = sum(death.said in WRITING for death in deaths)
        require(inside >= 1, "some kills fall into the writing of a checkpoint")
        return f"{count} kills, {inside} while writing, up to step {max(d.step for d in deaths)}"

    def full_disk(self) -> str:
        """A file system of one megabyte that fills up; where none may be mounted, a limit on the size of files."""
        folder = self.place / "small"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        mounted = os.geteuid() == 0 and not subprocess.run(command, capture_output=True, check=False).returncode
        try:
            run_dir = folder / "run"
            if mounted:
                self.host.begin(self.job("small/run"))
                self.host.until("step", STOPPED_AT)
                fill(folder / "filler")
                self.host.say("free")
                code = self.host.wait()
                require("the disk is full" in self.host.message, f"the reason is named ({self.host.message})")
                (folder / "filler").unlink()
            else:
                self.stopped("small/run", step=STOPPED_AT)
                code = self.host.to_the_end(self.job("small/run", file_bytes=30_000))
                require("is whole" in self.host.message, f"the reason is named ({self.host.message})")
            require(code == 1, f"a job that failed exits with 1, not {code}")
            require(max(stored(run_dir)) == STOPPED_AT - 1, "the last good checkpoint is kept")
            require(not list((run_dir / "checkpoint").glob("*.tmp")), "nothing half-written is left")
            self.finish("small/run")
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
        return "a tmpfs of 1 MB, filled" if mounted else "no mount allowed: files limited to 30 kB"

    def damaged(self, damage: Callable[[Path], None]) -> str:
        """Each file of the newest checkpoint in turn."""
        whole = self.stopped(f"whole {damage.__name__}")
        for file in ("weights.safetensors", "moments.safetensors", "state.json"):
            name = f"{damage.__name__} {file}"
            shutil.copytree(whole, self.place / name)
            damage(checkpoint(self.place / name, STOPPED_AT) / file)
            self.finish(name)
            notes = read_json(self.place / name / "result.json", 1)["notes"]
            require(any(f"{STOPPED_AT:08d}/{file}" in note for note in notes), "the result names the damaged file")
        return "each of 3 files: the checkpoint before is used, the result says so"

    def all_damaged(self) -> str:
        run_dir = self.stopped("all damaged")
        found = stored(run_dir)
        for step in found:
            cut(checkpoint(run_dir, step) / "weights.safetensors")
        code = self.host.to_the_end(self.job("all damaged"))
        require(code == 2 and "no checkpoint is whole" in self.host.message, f"refused ({self.host.message})")
        require(stored(run_dir) == found, "nothing was removed")
        return "refused: no checkpoint is whole"

    def clock(self) -> str:
        """Files from the future, in the wrong order, and a clock ten years back."""
        run_dir = self.stopped("clock")
        for i, path in enumerate(sorted(run_dir.rglob("*"))):
            os.utime(path, (time.time() + FAR_S - 1000 * i,) * 2)
        self.finish("clock", clock_s=-FAR_S)
        return "ten years back, files dated ten years ahead in reverse order"

    def two_processes(self) -> str:
        child = self.host.begin(self.job("shared"))
        self.host.until("step", STOPPED_AT)
        with Host() as other:
            code = other.to_the_end(self.job("shared"))
            require(code == 2 and f"pid {child}" in other.message, f"the second is refused ({other.message})")
        self.host.say("free")
        require(self.host.wait() == 0, "the first goes on")
        require_same(self.place / "shared", self.alone, self.steps)
        return "the second is refused by the first's process id"

    def lost_rank(self) -> str:
        """Two processes share a run (FSDP over gloo); one is killed."""
        steps = STOPPED_AT + 10  # several processes take long over a step
        both = {"processes": 2, "micro_rows": 3, "steps": steps}
        require(self.host.to_the_end(self.job("both", **both)) == 0, f"two processes train ({self.host.message})")
        code = self.host.to_the_end(self.job("lost", **both, die=f"1 step {STOPPED_AT}"))
        require(code == 1 and "is whole" in self.host.message, f"the others stop with the reason ({self.host.message})")
        whole = f"the checkpoint of step {max(stored(self.place / 'lost'))} is whole"
        require(whole in self.host.message, f"{whole} ({self.host.message})")
        require(self.host.to_the_end(self.job("lost", **both)) == 0, f"two go on ({self.host.message})")
        require_same(self.place / "lost", self.place / "both", steps)
        return f"one of two processes killed; {whole}"

    def power(self) -> str:
        """What was not synced is gone: contents of a half-written folder, or the renaming of a whole one."""
        for phase in ("moments.safetensors", "state.json", "rename"):
            run_dir = self.stopped(f"power {phase}", f"checkpoint {phase}", STOPPED_AT)
            for path in (run_dir / "checkpoint" / f"{STOPPED_AT:08d}.tmp").iterdir():
                path.write_bytes(b"")
            (run_dir / ".metrics.parquet.0.tmp").write_bytes(b"half")
            self.finish(f"power {phase}")
        run_dir = self.stopped("power renamed")
        newest = checkpoint(run_dir, STOPPED_AT)
        newest.rename(newest.with_name(newest.name + ".tmp"))
        self.finish("power renamed")
        require(not list((self.place).rglob("*.tmp")), "nothing half-written is left")
        return "emptied temporary files at 3 phases, a renaming that was lost"


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 4096)
        except OSError:
            return


def exercises(kills: int) -> list[tuple[str, Callable[[Drill], str]]]:
    """Name and deed of everything that befalls a run of one dtype."""
    return [
        ("SIGKILL, checkpoints often", lambda d: d.kills(kills - kills // 2, True)),
        ("SIGKILL, checkpoints seldom", lambda d: d.kills(kills // 2, False)),
        ("full disk", Drill.full_disk),
        ("truncated checkpoint", lambda d: d.damaged(cut)),
        ("flipped bit", lambda d: d.damaged(flip)),
        ("every checkpoint damaged", Drill.all_damaged),
        ("clock set back", Drill.clock),
        ("two processes on one run", Drill.two_processes),
        ("lost rank", Drill.lost_rank),
        ("power cut", Drill.power),
    ]


@dataclass(frozen=True)
class Outcome:
    """One exercise: what happened, or which promise was broken."""

    name: str
    dtype: str
    passed: bool
    words: str
    seconds: float


def drill(kills: int = KILLS) -> Iterator[Outcome]:
    """Every exercise in every dtype, one after another."""
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory(prefix="gnomon-drill-") as folder, Host() as host:
            began = time.monotonic()
            here = Drill(host, Path(folder), dtype)
            for name, deed in exercises(kills):
                try:
                    passed, words = True, deed(here)
                except Failed as error:
                    passed, words = False, str(error)
                yield Outcome(name, dtype, passed, words, time.monotonic() - began)
                began = time.monotonic()


def drill_lines(kills: int = KILLS) -> Iterator[tuple[str, bool]]:
    """The drill in words, a line as each exercise ends, then the sum; and whether all is well so far."""
    passed = failed = 0
    for outcome in drill(kills):
        passed, failed = passed + outcome.passed, failed + (not outcome.passed)
        verdict = "passed" if outcome.passed else "FAILED"
        yield (
            f"{outcome.name:28} {outcome.dtype:9} {verdict} {outcome.seconds:6.1f} s  {outcome.words}",
            not failed,
        )
    yield f"{passed} passed, {failed} failed", not failed
