"""Word hashes against a reader's own splitting into words."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.corpus.words import WordHasher, chunks, gram_hashes

HASHER = WordHasher()
TEXTS = st.text(alphabet="abAB1_ .,\n\tßé語日", max_size=60)


def plain_words(text: str) -> list[str]:
    """The slow twin: runs of word characters, ideographs alone, small letters for ASCII capitals."""
    found = re.findall(r"[語日]|[^\W語日]+", text)
    return ["".join(c.lower() if c.isascii() else c for c in word) for word in found]


@given(st.lists(TEXTS, max_size=6))
@settings(max_examples=150, deadline=None)
def test_equal_words_and_only_they_have_equal_hashes(texts: list[str]) -> None:
    names: dict[int, str] = {}
    for text in texts:
        hashes, starts = HASHER.words(text.encode())
        words = plain_words(text)
        assert len(hashes) == len(words) == len(starts)
        for number, word in zip(hashes.tolist(), words, strict=True):
            assert names.setdefault(number, word) == word
    assert len(set(names.values())) == len(names)


@given(st.lists(TEXTS, max_size=6), st.integers(1, 4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_grams_stay_inside_their_text(texts: list[str], n: int, whole: bool) -> None:
    grams, offsets = HASHER.grams([t.encode() for t in texts], n, whole)
    assert offsets[-1] == len(grams) and len(offsets) == len(texts) + 1
    for i, text in enumerate(texts):
        words = HASHER.words(text.encode())[0]
        expected = gram_hashes(words, len(words) if whole and 0 < len(words) < n else n)
        assert np.array_equal(grams[offsets[i] : offsets[i + 1]], expected if len(words) else expected[:0])


def test_the_order_of_words_and_letters_matters() -> None:
    numbers = HASHER.words(b"ab ba abab a b " + b"x" * 5000 + b" " + b"x" * 5001)[0]
    assert len(set(numbers.tolist())) == 7
    pairs = gram_hashes(HASHER.words(b"one two one")[0], 2)
    assert pairs[0] != pairs[1]


def test_chunks_keep_every_text_in_order() -> None:
    texts = [b"a" * n for n in (3, 50, 1, 1, 200, 4)]
    lists = list(chunks(texts, 40))
    assert [t for chunk in lists for t in chunk] == texts
    assert [len(chunk) for chunk in lists] == [1, 1, 2, 1, 1]
