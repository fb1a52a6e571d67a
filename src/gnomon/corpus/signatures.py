"""MinHash signatures of documents, made in parts and kept in files (Broder 1997; arXiv:2107.06499).

A document's signature holds the smallest of its word 5-gram hashes under 128 permutations (`rensa`); the chance that
two documents agree in one place is the Jaccard similarity of their 5-grams. Runs of places, the bands, become keys:
documents that share a key are compared. A part is a run of documents in the order in which they are kept, made in one
thread, one process or on one machine; parts are read as one.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.corpus.rows import mix
from gnomon.corpus.words import WordHasher, chunks

SHINGLE = 5
HASHES = 128
SEED = 42
BLOCK = 1 << 18  # keys read at once
MISSED = 0.01  # chance that a pair exactly at the threshold is in no band together


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the most rows for which a pair at the threshold is still found with 99 %."""
    for rows in range(HASHES, 0, -1):
        count = HASHES // rows
        if (1 - threshold**rows) ** count <= MISSED:
            return count, rows
    return HASHES, 1


def sign(hasher: WordHasher, texts: Sequence[bytes]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """(signatures uint32 [len(texts), HASHES], which texts hold any words bool [len(texts)])."""
    grams, offsets = hasher.grams(texts, SHINGLE, whole=True)
    if not len(grams):
        return np.zeros((len(texts), HASHES), dtype=np.uint32), np.zeros(len(texts), dtype=bool)
    matrix = _library().RMinHash.digest_matrix_from_flat_token_hashes(grams, offsets.astype(np.uint64), HASHES, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32), np.diff(offsets) > 0


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


@dataclass(frozen=True)
class Part:
    """Signatures of a run of documents on disk, row by row, and their band keys, band by band. Document `first` of the
    whole is its first. Key 0 stands for a document without words."""

    folder: Path
    name: str
    first: int
    count: int
    bands: int

    @property
    def signatures_path(self) -> Path:
        return self.folder / f"signatures-{self.name}.bin"

    @property
    def keys_path(self) -> Path:
        return self.folder / f"keys-{self.name}.bin"

    def remove(self) -> None:
        self.signatures_path.unlink(missing_ok=True)
        self.keys_path.unlink(missing_ok=True)


def write_part(part: Part, texts: Iterable[bytes], threshold: float, threads: int = 1) -> None:
    """Sign texts (part.count of them) and write both files. The bytes do not depend on threads."""
    shape, hasher = bands(threshold), WordHasher()

    def work(chunk: list[bytes]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        signatures, counted = sign(hasher, chunk)
        keys = band_keys(signatures, shape) | np.uint64(1)
        return signatures, np.where(counted[:, None], keys, np.uint64(0))

    at, width = 0, 8 * part.count
    with (
        part.signatures_path.open("wb") as rows,
        part.keys_path.open("wb") as columns,
        ThreadPoolExecutor(threads) as pool,
    ):
        columns.truncate(width * part.bands)
        pending = chunks(texts)
        while several := list(islice(pending, 2 * threads)):
            for signatures, keys in pool.map(work, several):
                rows.write(signatures.tobytes())
                for band in range(part.bands):
                    columns.seek(width * band + 8 * at)
                    columns.write(np.ascontiguousarray(keys[:, band]).tobytes())
                at += len(keys)


class Signatures:
    """Parts that follow each other, read as one. A context: it holds files open."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = sorted((p for p in parts if p.count), key=lambda p: p.first)
        self.count = sum(p.count for p in self.parts)
        self.bands = self.parts[0].bands if self.parts else 0
        self._firsts = [p.first for p in self.parts]
        self._rows = [p.signatures_path.open("rb", buffering=0) for p in self.parts]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._rows:
            file.close()

    def alike(self, place: int, others: Sequence[int]) -> NDArray[np.float64]:
        """Estimated Jaccard similarity of a document with each of others: float64 [len(others)]."""
        rows = np.frombuffer(b"".join(map(self._row, (place, *others))), np.uint32).reshape(-1, HASHES)
        found: NDArray[np.float64] = (rows[1:] == rows[0]).mean(axis=1)
        return found

    def _row(self, place: int) -> bytes:
        part = bisect.bisect_right(self._firsts, place) - 1
        return os.pread(self._rows[part].fileno(), 4 * HASHES, 4 * HASHES * (place - self._firsts[part]))

    def band(self, band: int, share: int = 0, shares: int = 1) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """(keys, places) of one band, of the documents whose key falls into one of `shares` equal ranges of keys."""
        low, high = (share << 64) // shares, ((share + 1) << 64) // shares - 1
        keys, places = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
        for part in self.parts:
            with part.keys_path.open("rb") as file:
                for first in range(0, part.count, BLOCK):
                    file.seek(8 * (part.count * band + first))
                    found = np.frombuffer(file.read(8 * min(BLOCK, part.count - first)), dtype=np.uint64)
                    here = np.flatnonzero((found >= np.uint64(low)) & (found <= np.uint64(high)) & (found > 0))
                    keys.append(found[here])
                    places.append(here + part.first + first)
        return np.concatenate(keys), np.concatenate(places)
