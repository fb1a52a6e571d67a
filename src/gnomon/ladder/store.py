"""The runs that a home keeps: which there are, how far each came, what they take on disk, and what may go.

Reads only files, and never loads torch, so that it is quick and works beside a run that is under way.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnomon.common.errors import GnomonError
from gnomon.common.files import Lock, read_json
from gnomon.ladder.table import read_result
from gnomon.recipe.plan import PLAN_SCHEMA_VERSION, Plan

Status = Literal["done", "diverged", "running", "interrupted", "unreadable"]
CHECKPOINTS, LOCK, METRICS, EXECUTION = "checkpoint", ".lock", "metrics.parquet", "execution.json"
CANDIDATES_SHOWN = 8


@dataclass(frozen=True)
class Run:
    """One run as its folder tells it.

    step: steps that are safe on disk. result: of a finished run. problem: why an unreadable one is so. disk_bytes: all
    its files.
    """

    run_id: str
    folder: Path
    status: Status
    plan: Plan | None
    step: int
    result: dict[str, Any] | None
    disk_bytes: int
    problem: str = ""


@dataclass(frozen=True)
class Pruned:
    """What prune removed, or would remove, of one run."""

    run_id: str
    what: str
    disk_bytes: int


class RunStore:
    """The runs of a home."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "runs"

    def ids(self) -> list[str]:
        """Names of all runs, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith("."))

    def find(self, prefix: str) -> Path:
        """Folder of the one run whose id begins with prefix.

        Raises GnomonError when none or several do, naming those that could be meant.
        """
        known = self.ids()
        found = [run_id for run_id in known if run_id.startswith(prefix)] if prefix else []
        if prefix in found:
            found = [prefix]
        if len(found) == 1:
            return self.folder / found[0]
        if not known:
            raise GnomonError(f"run {prefix!r}: {self.folder} holds no runs yet; train one first")
        shown = ", ".join((found or known)[:CANDIDATES_SHOWN])
        more = len(found or known) - CANDIDATES_SHOWN
        listed = f"{shown} and {more} more" if more > 0 else shown
        if found:
            raise GnomonError(f"run {prefix!r}: {len(found)} runs begin so; give more of the id: {listed}")
        raise GnomonError(f"run {prefix!r}: no run in {self.folder} begins so; there are {listed}")

    def show(self, prefix: str) -> Run:
        """The one run whose id begins with prefix. Raises as find does."""
        return self._read(self.find(prefix))

    def list(self) -> list[Run]:
        """All runs, by id. One that cannot be read is listed with its problem."""
        return [self._read(self.folder / run_id) for run_id in self.ids()]

    def metrics(self, prefix: str) -> Sequence[dict[str, Any]]:
        """A run's learning curve so far, one row a window, empty before its first checkpoint. Raises as find does."""
        from gnomon.train.metrics import read_metrics

        path = self.find(prefix) / METRICS
        return read_metrics(path) if path.exists() else []

    @property
    def disk_bytes(self) -> int:
        """What all runs take on disk."""
        return disk_use(self.folder)

    def prune(self, keep: Collection[str] = (), *, interrupted: bool = False, dry_run: bool = True) -> Sequence[Pruned]:
        """Remove checkpoints that no run needs any more; with dry_run only say which.

        Of a finished run the last checkpoint stays (its final weights), and those that branches start from; of a
        diverged one none. Plans, results and curves always stay, so nothing that a table or a registry reads is lost.
        interrupted: also remove runs that were not finished, whole. keep: ids, or beginnings of ids, left as they are.
        A run under way is never touched. Raises GnomonError when one of keep names no run.
        """
        kept = {self.find(prefix).name for prefix in keep}
        pruned: list[Pruned] = []
        runs = self.list()
        # A branch that is not finished may have to start again from the other run's checkpoint.
        origins = {run.plan.parent for run in runs if run.plan is not None and run.result is None}
        for run in runs:
            if run.run_id in kept or run.status in ("running", "unreadable"):
                continue
            if dry_run:
                pruned += self._prune_run(run, origins, interrupted, dry_run)
                continue
            with _unused(run.folder) as unused:
                # Between the listing and the lock the run may have been taken up, and even finished.
                if unused and read_result(run.folder) == run.result:
                    pruned += self._prune_run(run, origins, interrupted, dry_run)
        return pruned

    def _prune_run(self, run: Run, origins: Collection[str], interrupted: bool, dry_run: bool) -> Sequence[Pruned]:
        if run.status == "interrupted":
            going = [run.folder] if interrupted else []
            what = f"interrupted at step {run.step}, whole"
        else:
            needed = _needed_steps(run) if run.status == "done" else set()
            needed |= {int(origin.split("@")[1]) for origin in origins if origin.startswith(f"{run.run_id}@")}
            going = [p for p in _checkpoints(run.folder) if not p.name.isdigit() or int(p.name) not in needed]
            what = f"{len(going)} checkpoint{'s' * (len(going) != 1)} of a {run.status} run"
        if not going:
            return []
        freed = sum(map(disk_use, going))
        if not dry_run:
            for folder in going:
                shutil.rmtree(folder)
        return [Pruned(run.run_id, what, freed)]

    def _read(self, folder: Path) -> Run:
        def run(status: Status, problem: str = "") -> Run:
            step = max((int(p.name) for p in _checkpoints(folder) if p.name.isdigit()), default=0)
            step = result["steps"] if result is not None else step
            return Run(folder.name, folder, status, plan, step, result, disk_use(folder), problem)

        plan, result = None, None
        try:
            plan = Plan.from_dict(read_json(folder / "plan.json", PLAN_SCHEMA_VERSION))
            result = read_result(folder)
        except GnomonError as error:
            return run("running" if is_locked(folder) else "unreadable", str(error))
        if is_locked(folder):
            return run("running")
        if result is None:
            return run("interrupted")
        return run("done" if result["status"] == "done" else "diverged")


def disk_use(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts as nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for entry in path.rglob("*"):
        try:
            total += entry.lstat().st_size if not entry.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def is_locked(folder: Path) -> bool:
    """Is a process at work on this run? Asks the system, since the file itself outlives a killed process."""
    try:
        with (folder / LOCK).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Hold a run's lock for the block; False when another process has it."""
    lock = Lock(folder / LOCK, f"run {folder.name}")
    try:
        lock.__enter__()
    except GnomonError:
        yield False
        return
    try:
        yield True
    finally:
        lock.__exit__()


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders of a run, half-written ones included."""
    place = folder / CHECKPOINTS
    return sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []


def _needed_steps(run: Run) -> set[int]:
    """Steps of a finished run that must stay: the last, and those recorded as kept to branch from."""
    assert run.plan is not None
    path = run.folder / EXECUTION
    recorded = read_json(path, 1).get("keep_steps", []) if path.exists() else []
    return {run.plan.steps, *recorded}
