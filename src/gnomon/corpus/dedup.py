"""Copies: exact ones by a hash of the text with white space folded, near ones by the shingles they share.

A near copy shares at least `threshold` of its word 5-grams (Jaccard) with a document that is kept. Candidates come from
MinHash signatures (`rensa`) in bands (Broder 1997; arXiv:2107.06499); every candidate is then compared exactly, so
nothing is dropped by an estimate. Held-out documents come first: training documents that copy them leave, never the
reverse. Signatures lie in a file and are mapped, so memory holds 8 bytes a band and document, not the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Entry, Spool
from gnomon.corpus.rows import mix
from gnomon.corpus.words import WordHasher, chunks

SHINGLE = 5
HASHES = 128
SEED = 42
MISSED = 0.01  # chance that a pair exactly at the threshold is in no band together
SLACK = 0.2  # an estimate this far below the threshold (4.5 standard errors) is not compared exactly
EXACT, NEAR = "exact copy", "near copy"


def exact(entries: list[Entry]) -> None:
    """Mark every entry whose folded text an earlier one has. Entries come in the order in which they are kept."""
    first: dict[bytes, int] = {}
    for i, entry in enumerate(entries):
        if entry.key in first:
            entry.dropped, entry.of = _reason(EXACT, entries[first[entry.key]], entry), first[entry.key]
        else:
            first[entry.key] = i


def _reason(what: str, kept: Entry, entry: Entry) -> str:
    """A copy of held-out text is named as such; held-out text itself is only ever a copy of its own kind."""
    return f"{what} of held-out text" if kept.split != "train" and entry.split == "train" else what


def near(spool: Spool, entries: list[Entry], threshold: float, folder: Path) -> None:
    """Mark training entries that are near copies of an earlier entry that is kept; held-out entries come first.

    threshold: Jaccard similarity of word 5-gram sets from which on two documents are copies; 1 marks nothing.
    folder: where the signatures are kept for the time of the call.
    """
    alive = [i for i, e in enumerate(entries) if not e.dropped]
    if threshold >= 1 or len(alive) < 2:
        return
    path = folder / "signatures.bin"
    signatures = np.memmap(path, dtype=np.uint32, mode="w+", shape=(len(alive), HASHES))
    search = _Search(spool, [entries[i] for i in alive], signatures, threshold, WordHasher())
    for place, original in search.copies().items():
        entry, kept = entries[alive[place]], entries[alive[original]]
        entry.dropped, entry.of = _reason(NEAR, kept, entry), alive[original]
    del signatures, search
    path.unlink()


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the most rows for which a pair at the threshold is still found with 99 %."""
    for rows in range(HASHES, 0, -1):
        count = HASHES // rows
        if (1 - threshold**rows) ** count <= MISSED:
            return count, rows
    return HASHES, 1


@dataclass
class _Search:
    """entries: those still alive, in the order in which they are kept. signatures: uint32 [entries, HASHES]."""

    spool: Spool
    entries: list[Entry]
    signatures: NDArray[np.uint32]
    threshold: float
    hasher: WordHasher

    def copies(self) -> dict[int, int]:
        """Which training entry is a near copy of which kept one, by place in entries."""
        counted = self._sign()
        keys = band_keys(self.signatures, bands(self.threshold))
        shared = shared_keys(keys) & counted[:, None]
        kept: list[dict[int, list[int]]] = [{} for _ in range(keys.shape[1])]
        found: dict[int, int] = {}
        for place in np.flatnonzero(shared.any(axis=1)).tolist():
            mine = [(kept[b], int(keys[place, b])) for b in np.flatnonzero(shared[place])]
            if self.entries[place].split == "train":
                candidates = sorted({c for bucket, key in mine for c in bucket.get(key, ())})
                original = self._copy_of(place, np.array(candidates, dtype=np.int64))
                if original is not None:
                    found[place] = original
                    continue
            for bucket, key in mine:
                bucket.setdefault(key, []).append(place)
        return found

    def _sign(self) -> NDArray[np.bool_]:
        """Fill the signatures; returns which entries hold any words."""
        library = _library()
        counted = np.zeros(len(self.entries), dtype=bool)
        at = 0
        for chunk in chunks(self.spool.texts(self.entries)):
            grams, offsets = self.hasher.grams(chunk, SHINGLE, whole=True)
            if len(grams):
                matrix = library.RMinHash.digest_matrix_from_flat_token_hashes(
                    grams, offsets.astype(np.uint64), HASHES, SEED
                )
                self.signatures[at : at + len(chunk)] = np.array(matrix.to_rows(), dtype=np.uint32)
            counted[at : at + len(chunk)] = np.diff(offsets) > 0
            at += len(chunk)
        return counted

    def _copy_of(self, place: int, candidates: NDArray[np.int64]) -> int | None:
        """The first candidate of which the entry is a near copy, by the exact share of their shingles."""
        if not len(candidates):
            return None
        estimates = (self.signatures[candidates] == self.signatures[place]).mean(axis=1)
        likely = candidates[estimates >= self.threshold - SLACK].tolist()
        mine = self._shingles(place) if likely else None
        for candidate in likely:
            if mine is not None and jaccard(mine, self._shingles(candidate)) >= self.threshold:
                return candidate
        return None

    def _shingles(self, place: int) -> NDArray[np.uint64]:
        return shingles(self.hasher, self.spool.read(self.entries[place]))


def _library() -> Any:
    try:
        import rensa
    except ImportError:
        raise GnomonError(
            "rensa is not installed, so near copies cannot be found; pip install 'gnomon[train]' or set "
            "corpus.near_duplicate_threshold=1"
        ) from None
    return rensa


def band_keys(signatures: NDArray[np.uint32], shape: tuple[int, int]) -> NDArray[np.uint64]:
    """One number a band: uint64 [documents, bands]; equal where all hashes of the band are."""
    count, rows = shape
    keys = np.zeros((len(signatures), count), dtype=np.uint64)
    for row in range(rows):
        keys = mix(keys + signatures[:, row : count * rows : rows].astype(np.uint64) + np.uint64(1))
    return keys


def shared_keys(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Where a document's band key is some other document's too: bool [documents, bands]."""
    shared = np.zeros(keys.shape, dtype=bool)
    for b in range(keys.shape[1]):
        _, inverse, counts = np.unique(keys[:, b], return_inverse=True, return_counts=True)
        shared[:, b] = counts[inverse] > 1
    return shared


def shingles(hasher: WordHasher, text: bytes) -> NDArray[np.uint64]:
    """The set of a document's word 5-grams, sorted; a shorter document is one shingle."""
    return np.unique(hasher.grams([text], SHINGLE, whole=True)[0])


def jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Size of the intersection over size of the union of two sorted sets; 0 when both are empty."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - common
    return common / union if union else 0.0
