"""The stages of a corpus (stages.py) as datatrove pipelines: on this machine, on a Slurm cluster or on Ray
(`gnomon[scale]`). datatrove starts the tasks, keeps their logs and knows which are finished: the same command again
does what is missing. The folder must be shared by all machines.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock, read_json, write_json
from gnomon.common.hashing import content_hash
from gnomon.corpus import shards
from gnomon.corpus.build import finished, input_key, locate, note_path
from gnomon.corpus.dedup import MEMORY_BYTES
from gnomon.corpus.pipeline import Say
from gnomon.corpus.shards import Corpus
from gnomon.corpus.stages import RESULT, SCHEMA_VERSION, STAGES, Work
from gnomon.recipe.values import CorpusRecipe

KINDS = ("local", "slurm", "ray")


@dataclass(frozen=True)
class Where:
    """kind: of KINDS. tasks: shares of the documents. workers: tasks at the same time; -1 is all. options: what
    datatrove's executor of that kind takes besides (partition, time, cpus_per_task, …)."""

    kind: str = "local"
    tasks: int = 2
    workers: int = -1
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GnomonError(f"--scale {self.kind}: give one of {', '.join(KINDS)}")
        if self.tasks < 1:
            raise GnomonError(f"--tasks {self.tasks}: at least 1")
        if importlib.util.find_spec("datatrove") is None:
            raise GnomonError("datatrove is not installed; pip install 'gnomon[scale]'")


class Task:
    """A stage as datatrove calls it: a step of a pipeline that takes no documents and gives none."""

    def __init__(self, folder: str, stage: str) -> None:
        self.folder, self.stage = folder, stage
        self.name, self.type = stage, "gnomon"

    def __call__(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        STAGES[self.stage].run(Work(Path(self.folder)), rank, world_size)


def build_at_scale(
    recipe: CorpusRecipe, home: Path, where: Where, say: Say, memory_bytes: int = MEMORY_BYTES
) -> Corpus | Path:
    """The corpus of a recipe, built by many tasks; the folder of the work where a cluster does it after this returns.

    say: told which stage is under way, and the fraction of them.
    Raises GnomonError when a source is missing or an option is none of the executor's, JobFailed when a task failed.
    """
    corpora = home.absolute() / "corpora"
    parts, _ = locate(recipe, home / "downloads")  # fetches what no task has to fetch again
    inputs = input_key(recipe, parts)
    if (corpus := finished(corpora, note_path(corpora, inputs), say)) is not None:
        return corpus
    folder = corpora / f".scale-{content_hash([inputs, where.tasks])[:16]}"
    with Lock(folder / ".lock", f"building a corpus in {folder}"):
        work = Work.begin(folder, recipe, home.absolute(), memory_bytes)
        executors = _executors(work, where)
        if where.kind == "slurm":
            executors[-1].run()  # submits all, each after the one before it
            if not (folder / RESULT).exists():
                return folder
        else:
            for i, (name, executor) in enumerate(zip(STAGES, executors, strict=True)):
                say(f"{name}, {executor.world_size} tasks", i / len(executors))
                executor.run()
        return _taken(work, corpora, note_path(corpora, inputs))


def _taken(work: Work, corpora: Path, note: Path) -> Corpus:
    """The finished corpus; the work's folder goes."""
    if not (work.folder / RESULT).exists():
        raise JobFailed(f"{work.folder}: a task failed; its log is below logs/, and the same command does what is left")
    name = read_json(work.folder / RESULT, SCHEMA_VERSION)["corpus"]
    corpus = Corpus.open(corpora / name)
    write_json(note, {"corpus": name}, shards.SCHEMA_VERSION)
    shutil.rmtree(work.folder, ignore_errors=True)
    return corpus


def _executors(work: Work, where: Where) -> list[Any]:
    """One executor a stage, each depending on the one before it."""
    found: list[Any] = []
    make = _class(where.kind)
    given = _given(make, where)
    for name, stage in STAGES.items():
        options = {
            "tasks": where.tasks if stage.shared else 1,
            "workers": where.workers if stage.shared else 1,
            "logging_dir": str(work.folder / "logs" / name),
            **given,
        }
        if where.kind == "slurm":
            options |= {"job_name": f"gnomon-{name}", "depends": found[-1] if found else None}
        found.append(make(pipeline=[Task(str(work.folder), name)], **options))
    return found


def _class(kind: str) -> Any:
    if kind == "local":
        from datatrove.executor import LocalPipelineExecutor

        return LocalPipelineExecutor
    if kind == "slurm":
        from datatrove.executor import SlurmPipelineExecutor

        return SlurmPipelineExecutor
    from datatrove.executor.ray import RayPipelineExecutor

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of the work is told to anybody
    return RayPipelineExecutor


def _given(make: Any, where: Where) -> dict[str, Any]:
    """The user's options, as numbers where they are. Raises GnomonError when the executor has no such option."""
    ours = {"self", "pipeline", "tasks", "workers", "logging_dir", "depends", "job_name"}
    known = inspect.signature(make.__init__).parameters
    for name in where.options:
        if name not in known or name in ours:
            free = ", ".join(n for n in known if n not in ours)
            raise GnomonError(f"--set {name}: {make.__name__} has no such option; it has {free}")
    missing = [n for n, p in known.items() if p.default is p.empty and n not in ours and n not in where.options]
    if missing:
        raise GnomonError(f"--scale {where.kind}: give --set {' --set '.join(f'{n}=…' for n in missing)}")
    return {name: _value(text) for name, text in where.options.items()}


def _value(text: str) -> Any:
    import yaml

    return yaml.load(text, Loader=yaml.BaseLoader) if ":" in text else yaml.safe_load(text)
