"""Checkpoints of many processes: each writes and reads its own parts (torch.distributed.checkpoint), to any mesh.

    checkpoint/00000120/{shards/.metadata, shards/__0_0.distcp, shards/__1_0.distcp, ..., state.json}

The last checkpoint of a run, and any that is asked for, is put together by the leader into the ordinary files, so a
finished run needs neither torch's format nor many processes to be read. The folder lies where all processes see it.
"""

from __future__ import annotations

import errno
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.tensor import DTensor

from gnomon.common.errors import JobFailed, Told
from gnomon.train import checkpoint as checkpoints
from gnomon.train.checkpoint import SHARDS, Checkpoint, LocalStore
from gnomon.train.parallel.parts import window
from gnomon.train.parallel.world import Processes

PARTS = ("weights", "moments")
OPEN = {"weights": "weights.safetensors", "moments": "moments.safetensors"}


class OnDisk(dict[str, Tensor]):
    """Tensors of a checkpoint that nobody has read yet: names and shapes (on the meta device), and where they are."""

    def __init__(self, folder: Path, part: str, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
        self.folder, self.part = folder, part

    def read_into(self, mine: Mapping[str, Tensor], group: Any) -> None:
        """Every process of a mesh reads its own parts. mine: sharded tensors by name."""
        if (self.folder / SHARDS).is_dir():
            wanted = {f"{self.part}.{name}": mine[name] for name in self}
            with _quiet():
                dcp.load(wanted, storage_reader=FileSystemReader(self.folder / SHARDS), process_group=group)
            return
        with safetensors.safe_open(self.folder / OPEN[self.part], "pt") as stored:
            for name in self:
                tensor = mine[name]
                assert isinstance(tensor, DTensor)
                tensor.to_local().copy_(stored.get_slice(name)[window(tensor)])


class ShardedStore(LocalStore):
    """The checkpoints of a crew. save and newest are called by all of its processes."""

    def __init__(self, crew: Processes) -> None:
        self.crew = crew

    def save(
        self, run_dir: Path, checkpoint: Checkpoint, keep_steps: Collection[int], on_phase: Callable[[str], None]
    ) -> None:
        folder = checkpoints.step_folder(run_dir, checkpoint.step)
        aside = folder.with_name(f"{folder.name}.{SHARDS}.tmp")
        hashes = self._write_shards(aside, checkpoint, on_phase)
        last = checkpoint.step == checkpoint.state["plan"]["steps"]

        def put_in_place(temporary: Path) -> None:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            aside.rename(temporary / SHARDS)
            on_phase("state.json")
            checkpoints.write_state(temporary, checkpoint, hashes)

        def publish() -> None:
            if last:
                whole = Checkpoint(checkpoint.step, *read_whole(aside), checkpoint.state)
                checkpoints.save(run_dir, whole, keep_steps, on_phase)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                checkpoints.publish(run_dir, checkpoint.step, put_in_place, keep_steps, on_phase)

        self.crew.first(publish)

    def _write_shards(self, folder: Path, checkpoint: Checkpoint, on_phase: Callable[[str], None]) -> dict[str, str]:
        """Every process writes its parts; sha256 of all files by their names in the checkpoint's folder."""

        def begin() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

        self.crew.first(begin)
        on_phase(SHARDS)
        parts = {"weights": checkpoint.weights, "moments": checkpoint.moments}
        tensors = {f"{part}.{name}": tensor for part, of in parts.items() for name, tensor in of.items()}
        try:
            with _quiet():
                dcp.save(tensors, storage_writer=FileSystemWriter(folder), process_group=self.crew.group)
        except CheckpointException as error:
            raise self._failed(folder, error) from None
        mine = [*folder.glob(f"__{self.crew.rank}_*"), *([folder / ".metadata"] if self.crew.leader else [])]
        return self.crew.merged({f"{SHARDS}/{path.name}": checkpoints.file_hash(path) for path in mine})

    def _failed(self, folder: Path, error: CheckpointException) -> JobFailed | Told:
        """One line for what went wrong in any of the processes, said by the leader."""
        rank, (why, _) = next(iter(error.failures.items()))
        full = getattr(why, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(why)
        before = checkpoints.steps(folder.parent.parent)
        kept = f"the checkpoint of step {before[-1]} is whole" if before else "there is no earlier checkpoint"
        words = "the disk is full" if full else f"it could not be written ({str(why).splitlines()[0]})"
        line = f"{folder} (process {rank}): {words}; {kept}; free some space and resume"
        if self.crew.leader:
            shutil.rmtree(folder, ignore_errors=True)
            return JobFailed(line)
        return Told(line, 1)

    def newest(self, run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
        return self.crew.first(lambda: checkpoints.newest(run_dir, described))


def described(run_dir: Path, step: int) -> Checkpoint:
    """One checkpoint, every byte checked and no tensor read. Raises Damaged."""
    folder = checkpoints.step_folder(run_dir, step)
    state = checkpoints.read_state(folder)
    for name, expected in state["files"].items():
        checkpoints.require_hash(folder / name, checkpoints.file_hash(folder / name), expected)
    shapes: dict[str, dict[str, torch.Size]] = {part: {} for part in PARTS}
    if (folder / SHARDS).is_dir():
        for key, entry in FileSystemReader(folder / SHARDS).read_metadata().state_dict_metadata.items():
            part, _, name = key.partition(".")
            shapes[part][name] = entry.size  # type: ignore[union-attr]  # tensors are all that we write
    else:
        for part in PARTS:
            if OPEN[part] in state["files"]:
                with safetensors.safe_open(folder / OPEN[part], "pt") as stored:
                    names = stored.keys()
                    shapes[part] = {name: torch.Size(stored.get_slice(name).get_shape()) for name in names}
    weights, moments = (OnDisk(folder, part, shapes[part]) for part in PARTS)
    return Checkpoint(step, weights, moments, state)


def read_whole(shards: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments from a folder of shards, put together in this one process."""
    reader = FileSystemReader(shards)
    entries: Any = reader.read_metadata().state_dict_metadata
    tensors = {key: torch.empty(entry.size, dtype=entry.properties.dtype) for key, entry in entries.items()}
    with _quiet():
        dcp.load(tensors, storage_reader=reader, no_dist=True)
    found: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        found[part][name] = tensor
    return found["weights"], found["moments"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings about its own storages, and about reading in one process, which is meant so here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
