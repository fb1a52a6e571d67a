"""A corpus, built once: the same recipe and the same bytes give the same folder, and a finished one is taken again.

The folder is made under a temporary name and renamed when it is whole, so a build that was killed leaves nothing that
could be mistaken for a corpus. A note under corpora/by-input maps what went in (the recipe, the files' names, sizes and
dates, this code) to the corpus that came out, so a second call reads no text.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock, read_json, sync_folder, write_json
from gnomon.common.hashing import content_hash, file_hash, folder_hash
from gnomon.corpus import card, pipeline
from gnomon.corpus.dedup import MEMORY_BYTES
from gnomon.corpus.marks import MARKS_FILE, write_marks
from gnomon.corpus.pipeline import Built, Part, Say
from gnomon.corpus.shards import SCHEMA_VERSION, Corpus, corpus_hash
from gnomon.corpus.sources.find import find
from gnomon.corpus.sources.source import Unreachable
from gnomon.recipe.values import CorpusRecipe, FolderSource, HubSource, Source, TasksSource

BUILDING = ".building-"
LISTED = 10_000  # files named in lost.json, of each kind and source
VERIFIED_BYTES = 1 << 28  # a finished corpus up to this size is hashed again before it is used


def build_corpus(
    recipe: CorpusRecipe,
    home: Path,
    progress: Callable[[str, float], None] | None = None,
    memory_bytes: int = MEMORY_BYTES,
    threads: int = 1,
) -> Corpus:
    """The corpus of a recipe, built in home/corpora or taken from there.

    progress: told the stage in words and the fraction of the whole, 0 … 1. memory_bytes: that the search for near
    copies may hold. threads: that work side by side; neither changes a byte of the corpus.
    Raises GnomonError when a source is missing or its text will not do, JobFailed when the disk is full.
    """
    say: Say = progress or (lambda stage, fraction: None)
    corpora = home / "corpora"
    say("looking for the sources", 0.0)
    parts, skipped = locate(recipe, home / "downloads")
    note = note_path(corpora, input_key(recipe, parts))
    if (corpus := finished(corpora, note, say)) is not None:
        return corpus
    with Lock(corpora / ".lock", f"building a corpus in {corpora}"):
        if (corpus := finished(corpora, note, say)) is not None:
            return corpus
        for left in corpora.glob(f"{BUILDING}*"):  # of a build that was killed; the lock says none is at work
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=BUILDING, dir=corpora))
        try:
            stages = Stages(say)
            built = pipeline.run(recipe, parts, folder, stages, memory_bytes, threads)
            final = finish(recipe, parts, skipped, built, folder, corpora, stages.local())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JobFailed(f"{corpora}: the disk is full; free some space and give the command again") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        write_json(note, {"corpus": final.name}, SCHEMA_VERSION)
        say("done", 1.0)
        return Corpus.open(final)


def locate(recipe: CorpusRecipe, cache: Path) -> tuple[list[Part], dict[str, str]]:
    """The sources that were found, and the optional ones that were not with the reason.

    Raises Unreachable for a source that is not optional, GnomonError when no training source is left.
    """
    wanted: list[tuple[str, Source]] = [("train", s) for s in recipe.sources]
    wanted += [("codebase", recipe.held_out.codebase)] if recipe.held_out.codebase else []
    wanted += [("development", recipe.held_out.development)] if recipe.held_out.development else []
    parts: list[Part] = []
    skipped: dict[str, str] = {}
    for split, source in wanted:
        limits = [mb * 1e6 for mb in (source.limit_mb, recipe.limit_mb if split == "train" else None) if mb is not None]
        try:
            found = find(source, cache, min(limits, default=None))
        except Unreachable as error:
            if not source.optional:
                raise
            skipped[f"{source.kind} {source_name(source)}"] = str(error)
            continue
        parts.append(Part(split, found, None if source.limit_mb is None else source.limit_mb * 1e6))
    if not any(part.split == "train" for part in parts):
        raise GnomonError(f"corpus: none of its sources can be reached: {'; '.join(skipped.values())}")
    return parts, skipped


def source_name(source: Source) -> str:
    """What a source is called in a recipe, without the folders of this machine."""
    if isinstance(source, FolderSource):
        return Path(source.path).name
    if isinstance(source, TasksSource):
        return f"seed {source.seed}"
    return source.dataset if isinstance(source, HubSource) else source.package


def input_key(recipe: CorpusRecipe, parts: list[Part]) -> str:
    """A hash of everything that decides the corpus, as far as it can be told without reading text."""
    versions = []
    for name in ("tokenizers", "rensa"):
        try:
            versions.append(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            versions.append("")
    code = folder_hash(Path(__file__).parent)
    return content_hash([portable(recipe), [[p.split, p.found.fingerprint()] for p in parts], versions, code])


def note_path(corpora: Path, key: str) -> Path:
    """Where the corpus that came out of these inputs is noted."""
    return corpora / "by-input" / f"{key[:32]}.json"


def portable(recipe: CorpusRecipe) -> dict[str, Any]:
    """The recipe without machine paths: a folder is called by its last name, a tokenizer by its hash."""
    body: dict[str, Any] = recipe.model_dump(mode="json")
    if recipe.tokenizer:
        body["tokenizer"] = file_hash(_tokenizer_file(recipe))
    held = body["held_out"]
    for source in [*body["sources"], held["codebase"], held["development"]]:
        for key in ("path", "package", "dataset"):
            if source and "/" in source.get(key, "") and (key == "path" or Path(source[key]).expanduser().exists()):
                source[key] = Path(source[key]).name
    return body


def _tokenizer_file(recipe: CorpusRecipe) -> Path:
    path = Path(recipe.tokenizer).expanduser()
    if not path.is_file():
        raise GnomonError(f"corpus.tokenizer: {path}: no such file; give a tokenizer.json")
    return path


def finished(corpora: Path, note: Path, say: Say) -> Corpus | None:
    """The corpus that these inputs gave before, if it is still whole."""
    try:
        folder = corpora / read_json(note, SCHEMA_VERSION)["corpus"]
        size = sum(f.stat().st_size for f in folder.iterdir())
        corpus = Corpus.open(folder, verify=size <= VERIFIED_BYTES)
    except (GnomonError, KeyError, OSError) as error:
        if note.exists():
            say(f"the finished corpus is damaged ({error}); building it anew", 0.0)
        return None
    say("the corpus is there already", 1.0)
    return corpus


class Stages:
    """Passes on what is being done, and remembers when each stage began."""

    def __init__(self, say: Say) -> None:
        self._say, self._began = say, time.monotonic()
        self.starts: list[list[Any]] = []

    def __call__(self, stage: str, fraction: float) -> None:
        if not self.starts or self.starts[-1][1] != stage:
            self.starts.append([round(time.monotonic() - self._began, 2), stage])
        self._say(stage, fraction)

    def local(self) -> dict[str, Any]:
        """What of the building is true on this machine alone."""
        return {"seconds": round(time.monotonic() - self._began, 2), "stages_start_s": self.starts}


def finish(
    recipe: CorpusRecipe,
    parts: list[Part],
    skipped: dict[str, str],
    built: Built,
    folder: Path,
    corpora: Path,
    local: dict[str, Any],
) -> Path:
    """Write all that a corpus folder holds beside its tokens, and give it its name in corpora. Returns its place."""
    (folder / "tokenizer.json").write_text(built.tokenizer.to_json())
    np.save(folder / "token_bytes.npy", built.tokenizer.token_bytes())
    write_json(folder / "lost.json", {"sources": [_losses(r) for r in built.reports]}, SCHEMA_VERSION)
    held = {s: [e.name for e in built.entries if e.split == s and not e.dropped] for s in built.splits if s != "train"}
    write_json(folder / "held_out.json", {"documents": held}, SCHEMA_VERSION)
    manifest = make_manifest(recipe, parts, sorted(skipped), built, folder)
    manifest["hash"] = corpus_hash(manifest)
    write_marks(folder / MARKS_FILE, built.entries, [p.found.name for p in parts])
    manifest["local"] = {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **local,
        "skipped": skipped,
        "folders": [s.path for s in recipe.sources if isinstance(s, FolderSource)],
    }
    write_json(folder / "manifest.json", manifest, SCHEMA_VERSION)
    write_json(folder / "card.json", card.make_card(manifest), card.SCHEMA_VERSION)
    return _settle(folder, corpora / manifest["hash"][:16])


def _settle(folder: Path, final: Path) -> Path:
    """Give a whole corpus folder its name; a damaged one that has it is replaced."""
    for path in folder.iterdir():
        with path.open("rb") as f:
            os.fsync(f.fileno())
    folder.chmod(0o755)
    if final.exists():
        try:
            Corpus.open(final, verify=True)
            os.replace(folder / MARKS_FILE, final / MARKS_FILE)  # what an older gnomon did not write
            return final
        except (GnomonError, OSError, ValueError):
            shutil.rmtree(final)
    folder.rename(final)
    sync_folder(final.parent)
    return final


def _losses(report: pipeline.Report) -> dict[str, Any]:
    def listed(items: list[tuple[str, int, str]]) -> list[dict[str, Any]]:
        return [{"file": n, "bytes": size, "reason": why} for n, size, why in items[:LISTED]]

    return {
        "source": f"{report.kind} {report.name}",
        "files": report.files,
        "bytes": report.bytes,
        "lost_bytes": report.lost_bytes,
        "lost": listed(pipeline.totals(report.lost)),
        "passed_over": listed(report.passed_over),
    }


def make_manifest(
    recipe: CorpusRecipe, parts: list[Part], skipped: list[str], built: Built, folder: Path
) -> dict[str, Any]:
    """Everything that identifies the corpus; see shards.py for what its hash leaves out."""
    sources = []
    for i, (part, report) in enumerate(zip(parts, built.reports, strict=True)):
        kept = [e for e in built.entries if e.source == i and not e.dropped]
        sources.append(
            {
                "split": part.split,
                "kind": report.kind,
                "name": report.name,
                "version": report.version,
                "licence": report.licence,
                "files": report.files,
                "documents": len(kept),
                "bytes": sum(e.bytes for e in kept),
                "bytes_read": report.bytes,
                "lost_files": len(pipeline.totals(report.lost)),
                "lost_bytes": report.lost_bytes,
                "passed_over_files": len(report.passed_over),
            }
        )
    files = {
        name: {"file": name, "bytes": (folder / name).stat().st_size, "sha256": file_hash(folder / name)}
        for name in ("tokenizer.json", "token_bytes.npy", "lost.json", "held_out.json")
    }
    metric_set = "codebase" if "codebase" in built.splits else "documents"
    return {
        "recipe": portable(recipe),
        "sources": sources,
        "skipped": skipped,
        "splits": built.splits,
        "metric_set": metric_set,
        "held_out": {"rule": built.choice.rule, "words": built.choice.words + _metric_words(metric_set, built)},
        "drops": pipeline.drops(built.entries),
        "overlap": built.overlap,
        "tokenizer": {
            "vocab": built.tokenizer.vocab,
            "wished": built.wished_vocabulary,
            "sha256": files["tokenizer.json"]["sha256"],
        },
        "files": files,
        "notes": built.notes,
    }


def _metric_words(metric_set: str, built: Built) -> str:
    if metric_set == "codebase":
        return ""
    tokens = built.splits["documents"]["tokens"] if "documents" in built.splits else 0
    return f" No source is held out whole, so forecasts are scored on these documents ({tokens} tokens)."
