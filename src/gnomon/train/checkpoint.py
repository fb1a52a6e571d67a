"""Checkpoints: a folder per step with safetensors and a JSON state, either whole or absent, checked by hash when read.

    runs/<run id>/checkpoint/00000120/{weights.safetensors, moments.safetensors, state.json}

Where several processes share a run a folder has shards/ in place of those two (parallel/store.py), but for the last.

A folder is written under a temporary name, synced and renamed. The newest two stay, and those that branches need. A
damaged one is named and the one before it is used. The last of a finished run has no moments: nothing follows it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
from torch import Tensor

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import read_json, sync_folder
from gnomon.common.hashing import content_hash, plain
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import Plan
from gnomon.train.result import Result

FOLDER = "checkpoint"
STATE_SCHEMA = 2  # 2: with what the guards remember
PLAN_FILE = "plan.json"
NEWEST_KEPT = 2
SHARDS = "shards"
HASHED_AT_ONCE = 1 << 24  # bytes


class Damaged(GnomonError):
    """A checkpoint whose bytes are not those that were written."""


@dataclass(frozen=True)
class Checkpoint:
    """weights: by name. moments: "first.NAME", "second.NAME"; empty after the last step. state: plain JSON values:
    step, tokens, skipped, registry_head, plan, corpus, terms, window, seconds, metrics_rows, inexact."""

    step: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    state: dict[str, Any]


class Store(Protocol):
    """Where a run's checkpoints live. save and newest are called by every process of a run."""

    def save(
        self, run_dir: Path, checkpoint: Checkpoint, keep_steps: Collection[int], on_phase: Callable[[str], None]
    ) -> None: ...

    def newest(self, run_dir: Path) -> tuple[Checkpoint | None, list[str]]: ...

    def steps(self, run_dir: Path) -> list[int]: ...

    def forget_after(self, run_dir: Path, step: int) -> None:
        """Remove the checkpoints beyond step: a run has gone back."""
        ...


