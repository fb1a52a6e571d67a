"""A corpus made by many processes that share nothing but a folder: the pipeline's steps as stages of tasks.

Each stage reads what the ones before it left in the folder, does its share of the documents with the functions of
pipeline.py, and leaves files of its own; a stage that decides over all documents has one task. The corpus is the one
that a single process makes, byte for byte.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.files import read_json, write_json
from gnomon.corpus import dedup, heldout, pipeline
from gnomon.corpus.build import finish as finish_corpus
from gnomon.corpus.build import locate
from gnomon.corpus.documents import Entry, Report, Spool
from gnomon.corpus.encode import Encoder
from gnomon.corpus.overlap import HeldOut
from gnomon.corpus.pipeline import Built, Part
from gnomon.corpus.planted import require_search
from gnomon.corpus.shards import SPLITS, token_dtype, write_split
from gnomon.corpus.signatures import Part as SignedPart
from gnomon.corpus.signatures import Signatures, bands, write_part
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.recipe.values import CorpusRecipe

SCHEMA_VERSION = 1
JOB, ENTRIES, RESULT, FOUND = "job.json", "entries.parquet", "corpus.json", "found.json"


@dataclass(frozen=True)
class Work:
    """The folder that the tasks of one corpus share, in HOME/corpora."""

    folder: Path

    @classmethod
    def begin(cls, folder: Path, recipe: CorpusRecipe, home: Path, memory_bytes: int) -> Work:
        """Write down what is to be done. A folder that was begun keeps what its finished tasks left there."""
        work = cls(folder)
        body = {"recipe": recipe.model_dump(mode="json"), "home": str(home), "memory_bytes": memory_bytes}
        write_json(folder / JOB, body, SCHEMA_VERSION)
        return work

    @cached_property
    def job(self) -> dict[str, Any]:
        return read_json(self.folder / JOB, SCHEMA_VERSION)

    @cached_property
    def recipe(self) -> CorpusRecipe:
        return CorpusRecipe.model_validate(self.job["recipe"])

    @cached_property
    def located(self) -> tuple[list[Part], dict[str, str]]:
        return locate(self.recipe, Path(self.job["home"]) / "downloads")

    @property
    def parts(self) -> list[Part]:
        return self.located[0]

    def files(self, kind: str) -> list[Path]:
        """What the tasks of a stage left, in their order."""
        return sorted(self.folder.glob(f"{kind}-*"))

    def spool(self, entries: list[Entry]) -> Spool:
        return Spool.over(self.files("spool"), entries)

    def chosen(self) -> Spool:
        """All documents with the marks that they have by now."""
        return self.spool(load_entries(self.folder / ENTRIES))

    def write(self, name: str, value: dict[str, Any]) -> None:
        write_json(self.folder / name, value, SCHEMA_VERSION)

    def value(self, name: str) -> dict[str, Any]:
        return read_json(self.folder / name, SCHEMA_VERSION)


def share(items: Sequence[Any], rank: int, world: int) -> tuple[int, int]:
    """(first, end) of a task's run of items; the runs of all tasks follow each other."""
    return len(items) * rank // world, len(items) * (rank + 1) // world


def save_entries(path: Path, entries: Sequence[Entry]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f.name: [getattr(e, f.name) for e in entries] for f in dataclasses.fields(Entry)}
    types = {"split": pa.string(), "dropped": pa.string(), "of": pa.int64(), "detail": pa.string()}
    pq.write_table(pa.table({n: pa.array(v, types.get(n)) for n, v in columns.items()}), path)


def load_entries(path: Path) -> list[Entry]:
    import pyarrow.parquet as pq

    return [Entry(**row) for row in pq.read_table(path).to_pylist()]


# The stages


def read(work: Work, rank: int, world: int) -> None:
    """A run of the files of all sources into a spool of its own; poor documents are marked."""
    units = [(i, j) for i, part in enumerate(work.parts) for j in range(_units(part))]
    mine = units[slice(*share(units, rank, world))]
    reports = []
    with Spool(work.folder / f"spool-{rank:05}.bin") as spool:
        for i, part in enumerate(work.parts):
            files = [j for source, j in mine if source == i]
            if files:
                some = part.found.files[files[0] : files[-1] + 1]
                found = part.found if part.found.stream else dataclasses.replace(part.found, files=some)
                report = pipeline.collect(i, dataclasses.replace(part, found=found), spool, work.recipe)
                reports.append({"part": i, **dataclasses.asdict(report)})
        save_entries(work.folder / f"read-{rank:05}.parquet", spool.entries)
    work.write(f"reports-{rank:05}.json", {"reports": reports})


def _units(part: Part) -> int:
    """A stream is read by one task."""
    return 1 if part.found.stream else len(part.found.files)


def choose(work: Work, rank: int, world: int) -> None:
    """Limits, splits and exact copies, over what all tasks have read."""
    entries: list[Entry] = []
    base = 0
    for spool_path, entries_path in zip(work.files("spool"), work.files("read"), strict=True):
        some = load_entries(entries_path)
        for entry in some:
            entry.offset += base
        entries += some
        base += spool_path.stat().st_size
    reports = _reports(work)
    for i, (part, report) in enumerate(zip(work.parts, reports, strict=True)):
        pipeline.check_report(part, report, sum(e.source == i for e in entries), work.recipe)
    with work.spool(entries) as spool:
        choice = pipeline.choose(spool, work.parts, work.recipe, lambda stage, fraction: None)
        save_entries(work.folder / ENTRIES, spool.entries)
    work.write("choice.json", dataclasses.asdict(choice))


