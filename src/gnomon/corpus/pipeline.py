"""The steps from sources to splits: read, limit, hold out, mark copies, train the tokenizer, write, measure overlap.

Nothing rewrites text. A document that leaves is marked with its reason, so every drop can be counted and explained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus import dedup, heldout
from gnomon.corpus.documents import Entry, Report, Spool
from gnomon.corpus.encode import Encoder
from gnomon.corpus.overlap import overlaps
from gnomon.corpus.shards import SPLITS, write_split
from gnomon.corpus.sources.source import Found
from gnomon.corpus.tokenizer import BYTES, Tokenizer, train_tokenizer
from gnomon.recipe.values import CorpusRecipe

SAMPLE_BYTES = 10_000_000  # of training text that the tokenizer is trained on
BYTES_A_TOKEN = 64  # a vocabulary has at most one entry for so many bytes of training text
LEAST_BYTES = 4096  # of training text; below it no model learns anything
EXAMPLES = 5
BEYOND = "beyond the limit"

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


def run(recipe: CorpusRecipe, parts: list[Part], folder: Path, say: Say) -> Built:
    """Build the splits of a corpus in folder. Raises GnomonError, one line, when the text will not do."""
    with Spool(folder / "spool.bin") as spool:
        reports = [read(i, part, spool, recipe.lost_bytes_allowed, say, len(parts)) for i, part in enumerate(parts)]
        limit(spool, parts, recipe)
        say("choosing what is held out", 0.2)
        choice = split(spool, parts, recipe)
        say("looking for copies", 0.22)
        mark_copies(spool, recipe, folder)
        train = spool.of_split("train")
        check_training(train)
        notes: list[str] = []
        if recipe.tokenizer:
            tokenizer = Tokenizer.open(Path(recipe.tokenizer).expanduser())
        else:
            say("training the tokenizer", 0.4)
            tokenizer = learn(spool, train, recipe.vocabulary, notes)
        splits = encode(spool, tokenizer, folder, say)
        say("comparing held-out text with training text", 0.9)
        overlap = compare(spool, train)
        entries = spool.entries
    (folder / "spool.bin").unlink()
    return Built(reports, entries, choice, tokenizer, recipe.vocabulary, splits, overlap, notes)


def read(index: int, part: Part, spool: Spool, lost_allowed: float, say: Say, parts: int) -> Report:
    """All documents of a source into the spool. Raises GnomonError when too much of it is lost or nothing is there."""
    found = part.found
    report = Report(found.kind, found.name, found.version, found.licence)
    expected = sum(f.bytes for f in found.files) or 1
    before, told = len(spool.entries), 0
    for document in found.documents(report):
        spool.add(index, document)
        if report.bytes - told > expected / 20:
            told = report.bytes
            say(f"reading {found.name}", 0.2 * (index + min(1.0, told / expected)) / parts)
    say(f"reading {found.name}", 0.2 * (index + 1) / parts)
    worst = sorted(totals(report.lost), key=lambda item: (-item[1], item[0]))[:3]
    named = "; ".join(f"{name} ({reason})" for name, _, reason in worst)
    if len(spool.entries) == before:
        why = named or "; ".join(f"{n} ({r})" for n, _, r in report.passed_over[:3]) or "it is empty"
        raise GnomonError(
            f"{found.label}: none of its {report.files} files gives text: {why}; give txt, md, html, "
            "jsonl, csv or code in UTF-8"
        )
    if report.lost_bytes > lost_allowed * report.bytes:
        raise GnomonError(
            f"{found.label}: {report.lost_bytes} of {report.bytes} bytes cannot be read, {lost_allowed:.0%} may be; "
            f"worst: {named}; mend or remove them, or raise corpus.lost_bytes_allowed"
        )
    return report


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
        if parts[entry.source].split != "train":
            entry.split = parts[entry.source].split
    choice = heldout.hold_out(spool, [e for e in spool.entries if e.split is None and not e.dropped], recipe.held_out)
    for entry in spool.entries:
        if entry.split is None:
            entry.split = "train"
    return choice


def mark_copies(spool: Spool, recipe: CorpusRecipe, folder: Path) -> None:
    """Mark exact and near copies; `of` of a mark is an index into spool.entries, which is put in order here."""
    rank = {name: i for i, name in enumerate(("documents", "codebase", "development", "train"))}
    spool.entries.sort(key=lambda e: (e.dropped is not None, rank[e.split or "train"], e.source, e.offset))
    alive = [e for e in spool.entries if not e.dropped]
    dedup.exact(alive)
    dedup.near(spool, alive, recipe.near_duplicate_threshold, folder)


def check_training(train: list[Entry]) -> None:
    size = sum(e.bytes for e in train)
    if size < LEAST_BYTES:
        raise GnomonError(
            f"corpus: {size} bytes of training text are left after holding out and taking out copies; at least "
            f"{LEAST_BYTES} are needed, give more text"
        )


def learn(spool: Spool, train: list[Entry], vocabulary: int, notes: list[str]) -> Tokenizer:
    """The tokenizer, trained on a sample of the training text that is drawn by hash."""
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
    groups = {name: spool.of_split(name) for name in SPLITS}
    total = sum(e.bytes for entries in groups.values() for e in entries)
    done, encoder = 0, Encoder(tokenizer)

    def texts(name: str, entries: list[Entry]) -> Iterator[str]:
        nonlocal done
        told = done
        for entry in entries:
            done += entry.bytes
            if done - told > total / 50:
                told = done
                say(f"writing tokens of {name}", 0.5 + 0.4 * done / total)
            yield spool.read(entry).decode()

    splits = {}
    for name, entries in groups.items():
        if entries:
            pieces = encoder.stream(texts(name, entries))
            splits[name] = write_split(folder / f"{name}.bin", pieces, tokenizer.vocab) | {
                "documents": len(entries),
                "bytes": sum(e.bytes for e in entries),
                "documents_sha256": hashlib.sha256("".join(e.sha for e in entries).encode()).hexdigest(),
            }
    return splits


def compare(spool: Spool, train: list[Entry]) -> dict[str, dict[str, Any]]:
    """The 13-gram overlap of every held-out split with training."""
    sets = {n: list(spool.texts(entries)) for n in SPLITS[1:] if (entries := spool.of_split(n))}
    found = overlaps(sets, spool.texts(train))
    return {n: {"grams": o.grams, "seen": o.seen, "share": round(o.share, 6)} for n, o in found.items()}


def drops(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Why documents are in no split: {reason: {"documents", "bytes", "examples": [{"document", "copy_of"}]}}."""
    alive = [e for e in entries if e.dropped != BEYOND]
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.dropped is None:
            continue
        mark = found.setdefault(entry.dropped, {"documents": 0, "bytes": 0, "examples": []})
        mark["documents"] += 1
        mark["bytes"] += entry.bytes
        if len(mark["examples"]) < EXAMPLES:
            original = {"copy_of": alive[entry.of].name} if entry.of is not None else {}
            mark["examples"].append({"document": entry.name} | original)
    return dict(sorted(found.items()))
