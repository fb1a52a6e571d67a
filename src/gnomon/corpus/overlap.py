"""How much of a held-out text was seen in training: shared word 13-grams (arXiv:2005.14165, appendix C).

The held-out grams fit in memory; training text streams past them once. The same grams say which training documents
hold held-out text, so that they can be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnomon.corpus.dedup import common_text
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
    known = HeldOut(held_out, gram)
    return known.overlaps(known.seen(train))


@dataclass(frozen=True)
class Hit:
    """A training text that holds held-out text. place: in the texts given. grams: of the text that are held out.
    quote: the longest of it. held_out: (set, place in it) of the text where the quote's beginning stands."""

    place: int
    grams: int
    quote: str
    held_out: tuple[str, int]


class HeldOut:
    """The grams of held-out sets. Training text may be searched in parts; what each has seen is joined by or."""

    def __init__(self, sets: Mapping[str, Sequence[bytes]], gram: int = GRAM) -> None:
        self.gram, self._hasher = gram, WordHasher()
        self._parts = {name: _all_grams(self._hasher, texts, gram) for name, texts in sets.items()}
        every = np.concatenate([g for g, _ in self._parts.values()] or [np.zeros(0, dtype=np.uint64)])
        self.wanted = np.unique(every)
        self._mask = np.uint64((1 << FILTER_BITS) - 1)
        self._maybe = np.zeros(1 << FILTER_BITS, dtype=bool)
        self._maybe[self.wanted & self._mask] = True

    def _found(self, grams: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(which of grams are held out, where each stands among the wanted)."""
        if not len(self.wanted):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        likely = np.flatnonzero(self._maybe[grams & self._mask])
        places = np.minimum(np.searchsorted(self.wanted, grams[likely]), len(self.wanted) - 1)
        sure = self.wanted[places] == grams[likely]
        return likely[sure], places[sure]

    def seen(self, train: Iterable[bytes]) -> NDArray[np.bool_]:
        """Which of the wanted grams occur in train: bool [len(wanted)]."""
        seen = np.zeros(len(self.wanted), dtype=bool)
        for chunk in chunks(train) if len(seen) else ():
            grams, _ = self._hasher.grams(chunk, self.gram)
            seen[self._found(grams)[1]] = True
        return seen

    def overlaps(self, seen: NDArray[np.bool_]) -> dict[str, Overlap]:
        """The overlap of every set, from which grams were seen."""
        result = {}
        for name, (grams, offsets) in self._parts.items():
            hit = seen[np.searchsorted(self.wanted, grams)] if len(grams) else np.zeros(0, dtype=bool)
            before = np.concatenate([[0], np.cumsum(hit)])
            counts = np.maximum(np.diff(offsets), 1)
            shares = (before[offsets[1:]] - before[offsets[:-1]]) / counts
            result[name] = Overlap(len(grams), int(hit.sum()), tuple(shares.tolist()))
        return result

    def hits(self, train: Iterable[bytes], least: int) -> Iterator[Hit]:
        """The texts of train that hold at least so many held-out grams."""
        at = 0
        for chunk in chunks(train):
            grams, offsets = self._hasher.grams(chunk, self.gram)
            which, _ = self._found(grams)
            counts = np.diff(np.searchsorted(which, offsets))
            for i in np.flatnonzero(counts >= least).tolist():
                first = grams[which[np.searchsorted(which, offsets[i])]]
                quote = common_text(self._hasher, chunk[i], self.wanted, self.gram)
                yield Hit(at + i, int(counts[i]), quote, self._owner(first))
            at += len(chunk)

    def _owner(self, gram: np.uint64) -> tuple[str, int]:
        """The first held-out text that has a gram."""
        for name, (grams, offsets) in self._parts.items():
            places = np.flatnonzero(grams == gram)
            if len(places):
                return name, int(np.searchsorted(offsets, places[0], side="right")) - 1
        raise KeyError(gram)


def _all_grams(hasher: WordHasher, texts: Sequence[bytes], gram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for chunk in chunks(texts):
        grams, offsets = hasher.grams(chunk, gram)
        found.append(grams)
        counts.append(np.diff(offsets))
    return np.concatenate(found), np.concatenate([[0], np.cumsum(np.concatenate(counts))])