def _reports(work: Work) -> list[Report]:
    """The report of every source, put together from those of the tasks."""
    whole = [Report(p.found.kind, p.found.name, p.found.version, p.found.licence) for p in work.parts]
    for path in work.files("reports"):
        for value in read_json(path, SCHEMA_VERSION)["reports"]:
            report = whole[value["part"]]
            report.files += value["files"]
            report.bytes += value["bytes"]
            report.lost += [(n, size, why) for n, size, why in value["lost"]]
            report.passed_over += [(n, size, why) for n, size, why in value["passed_over"]]
    return whole


def sign(work: Work, rank: int, world: int) -> None:
    """MinHash signatures of a run of the documents that are left."""
    threshold = work.recipe.near_duplicate_threshold
    if threshold >= 1:
        return
    with work.chosen() as spool:
        alive = pipeline.alive(spool.entries)
        first, end = share(alive, rank, world)
        part = SignedPart(work.folder, f"{rank:05}", first, end - first, bands(threshold)[0])
        write_part(part, spool.texts(alive[first:end]), threshold)
    work.write(f"signed-{rank:05}.json", {"first": first, "count": end - first, "bands": part.bands})


def mark(work: Work, rank: int, world: int) -> None:
    """Near copies, from all signatures."""
    threshold = work.recipe.near_duplicate_threshold
    require_search(threshold, work.folder)
    if threshold >= 1:
        return
    parts = []
    for path in work.files("signed"):
        value = read_json(path, SCHEMA_VERSION)
        name = path.stem.removeprefix("signed-")
        parts.append(SignedPart(work.folder, name, value["first"], value["count"], value["bands"]))
    with work.chosen() as spool, Signatures(parts) as signatures:
        dedup.mark_near(spool, spool.entries, signatures, threshold, work.folder, work.job["memory_bytes"])
        save_entries(work.folder / ENTRIES, spool.entries)


def search(work: Work, rank: int, world: int) -> None:
    """Held-out text in a run of the training documents, where the recipe wants them to leave."""
    marks: list[tuple[int, str]] = []
    if work.recipe.contamination_grams:
        with work.chosen() as spool:
            first, end = share(spool.entries, rank, world)
            places = {id(entry): i for i, entry in enumerate(spool.entries)}
            found = pipeline.held_out_text(spool, spool.entries[first:end], work.recipe)
            marks = [(places[id(entry)], detail) for entry, detail in found]
    work.write(f"marks-{rank:05}.json", {"marks": marks})


def learn(work: Work, rank: int, world: int) -> None:
    """The tokenizer, when all marks are known."""
    notes: list[str] = []
    with work.chosen() as spool:
        marks = [m for path in work.files("marks") for m in read_json(path, SCHEMA_VERSION)["marks"]]
        pipeline.mark_held_out_text(spool, ((spool.entries[place], detail) for place, detail in marks))
        tokenizer = pipeline.learn(spool, work.recipe, notes, lambda stage, fraction: None)
        save_entries(work.folder / ENTRIES, spool.entries)
    (work.folder / "tokenizer.json").write_text(tokenizer.to_json())
    work.write("notes.json", {"notes": notes})


def encode(work: Work, rank: int, world: int) -> None:
    """The tokens of a run of every split, and which held-out 13-grams its training text holds."""
    tokenizer = Tokenizer.open(work.folder / "tokenizer.json")
    encoder = Encoder(tokenizer)
    with work.chosen() as spool:
        known = HeldOut(pipeline.held_out_sets(spool))
        for name in SPLITS:
            whole = spool.of_split(name)
            some = whole[slice(*share(whole, rank, world))]
            if name == "train":
                np.save(work.folder / f"seen-{rank:05}.npy", known.seen(spool.texts(some)))
            pieces = encoder.stream(spool.read(entry).decode() for entry in some)
            write_split(work.folder / f"{name}-{rank:05}.tokens", pieces, tokenizer.vocab)


def finish(work: Work, rank: int, world: int) -> None:
    """Shards, manifest and card; the corpus gets its name."""
    tokenizer = Tokenizer.open(work.folder / "tokenizer.json")
    made = work.folder / "made"
    shutil.rmtree(made, ignore_errors=True)  # of a task that was killed
    made.mkdir()
    splits = {}
    with work.chosen() as spool:
        known = HeldOut(pipeline.held_out_sets(spool))
        for name in SPLITS:
            if entries := spool.of_split(name):
                pieces = (np.fromfile(p, token_dtype(tokenizer.vocab)) for p in work.files(name))
                splits[name] = write_split(made / f"{name}.bin", pieces, tokenizer.vocab) | pipeline.facts(entries)
        seen = np.any([np.load(path) for path in work.files("seen")], axis=0)
        overlap = pipeline.shown(known, seen)
        pipeline.explain_exact(spool)
        choice = work.value("choice.json")
        built = Built(
            _reports(work), spool.entries, heldout.Choice(choice["rule"], choice["words"]), tokenizer,
            work.recipe.vocabulary, splits, overlap, work.value("notes.json")["notes"],
        )  # fmt: skip
    parts, skipped = work.located
    final = finish_corpus(work.recipe, parts, skipped, built, made, work.folder.parent, {"tasks": world})
    shutil.rmtree(made, ignore_errors=True)
    work.write(RESULT, {"corpus": final.name})


@dataclass(frozen=True)
class Stage:
    """shared: its documents are spread over all tasks; else it has one."""

    run: Callable[[Work, int, int], None]
    shared: bool


STAGES: dict[str, Stage] = {
    "read": Stage(read, True),
    "choose": Stage(choose, False),
    "sign": Stage(sign, True),
    "mark": Stage(mark, False),
    "search": Stage(search, True),
    "learn": Stage(learn, False),
    "encode": Stage(encode, True),
    "finish": Stage(finish, False),
}
