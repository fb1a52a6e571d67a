"""Words and word n-grams as 64-bit numbers, for whole megabytes at once.

A word is a run of ASCII letters, digits, `_` and bytes above 127, letters folded to lower case; all else separates.
Writing without spaces (Chinese, Japanese, Korean) counts one word a character. Hashing texts to numbers lets the
duplicate search and the 13-gram check share one pass of numpy instead of walking strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gnomon.corpus.rows import mix

CHUNK_BYTES = 1 << 20
BASE = 0x9E3779B97F4A7C15  # odd: its powers do not die out modulo 2^64, and it has an inverse


def _values() -> NDArray[np.uint64]:
    """What each byte adds to its word: 0 separates, capital letters count as small ones."""
    values = np.zeros(256, dtype=np.uint64)
    for byte in range(256):
        character = chr(byte).lower() if byte < 128 else chr(byte)
        if byte > 127 or character.isalnum() or character == "_":
            values[byte] = ord(character) + 1
    return values


def _powers(count: int, of: int) -> NDArray[np.uint64]:
    """of^0 … of^(count-1) modulo 2^64."""
    base = np.full(count, of, dtype=np.uint64)
    base[0] = 1
    return np.cumprod(base, dtype=np.uint64)


class WordHasher:
    """Turns bytes into word hashes; holds the two small tables it needs."""

    def __init__(self) -> None:
        self._values = _values()
        self._inside = self._values > 0
        self._powers, self._inverses = (np.zeros(0, dtype=np.uint64),) * 2

    def words(self, data: bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """(hash of each word uint64 [n], byte at which it starts int64 [n])."""
        raw = np.frombuffer(data, dtype=np.uint8)
        inside = self._inside[raw]
        begins = inside.copy()
        begins[1:] &= ~inside[:-1]
        ideograph = (raw >= 0xE3) & (raw <= 0xED)  # the first byte of kana, CJK ideographs and Hangul in UTF-8
        if ideograph.any():
            begins |= ideograph
            begins[3:] |= inside[3:] & ideograph[:-3]
        starts = np.flatnonzero(begins)
        if not starts.size:
            return np.zeros(0, dtype=np.uint64), starts
        # Sums of value * BASE^place over the whole text; a word's is the difference of two, moved back to its start.
        powers, inverses = self._tables(len(raw))
        sums = self._values[raw]
        np.multiply(sums, powers, out=sums)  # in place: fresh pages cost more than the arithmetic
        np.cumsum(sums, out=sums)
        before = np.where(starts > 0, sums[starts - 1], np.uint64(0))
        until = np.append(before[1:], sums[-1:])  # what separates words adds nothing
        return mix((until - before) * inverses[starts]), starts

    def _tables(self, size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Powers of BASE and of its inverse modulo 2^64, at least `size` of each."""
        if size > len(self._powers):
            count = 1 << (size - 1).bit_length()
            self._inverses = _powers(count, pow(BASE, -1, 1 << 64))  # first: another thread looks at the powers
            self._powers = _powers(count, BASE)
        return self._powers[:size], self._inverses

    def grams(
        self, texts: Sequence[bytes], n: int, whole: bool = False
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes of the word n-grams of texts, none across two texts: (uint64 [m], offsets int64 [len(texts) + 1]).

        The grams of text i are grams[offsets[i]:offsets[i + 1]]. whole: a text of 1 … n-1 words counts as one gram.
        """
        data = b"\n".join(texts)
        hashes, starts = self.words(data)
        ends = np.cumsum([len(t) + 1 for t in texts], dtype=np.int64)
        first = np.concatenate([[0], np.searchsorted(starts, ends)])  # the first word of each text
        counts = np.diff(first)
        text_of = np.repeat(np.arange(len(texts)), counts)
        grams = gram_hashes(hashes, n)
        inside = text_of[: len(grams)] == text_of[n - 1 :] if len(grams) else np.zeros(0, dtype=bool)
        found = np.maximum(counts - n + 1, 0)
        if not whole:
            return grams[inside], np.concatenate([[0], np.cumsum(found)])
        short = np.flatnonzero((counts > 0) & (counts < n))
        extra = np.array(
            [gram_hashes(hashes[first[i] : first[i + 1]], int(counts[i]))[0] for i in short], dtype=np.uint64
        )
        at = np.concatenate([[0], np.cumsum(found)])[short]
        found[short] = 1
        return np.insert(grams[inside], at, extra), np.concatenate([[0], np.cumsum(found)])


def gram_hashes(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Hash of every run of n words: uint64 [max(0, len(words) - n + 1)]; the order of the words matters."""
    count = len(words) - n + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    powers = _powers(n + 1, BASE)[1:]
    total = np.zeros(count, dtype=np.uint64)
    for k in range(n):
        total += words[k : k + count] * powers[k]
    return mix(total)


def chunks(texts: Iterable[bytes], size: int = CHUNK_BYTES) -> Iterator[list[bytes]]:
    """texts in lists of about size bytes, in order; a larger text comes alone."""
    chunk: list[bytes] = []
    held = 0
    for text in texts:
        if chunk and held + len(text) > size:
            yield chunk
            chunk, held = [], 0
        chunk.append(text)
        held += len(text)
    if chunk:
        yield chunk
