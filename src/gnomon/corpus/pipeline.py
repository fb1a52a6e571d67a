"""The steps from sources to splits: read and judge, limit, hold out, mark copies and held-out text, train the
tokenizer, write, measure overlap.

Nothing rewrites text. A document that leaves is marked with its reason, so every drop can be counted and explained.
Each step is a function of values and of a share of the documents; `run` takes them one after the other in one process,
scale.py as tasks of a cluster. What comes out is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.corpus import dedup, heldout
from gnomon.corpus import quality as rules
from gnomon.corpus.documents import Entry, Report, Spool
from gnomon.corpus.encode import Encoder
from gnomon.corpus.overlap import HeldOut
from gnomon.corpus.planted import require_search
from gnomon.corpus.shards import SPLITS, write_split
from gnomon.corpus.sources.source import Found
from gnomon.corpus.tokenizer import BYTES, Tokenizer, train_tokenizer
from gnomon.recipe.values import CorpusRecipe, Quality

SAMPLE_BYTES = 10_000_000  # of training text that the tokenizer is trained on
BYTES_A_TOKEN = 64  # a vocabulary has at most one entry for so many bytes of training text
LEAST_BYTES = 4096  # of training text; below it no model learns anything
EXAMPLES = 5
BEYOND = "beyond the limit"
HOLDS_HELD_OUT = "holds held-out text"

Say = Callable[[str, float], None]


@dataclass(frozen=True)
class Part:
    """A source that was found and the split its documents belong to ("train" or a split of its own)."""

    split: str
    found: Found
    limit_bytes: float | None


@dataclass
class Built:
    """What the steps leave behind for the manifest."""

    reports: list[Report]
    entries: list[Entry]
    choice: heldout.Choice
    tokenizer: Tokenizer
    wished_vocabulary: int
    splits: dict[str, dict[str, Any]]
    overlap: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def run(
    recipe: CorpusRecipe,
    parts: list[Part],
    folder: Path,
    say: Say,
    memory_bytes: int = dedup.MEMORY_BYTES,
    threads: int = 1,
) -> Built:
    """Build the splits of a corpus in folder. Raises GnomonError, one line, when the text will not do.

    memory_bytes: that the search for near copies may hold. threads: that work side by side; neither changes a byte.
    """
    with Spool(folder / "spool.bin") as spool:
        reports = [read(i, part, spool, recipe, say, len(parts)) for i, part in enumerate(parts)]
        choice = choose(spool, parts, recipe, say)
        say("looking for copies", 0.22)
        require_search(recipe.near_duplicate_threshold, folder)
        dedup.near(spool, spool.entries, recipe.near_duplicate_threshold, folder, memory_bytes, threads)
        if recipe.contamination_grams:
            say("looking for held-out text", 0.35)
            mark_held_out_text(spool, held_out_text(spool, spool.entries, recipe))
        notes: list[str] = []
        tokenizer = learn(spool, recipe, notes, say)
        splits = encode(spool, tokenizer, folder, say)
        say("comparing held-out text with training text", 0.9)
        known = HeldOut(held_out_sets(spool))
        overlap = shown(known, known.seen(spool.texts(spool.of_split("train"))))
        explain_exact(spool)
        entries = spool.entries
    (folder / "spool.bin").unlink()
    return Built(reports, entries, choice, tokenizer, recipe.vocabulary, splits, overlap, notes)


def alive(entries: list[Entry]) -> list[Entry]:
    """Those that were not dropped."""
    return [entry for entry in entries if not entry.dropped]


def read(index: int, part: Part, spool: Spool, recipe: CorpusRecipe, say: Say, parts: int) -> Report:
    """All documents of a source into the spool. Raises GnomonError when too much of it is lost or nothing is there."""
    found = part.found
    expected = sum(f.bytes for f in found.files) or 1

    def tell(done: float) -> None:
        say(f"reading {found.name}", 0.2 * (index + done) / parts)

    before = len(spool.entries)
    report = collect(index, part, spool, recipe, lambda size: tell(min(1.0, size / expected)))
    tell(1.0)
    check_report(part, report, len(spool.entries) - before, recipe)
    return report


def collect(
    index: int, part: Part, spool: Spool, recipe: CorpusRecipe, progress: Callable[[int], None] = lambda size: None
) -> Report:
    """All documents of a source, or of a share of its files, into the spool; poor ones are marked.

    progress: told the bytes that were read, now and then.
    """
    found = part.found
    report = Report(found.kind, found.name, found.version, found.licence)
    step, told = (sum(f.bytes for f in found.files) or 1) / 20, 0
    judged = part.split == "train" and recipe.quality != Quality()
    for document in found.documents(report):
        entry = spool.add(index, document)
        poor = rules.judge(document.text, recipe.quality) if judged else None
        if poor is not None:
            entry.dropped, entry.detail = poor
        if report.bytes - told > step:
            told = report.bytes
            progress(told)
    return report


def check_report(part: Part, report: Report, documents: int, recipe: CorpusRecipe) -> None:
    """Raises GnomonError when too much of a source is lost or it gave no documents."""
    worst = sorted(totals(report.lost), key=lambda item: (-item[1], item[0]))[:3]
    named = "; ".join(f"{name} ({reason})" for name, _, reason in worst)
    lost_allowed = recipe.lost_bytes_allowed
    if not documents:
        why = named or "; ".join(f"{n} ({r})" for n, _, r in report.passed_over[:3]) or "it is empty"
        raise GnomonError(
            f"{part.found.label}: none of its {report.files} files gives text: {why}; give txt, md, html, "
            "jsonl, csv or code in UTF-8"
        )
    if report.lost_bytes > lost_allowed * report.bytes:
        raise GnomonError(
            f"{part.found.label}: {report.lost_bytes} of {report.bytes} bytes cannot be read, {lost_allowed:.0%} may "
            f"be; worst: {named}; mend or remove them, or raise corpus.lost_bytes_allowed"
        )


def choose(spool: Spool, parts: list[Part], recipe: CorpusRecipe, say: Say) -> heldout.Choice:
    """Limits, splits and exact copies; spool.entries come out in the order in which documents are kept."""
    limit(spool, parts, recipe)
    say("choosing what is held out", 0.2)
    choice = split(spool, parts, recipe)
    rank = {name: i for i, name in enumerate(("documents", "codebase", "development", "train"))}
    spool.entries.sort(key=lambda e: (e.dropped is not None, rank[e.split or "train"], e.source, e.offset))
    dedup.exact(alive(spool.entries))
    return choice


def totals(lost: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    """(name, bytes, reason) with one line a file; further reasons of the same file are counted."""
    found: dict[str, tuple[int, str, int]] = {}
    for name, size, reason in lost:
        before, first, count = found.get(name, (0, reason, 0))
        found[name] = (before + size, first, count + 1)
    return [(n, size, why if count == 1 else f"{why} and {count - 1} more") for n, (size, why, count) in found.items()]


def limit(spool: Spool, parts: list[Part], recipe: CorpusRecipe) -> None:
    """Mark what goes beyond the limits: of each source, then of all training text, each source keeping its share.

    Which documents stay is decided by a hash of their text, so a limit samples every part of a source.
    """
    by_source: dict[int, list[Entry]] = {i: [] for i in range(len(parts))}
    for entry in spool.entries:
        by_source[entry.source].append(entry)
    for i, part in enumerate(parts):
        if part.limit_bytes is not None:
            keep_within(spool, by_source[i], part.limit_bytes)
    if recipe.limit_mb is None:
        return
    training = [i for i, part in enumerate(parts) if part.split == "train"]
    sizes = {i: sum(e.bytes for e in by_source[i] if not e.dropped) for i in training}
    share = recipe.limit_mb * 1e6 / max(1, sum(sizes.values()))
    if share < 1:
        for i in training:
            keep_within(spool, by_source[i], share * sizes[i])


def keep_within(spool: Spool, entries: list[Entry], limit_bytes: float) -> None:
    """Mark entries so that the rest is at most limit_bytes; of a lone text that is too long the beginning stays."""
    alive = sorted((e for e in entries if not e.dropped), key=lambda e: e.order)
    held = 0.0
    for entry in alive:
        if held + entry.bytes > limit_bytes:
            entry.dropped = BEYOND
            entry.detail = f"documents with a smaller hash fill the {limit_bytes / 1e6:.1f} MB that may be kept"
        else:
            held += entry.bytes
    if alive and not held:
        at = heldout.line_start(spool.read(alive[0]), int(limit_bytes))
        if 0 < at < alive[0].bytes:
            spool.cut(alive[0], at).dropped = BEYOND
            alive[0].dropped = None


def split(spool: Spool, parts: list[Part], recipe: CorpusRecipe) -> heldout.Choice:
    """Give every document its split; held-out documents are chosen before any copies are taken out."""
    for entry in spool.entries:
        if parts[entry.source].split != "train" or not parts[entry.source].found.held_out:
            entry.split = parts[entry.source].split
    choice = heldout.hold_out(spool, [e for e in spool.entries if e.split is None and not e.dropped], recipe.held_out)
    for entry in spool.entries:
        if entry.split is None:
            entry.split = "train"
    return choice


def held_out_sets(spool: Spool) -> dict[str, list[bytes]]:
    """The texts of every held-out split."""
    return {n: list(spool.texts(entries)) for n in SPLITS[1:] if (entries := spool.of_split(n))}


def held_out_text(spool: Spool, entries: Sequence[Entry], recipe: CorpusRecipe) -> Iterator[tuple[Entry, str]]:
    """Those of entries, training documents, that hold as many held-out 13-grams as make them leave, and the mark."""
    known = HeldOut(held_out_sets(spool))
    names = {n: spool.of_split(n) for n in SPLITS[1:]}
    train = [e for e in entries if e.split == "train" and not e.dropped]
    for hit in known.hits(spool.texts(train), recipe.contamination_grams):
        owner = names[hit.held_out[0]][hit.held_out[1]].name
        yield train[hit.place], f"{hit.grams} runs of 13 words are held out, first in {owner}: {hit.quote!r}"


def mark_held_out_text(spool: Spool, found: Iterable[tuple[Entry, str]]) -> None:
    """Mark the training documents that hold held-out text."""
    for entry, detail in list(found):
        entry.dropped, entry.detail = HOLDS_HELD_OUT, detail


def explain_exact(spool: Spool) -> None:
    """The beginning of every exact copy goes into its mark; all other marks have their text already."""
    for entry in spool.entries:
        if entry.dropped and entry.dropped.startswith(dedup.EXACT):
            beginning = spool.read(replace(entry, bytes=min(entry.bytes, dedup.QUOTED)))
            entry.detail = f"the same words, which begin: {beginning.decode(errors='ignore')!r}"


def check_training(train: list[Entry]) -> None:
    size = sum(e.bytes for e in train)
    if size < LEAST_BYTES:
        raise GnomonError(
            f"corpus: {size} bytes of training text are left after holding out and taking out copies; at least "
            f"{LEAST_BYTES} are needed, give more text"
        )


def learn(spool: Spool, recipe: CorpusRecipe, notes: list[str], say: Say) -> Tokenizer:
    """The tokenizer that the recipe names, or one trained on a sample of the training text that is drawn by hash.

    Raises GnomonError when too little training text is left.
    """
    train = spool.of_split("train")
    check_training(train)
    if recipe.tokenizer:
        return Tokenizer.open(Path(recipe.tokenizer).expanduser())
    say("training the tokenizer", 0.4)
    vocabulary = recipe.vocabulary
    total = sum(e.bytes for e in train)
    wished = min(vocabulary, max(BYTES + 4, total // BYTES_A_TOKEN))
    sample: list[Entry] = []
    held = 0
    for entry in sorted(train, key=lambda e: e.order):
        if not sample or held + entry.bytes <= SAMPLE_BYTES:
            sample.append(entry)
            held += entry.bytes
    tokenizer = train_tokenizer((spool.read(e)[:SAMPLE_BYTES].decode(errors="ignore") for e in sample), wished)
    if tokenizer.vocab < vocabulary:
        notes.append(
            f"The vocabulary is {tokenizer.vocab} instead of the {vocabulary} wished for: {total} bytes of training "
            "text hold too few pairs that repeat to teach more."
        )
    return tokenizer


def encode(spool: Spool, tokenizer: Tokenizer, folder: Path, say: Say) -> dict[str, dict[str, Any]]:
    """Write every split's tokens; returns the manifest's entries of the splits."""
    groups = {name: entries for name in SPLITS if (entries := spool.of_split(name))}
    total = sum(e.bytes for entries in groups.values() for e in entries)
    done, encoder = 0, Encoder(tokenizer)
    splits = {}
    for name, entries in groups.items():

        def tell(size: int, name: str = name, before: int = done) -> None:
            say(f"writing tokens of {name}", 0.5 + 0.4 * (before + size) / total)

        pieces = encoder.stream(decoded(spool, entries, tell, total // 50))
        splits[name] = write_split(folder / f"{name}.bin", pieces, tokenizer.vocab) | facts(entries)
        done += splits[name]["bytes"]
    return splits


def decoded(spool: Spool, entries: Sequence[Entry], progress: Callable[[int], None], step: int) -> Iterator[str]:
    """The texts of entries. progress: told the bytes so far, each time that step more are done."""
    done = told = 0
    for entry in entries:
        done += entry.bytes
        if done - told > step:
            told = done
            progress(done)
        yield spool.read(entry).decode()


def facts(entries: Sequence[Entry]) -> dict[str, Any]:
    """What the manifest says of a split's documents."""
    return {
        "documents": len(entries),
        "bytes": sum(e.bytes for e in entries),
        "documents_sha256": hashlib.sha256("".join(e.sha for e in entries).encode()).hexdigest(),
    }


def shown(known: HeldOut, seen: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    """The 13-gram overlap of every held-out split with training. seen: which of the known grams training holds."""
    found = known.overlaps(seen)
    return {n: {"grams": o.grams, "seen": o.seen, "share": round(o.share, 6)} for n, o in found.items()}


def drops(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Why documents are in no split: {reason: {"documents", "bytes", "examples": [{"document", "copy_of"}]}}."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.dropped is None:
            continue
        mark = found.setdefault(entry.dropped, {"documents": 0, "bytes": 0, "examples": []})
        mark["documents"] += 1
        mark["bytes"] += entry.bytes
        if len(mark["examples"]) < EXAMPLES:
            original = {"copy_of": entries[entry.of].name} if entry.of is not None else {}
            mark["examples"].append({"document": entry.name} | original)
    return dict(sorted(found.items()))