class LocalStore:
    """The files of this module."""

    def save(
        self, run_dir: Path, checkpoint: Checkpoint, keep_steps: Collection[int], on_phase: Callable[[str], None]
    ) -> None:
        save(run_dir, checkpoint, keep_steps, on_phase)

    def newest(self, run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
        return newest(run_dir)

    def steps(self, run_dir: Path) -> list[int]:
        return steps(run_dir)

    def forget_after(self, run_dir: Path, step: int) -> None:
        prune(run_dir, [s for s in steps(run_dir) if s <= step])


def step_folder(run_dir: Path, step: int) -> Path:
    return run_dir / FOLDER / f"{step:08d}"


def steps(run_dir: Path) -> list[int]:
    """Steps of the checkpoints that a run's folder holds, ascending, damaged ones included."""
    folder = run_dir / FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def sweep(run_dir: Path) -> None:
    """Remove what a killed process left half-written. Call it with the run's lock held."""
    for path in (run_dir / FOLDER).glob("*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
    for path in run_dir.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """data on the disk itself, not only in the system's memory."""
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def silent(_: str) -> None:
    """Nobody listens to the phases of a write."""


def save(
    run_dir: Path, checkpoint: Checkpoint, keep_steps: Collection[int] = (), on_phase: Callable[[str], None] = silent
) -> None:
    """Write a checkpoint, then remove older ones beyond the newest two, except keep_steps.

    on_phase hears the name of each part as it begins. Raises JobFailed when the disk is full or fails; the checkpoints
    before this one are then untouched.
    """
    publish(run_dir, checkpoint.step, lambda folder: _write(folder, checkpoint, on_phase), keep_steps, on_phase)


def publish(
    run_dir: Path,
    step: int,
    write: Callable[[Path], None],
    keep_steps: Collection[int] = (),
    on_phase: Callable[[str], None] = silent,
) -> None:
    """save, with the files written by `write` into the temporary folder that it is given."""
    final = step_folder(run_dir, step)
    temporary = final.with_name(final.name + ".tmp")
    try:
        write(temporary)
        on_phase("rename")
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(final.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        before = [s for s in steps(run_dir) if s != step]
        kept = f"the checkpoint of step {before[-1]} is whole" if before else "there is no earlier checkpoint"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else f"it could not be written ({error.strerror or error})"
        raise JobFailed(f"{final}: {why}; {kept}; free some space and resume") from error
    on_phase("prune")
    prune(run_dir, {*keep_steps, *steps(run_dir)[-NEWEST_KEPT:]})
    on_phase("end")


def prune(run_dir: Path, kept: Collection[int]) -> None:
    """Remove the checkpoints of all other steps."""
    for step in steps(run_dir):
        if step not in kept:
            shutil.rmtree(step_folder(run_dir, step), ignore_errors=True)


def _write(folder: Path, checkpoint: Checkpoint, on_phase: Callable[[str], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    on_phase("begin")
    folder.mkdir(parents=True)
    parts = {"weights.safetensors": checkpoint.weights, "moments.safetensors": checkpoint.moments}
    hashes = {}
    for name, tensors in parts.items():
        if not tensors:
            continue
        on_phase(name)
        data = safetensors.torch.save({k: v.contiguous().clone() for k, v in tensors.items()})
        hashes[name] = hashlib.sha256(data).hexdigest()
        write_file(folder / name, data)
    on_phase("state.json")
    write_state(folder, checkpoint, hashes)


def write_state(folder: Path, checkpoint: Checkpoint, hashes: Mapping[str, str]) -> None:
    """state.json, which says what the folder's files must be. hashes: sha256 by name."""
    body = plain({"schema_version": STATE_SCHEMA, **checkpoint.state, "step": checkpoint.step, "files": hashes})
    body["sha256"] = content_hash(body)
    write_file(folder / "state.json", (json.dumps(body, indent=1) + "\n").encode())
    sync_folder(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint's folder, checked. Raises Damaged."""
    try:
        state = read_json(folder / "state.json", STATE_SCHEMA)
    except GnomonError as error:
        raise Damaged(str(error)) from None
    digest = state.pop("sha256", None)
    if digest != content_hash(state):
        raise Damaged(f"{folder / 'state.json'}: its content does not match its hash; it was edited or damaged")
    return state


def file_hash(path: Path) -> str:
    """sha256 of a file that need not fit into memory. Raises Damaged when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as f:
            while data := f.read(HASHED_AT_ONCE):
                digest.update(data)
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}") from None
    return digest.hexdigest()


def require_hash(path: Path, found: str, expected: str) -> None:
    """Raises Damaged when a file is not what was written."""
    if found != expected:
        size = path.stat().st_size
        raise Damaged(f"{path}: its {size} bytes do not match their hash; it was cut off or damaged")


def load(run_dir: Path, step: int) -> Checkpoint:
    """One checkpoint, every byte checked. Raises Damaged (a GnomonError), naming the file and what is wrong with it."""
    folder = step_folder(run_dir, step)
    state = read_state(folder)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, expected in state["files"].items():
        path = folder / name
        if path.parent.name == SHARDS:
            require_hash(path, file_hash(path), expected)
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Damaged(f"{path}: {error.strerror}") from None
        require_hash(path, hashlib.sha256(data).hexdigest(), expected)
        parts[name] = safetensors.torch.load(data)
    if not parts:
        from gnomon.train.parallel.store import read_whole

        return Checkpoint(step, *read_whole(folder / SHARDS), state)
    return Checkpoint(step, parts["weights.safetensors"], parts.get("moments.safetensors", {}), state)


def newest(run_dir: Path, read: Callable[[Path, int], Checkpoint] = load) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, None when the folder holds none at all; and a line for each damaged one passed over.

    read: load, or what checks a checkpoint as well as it does.

    Raises GnomonError when there are checkpoints and every one of them is damaged.
    """
    notes: list[str] = []
    found = steps(run_dir)
    for step in reversed(found):
        try:
            return read(run_dir, step), notes
        except Damaged as error:
            notes.append(str(error))
    if found:
        raise GnomonError(
            f"{run_dir / FOLDER}: no checkpoint is whole ({'; '.join(notes)}); remove that folder to begin again"
        )
    return None, notes


def difference(mine: Any, theirs: Any, name: str = "") -> str | None:
    """The first field in which two plans (as dicts) differ, in words; None when they agree."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted(mine.keys() | theirs.keys()):
            inner = difference(mine.get(key), theirs.get(key), f"{name}.{key}" if name else str(key))
            if inner:
                return inner
        return None
    return None if mine == theirs else f"{name} is {theirs!r} there and {mine!r} here"


def require_same_plan(plan: Plan, state: dict[str, Any], where: Path) -> None:
    """Raises GnomonError naming the field in which a checkpoint's plan differs from plan."""
    # Through Plan: a field that is newer than the checkpoint has its default there.
    found = difference(plain(plan.to_dict()), plain(Plan.from_dict(state["plan"]).to_dict()))
    if found:
        raise GnomonError(f"{where}: this checkpoint belongs to another plan: {found}")


def require_tensors(found: Checkpoint, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
    """Raises GnomonError naming the first tensor that a checkpoint lacks, has too many, or has in another shape."""
    parts = [("weights", found.weights, weights)] + ([("moments", found.moments, moments)] if found.moments else [])
    for part, theirs, mine in parts:
        where = f"checkpoint of step {found.step}, {part}.safetensors"
        unknown, lacking = sorted(theirs.keys() - mine.keys()), sorted(mine.keys() - theirs.keys())
        if unknown:
            raise GnomonError(f"{where}: holds {unknown[0]}, which this model does not have; it is of another model")
        if lacking:
            raise GnomonError(f"{where}: lacks {lacking[0]}, which this model has; it is of another model")
        for name, tensor in theirs.items():
            if tensor.shape != mine[name].shape:
                raise GnomonError(
                    f"{where}: {name} is {list(tensor.shape)} there and {list(mine[name].shape)} here; "
                    "it is of a model of another shape"
                )


def read_plan(run_dir: Path) -> Plan:
    """The plan of a run's folder. Raises GnomonError when there is none."""
    return Plan.from_dict(read_json(run_dir / PLAN_FILE, 1))


def load_weights(model: Transformer, checkpoint: Checkpoint) -> Transformer:
    """The model with a checkpoint's weights. Raises GnomonError when they are of another model."""
    require_tensors(replace(checkpoint, moments={}), dict(model.named_parameters()), {})
    model.load_state_dict(checkpoint.weights)
    return model


def load_final(run_dir: Path) -> Transformer:
    """The model of a finished run, in fp32, ready to be evaluated or sampled.

    Raises GnomonError when the run is not finished or its last checkpoint is damaged.
    """
    plan = read_plan(run_dir)
    found = steps(run_dir)
    result = Result.read(run_dir)
    if result is not None and result.status == "diverged":
        raise GnomonError(f"{run_dir}: this run diverged at step {result.steps}; it has no final model")
    if not found or found[-1] != plan.steps:
        at = found[-1] if found else 0
        raise GnomonError(f"{run_dir}: this run stopped at step {at} of {plan.steps}; resume it to its end first")
    checkpoint = load(run_dir, plan.steps)
    require_same_plan(plan, checkpoint.state, run_dir)
    return load_weights(Transformer(plan.shape), checkpoint).eval()
