"""Encoding a corpus: every text's tokens and then `<|end|>`.

Text repeats its words, so ASCII text is split here with GPT-2's pattern and every distinct word is encoded once; what
is left is a table look-up. Parts with other letters, where Unicode decides, go through the library as they are.
The slow twin is Tokenizer.encode; the tokens are the same (tests/corpus/test_encode.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gnomon.corpus.tokenizer import Tokenizer

CHUNK = 1 << 19  # words looked up at once
TEXTS = 64  # that go through the library together
PART = 1 << 9  # characters that go through the library together when one of them is not ASCII
KNOWN = 1 << 26  # characters of distinct words remembered; then the table starts anew
LINE = re.compile(r"(?<=\S)\n(?=\S)")
PIECE = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^ \t\n\r\f\vA-Za-z0-9]+"
    r"|[ \t\n\r\f\v]+(?![^ \t\n\r\f\v])|[ \t\n\r\f\v]+"
)


class Encoder:
    """Encodes text after text with one tokenizer, remembering the words it met."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._forget()

    def _forget(self) -> None:
        self._places: dict[str, int] = {"": 0}  # no text holds the empty word, so it stands for `<|end|>`
        self._tokens = np.array([self.tokenizer.end_id], dtype=np.uint32)  # of all known words, one after the other
        self._starts = np.array([0, 1], dtype=np.int64)
        self._size = 0

    def stream(self, texts: Iterable[str]) -> Iterator[NDArray[np.uint32]]:
        """The tokens of texts, each followed by `<|end|>`, as arrays one after the other: uint32 [n] each."""
        words: list[str] = []
        if not self.tokenizer.own:
            yield from self._plain_stream(texts)
            return
        for text in texts:
            words += split(text)
            words.append("")
            if len(words) >= CHUNK:
                yield self._look_up(words)
                words = []
        yield self._look_up(words)

    def _plain_stream(self, texts: Iterable[str]) -> Iterator[NDArray[np.uint32]]:
        """By the library alone: the look-up is for GPT-2's pattern, and others split otherwise."""
        end = [self.tokenizer.end_id]
        for batch in batched(texts, TEXTS):
            yield np.array([i for ids in self.tokenizer.encode_batch(batch) for i in ids + end], dtype=np.uint32)

    def encode(self, text: str) -> NDArray[np.uint32]:
        """uint32 [n]: what Tokenizer.encode gives."""
        if not self.tokenizer.own:
            return np.array(self.tokenizer.encode(text), dtype=np.uint32)
        return self._look_up(split(text))

    def _look_up(self, words: list[str]) -> NDArray[np.uint32]:
        new = [word for word in dict.fromkeys(words) if word not in self._places]
        if self._size + sum(map(len, new)) > KNOWN:
            self._forget()
            new = [word for word in dict.fromkeys(words) if word]
        if new:
            self._learn(new)
        places = np.fromiter(map(self._places.__getitem__, words), dtype=np.int64, count=len(words))
        starts = self._starts[places]
        lengths = self._starts[places + 1] - starts
        before = np.cumsum(lengths) - lengths
        return self._tokens[np.repeat(starts - before, lengths) + np.arange(lengths.sum())]

    def _learn(self, words: list[str]) -> None:
        encoded = self.tokenizer.encode_batch(words)
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
        self._places.update(zip(words, range(len(self._places), len(self._places) + len(words)), strict=True))
        self._size += sum(map(len, words))
        self._starts = np.concatenate([self._starts, self._starts[-1] + np.cumsum(lengths)])
        flat = np.array([token for ids in encoded for token in ids], dtype=np.uint32)
        self._tokens = np.concatenate([self._tokens, flat])


def batched(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(texts)
    while batch := list(islice(rest, size)):
        yield batch


def split(text: str) -> list[str]:
    """Words that can be encoded each for itself; joined they are the text."""
    if text.isascii():
        return PIECE.findall(text)
    return [w for part in cut(text, PART) for w in (PIECE.findall(part) if part.isascii() else [part])]


def cut(text: str, size: int) -> list[str]:
    """text in parts of size characters or a little more, cut after line ends with no other white space beside them.

    There GPT-2's pattern takes the line end as a word of its own, so the words of the parts are those of the whole.
    """
    out, start = [], 0
    for match in LINE.finditer(text) if len(text) > size else ():
        if match.end() - start >= size:
            out.append(text[start : match.end()])
            start = match.end()
    return [*out, text[start:]]
