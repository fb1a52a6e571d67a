"""How much of a held-out text was seen in training: shared word 13-grams (arXiv:2005.14165, appendix C).

The held-out grams fit in memory; training text streams past them once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnomon.corpus.words import WordHasher, chunks

GRAM = 13
FILTER_BITS = 25  # a table of 2^25 bytes tells most foreign grams apart before the exact search


@dataclass(frozen=True)
class Overlap:
    """grams: 13-grams of the held-out texts, with repetition. seen: those that training holds. shares: seen / grams of
    each text (0 for a text of fewer than 13 words)."""

    grams: int
    seen: int
    shares: tuple[float, ...]

    @property
    def share(self) -> float:
        return self.seen / self.grams if self.grams else 0.0


def overlap(held_out: Sequence[str], train: Iterable[str], gram: int = GRAM) -> Overlap:
    """13-grams of evaluation text, given as strings, that occur in training text."""
    sets = {"": [text.encode() for text in held_out]}
    return overlaps(sets, (text.encode() for text in train), gram)[""]


def overlaps(held_out: Mapping[str, Sequence[bytes]], train: Iterable[bytes], gram: int = GRAM) -> dict[str, Overlap]:
    """overlap of several held-out sets at once, in one pass over training; texts are UTF-8 bytes."""
    hasher = WordHasher()
    parts = {name: _all_grams(hasher, texts, gram) for name, texts in held_out.items()}
    wanted = np.unique(np.concatenate([g for g, _ in parts.values()] or [np.zeros(0, dtype=np.uint64)]))
    seen = _seen(hasher, wanted, train, gram)
    result = {}
    for name, (grams, offsets) in parts.items():
        hit = seen[np.searchsorted(wanted, grams)] if len(grams) else np.zeros(0, dtype=bool)
        before = np.concatenate([[0], np.cumsum(hit)])
        counts = np.maximum(np.diff(offsets), 1)
        shares = (before[offsets[1:]] - before[offsets[:-1]]) / counts
        result[name] = Overlap(len(grams), int(hit.sum()), tuple(shares.tolist()))
    return result


def _all_grams(hasher: WordHasher, texts: Sequence[bytes], gram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for chunk in chunks(texts):
        grams, offsets = hasher.grams(chunk, gram)
        found.append(grams)
        counts.append(np.diff(offsets))
    return np.concatenate(found), np.concatenate([[0], np.cumsum(np.concatenate(counts))])


def _seen(hasher: WordHasher, wanted: NDArray[np.uint64], train: Iterable[bytes], gram: int) -> NDArray[np.bool_]:
    """Which of the sorted wanted grams occur in train: bool [len(wanted)]."""
    seen = np.zeros(len(wanted), dtype=bool)
    if not len(wanted):
        return seen
    mask = np.uint64((1 << FILTER_BITS) - 1)
    maybe = np.zeros(1 << FILTER_BITS, dtype=bool)
    maybe[wanted & mask] = True
    for chunk in chunks(train):
        grams, _ = hasher.grams(chunk, gram)
        grams = grams[maybe[grams & mask]]
        places = np.minimum(np.searchsorted(wanted, grams), len(wanted) - 1)
        seen[places[wanted[places] == grams]] = True
    return seen
