"""Before any text is searched for copies, the search has to find some that were put there: near copies of invented
documents, and held-out passages inside them. It runs through the very functions that the job uses, in a tenth of a
second, so a library that was changed or built wrongly is noticed before it lets copies through.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gnomon.common.errors import JobFailed
from gnomon.corpus import dedup
from gnomon.corpus.documents import Document, Entry, Spool
from gnomon.corpus.overlap import GRAM, HeldOut
from gnomon.corpus.words import WordHasher

ORIGINALS, WORDS, LEXICON = 48, 240, 5000
JACCARD = 0.9  # planted copies are at least so like their originals


@dataclass(frozen=True)
class Found:
    """planted: copies and passages. found: those that were. strangers: other documents that were marked."""

    planted: int
    found: int
    strangers: int


def require_search(threshold: float, folder: Path, seed: int = 0) -> None:
    """Raises JobFailed when the search for copies or for held-out text misses anything, or marks a stranger."""
    searches = {"held-out passages": passages(seed)}
    if threshold < 1:  # at 1 near copies are not looked for
        searches["near copies"] = near_copies(max(threshold, JACCARD), threshold, folder, seed)
    for what, found in searches.items():
        if found.found < found.planted or found.strangers:
            raise JobFailed(
                f"the search for {what} found {found.found} of {found.planted} planted ones and marked "
                f"{found.strangers} other documents on this machine; reinstall rensa and numpy, nothing was built"
            )


def near_copies(likeness: float, threshold: float, folder: Path, seed: int) -> Found:
    """Plant a copy of every document, at least `likeness` like it, and search at `threshold` (both Jaccard)."""
    rng, hasher = np.random.default_rng(seed), WordHasher()
    originals = [document(rng) for _ in range(ORIGINALS)]
    copies = [copy_of(rng, text, likeness, hasher) for text in originals]
    with tempfile.TemporaryDirectory(dir=folder) as place, Spool(Path(place) / "spool.bin") as spool:
        for i, text in enumerate((*originals, *copies)):
            spool.add(0, Document.of(text, str(i), "planted", "")).split = "train"
        dedup.near(spool, spool.entries, threshold, Path(place))
        marked = spool.entries
    found = sum(_found(entry, i) for i, entry in enumerate(marked[ORIGINALS:]))
    return Found(ORIGINALS, found, sum(e.dropped is not None for e in marked[:ORIGINALS]))


def _found(entry: Entry, original: int) -> bool:
    return entry.dropped == dedup.NEAR and entry.of == original


def passages(seed: int) -> Found:
    """Put 13 words of a held-out text into every other document, and search."""
    rng = np.random.default_rng(seed + 1)
    held = [document(rng) for _ in range(ORIGINALS // 2)]
    train = []
    for i in range(ORIGINALS):
        words = document(rng).split(" ")
        at = int(rng.integers(len(words)))
        secret = held[i // 2].split(" ")
        begin = int(rng.integers(len(secret) - GRAM))
        train.append(" ".join(words[:at] + (secret[begin : begin + GRAM] if i % 2 else []) + words[at:]))
    known = HeldOut({"held": [text.encode() for text in held]})
    hits = {hit.place: hit.held_out[1] for hit in known.hits((text.encode() for text in train), 1)}
    found = sum(hits.get(i) == i // 2 for i in range(1, ORIGINALS, 2))
    return Found(ORIGINALS // 2, found, sum(i % 2 == 0 for i in hits))


def document(rng: np.random.Generator, words: int = WORDS) -> str:
    """Words of an invented lexicon, a space between them."""
    return " ".join(f"w{i}" for i in rng.integers(0, LEXICON, words))


def copy_of(rng: np.random.Generator, text: str, likeness: float, hasher: WordHasher) -> str:
    """text with as many words replaced as leaves it at least `likeness` (Jaccard of word 5-grams) like text."""
    mine, copy = dedup.shingles(hasher, text.encode()), text
    words = text.split(" ")
    for place in rng.permutation(len(words)).tolist():
        words[place] = f"new{place}"
        changed = " ".join(words)
        if dedup.jaccard(mine, dedup.shingles(hasher, changed.encode())) < likeness:
            return copy
        copy = changed
    return copy
