"""Planted copies are found, and only copies."""

import random
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus import dedup, signatures
from gnomon.corpus.documents import Document, Spool
from gnomon.corpus.words import WordHasher


def spool_of(tmp_path: Path, texts: list[tuple[str, str]]) -> Spool:
    """texts: (split, text), held-out ones first as the pipeline orders them."""
    spool = Spool(tmp_path / "spool.bin")
    for i, (split, text) in enumerate(texts):
        spool.add(0, Document.of(text, f"d{i}", "s", "")).split = split
    return spool


def changed(text: str, share: float, seed: int) -> str:
    """text with a share of its words replaced."""
    rng = random.Random(seed)
    words = text.split(" ")
    for i in rng.sample(range(len(words)), int(share * len(words))):
        words[i] = f"new{i}"
    return " ".join(words)


def marks(spool: Spool, tmp_path: Path, threshold: float = 0.8) -> list[tuple[str | None, int | None]]:
    dedup.exact(spool.entries)
    dedup.near(spool, spool.entries, threshold, tmp_path)
    return [(e.dropped, e.of) for e in spool.entries]


def test_exact_copies_differ_in_white_space_at_most(tmp_path: Path) -> None:
    texts = ["one two three", "one  two\nthree\n", "one two four", "One two three", "one two three"]
    with spool_of(tmp_path, [("train", t) for t in texts]) as spool:
        assert marks(spool, tmp_path, 1.0) == [
            (None, None), ("exact copy", 0), (None, None), (None, None), ("exact copy", 0),
        ]  # fmt: skip


def test_near_copies_leave_and_distant_relatives_stay(tmp_path: Path, write_prose) -> None:
    base = write_prose(0, 800)
    texts = [base, changed(base, 0.01, 1), changed(base, 0.3, 2), write_prose(3, 800)]
    with spool_of(tmp_path, [("train", t) for t in texts]) as spool:
        assert marks(spool, tmp_path) == [(None, None), ("near copy", 0), (None, None), (None, None)]
    assert [p.name for p in tmp_path.glob("*.bin")] == ["spool.bin"]


def test_held_out_text_stays_and_its_copies_leave_training(tmp_path: Path, write_prose) -> None:
    held, also = write_prose(0, 500), write_prose(1, 500)
    texts = [
        ("documents", held), ("documents", changed(held, 0.005, 1)), ("codebase", also), ("codebase", also),
        ("train", changed(held, 0.01, 2)), ("train", also), ("train", write_prose(2, 500)),
    ]  # fmt: skip
    with spool_of(tmp_path, texts) as spool:
        assert [mark for mark, _ in marks(spool, tmp_path)] == [
            None, None, None, "exact copy", "near copy of held-out text", "exact copy of held-out text", None,
        ]  # fmt: skip


def test_every_planted_near_copy_is_found_and_nothing_else(tmp_path: Path, write_prose) -> None:
    originals = [write_prose(i, 300) for i in range(150)]
    copies = [changed(t, 0.01, i) for i, t in enumerate(originals[::3])]
    texts = [("train", t) for t in originals + copies]
    with spool_of(tmp_path, texts) as spool:
        found = marks(spool, tmp_path)
        hasher = WordHasher()
        sets = [dedup.shingles(hasher, spool.read(e)) for e in spool.entries]
    assert all(mark == (None, None) for mark in found[:150])
    for i, (reason, of) in enumerate(found[150:]):
        alike = dedup.jaccard(sets[150 + i], sets[3 * i])
        assert (reason == "near copy" and of == 3 * i) if alike >= 0.8 else reason is None
    assert sum(reason is not None for reason, _ in found) > 45


def test_copies_of_copies_are_compared_with_what_is_kept(tmp_path: Path, write_prose) -> None:
    base = write_prose(0, 600)
    chain = [base]
    for i in range(12):
        chain.append(changed(chain[-1], 0.015, i))
    with spool_of(tmp_path, [("train", t) for t in chain]) as spool:
        found = marks(spool, tmp_path)
        kept = [i for i, (reason, _) in enumerate(found) if reason is None]
        assert 1 < len(kept) < 8
        assert all(of in kept for reason, of in found if reason)


def test_jaccard_is_exact_and_short_texts_are_one_shingle(tmp_path: Path) -> None:
    hasher = WordHasher()
    a = dedup.shingles(hasher, b"a b c d e f g")
    b = dedup.shingles(hasher, b"a b c d e f h")
    assert len(a) == 3 and dedup.jaccard(a, b) == pytest.approx(2 / 4)
    assert len(dedup.shingles(hasher, b"a b")) == 1 and len(dedup.shingles(hasher, b"...")) == 0
    assert dedup.jaccard(dedup.shingles(hasher, b""), dedup.shingles(hasher, b"")) == 0.0
    with spool_of(tmp_path, [("train", t) for t in ("yes no", "Yes, no!", "...", "???")]) as spool:
        assert [reason for reason, _ in marks(spool, tmp_path)] == [None, "near copy", None, None]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99])
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    count, rows = signatures.bands(threshold)
    assert count * rows <= signatures.HASHES
    assert 1 - (1 - threshold**rows) ** count >= 0.99


def test_band_keys_are_equal_where_all_rows_are() -> None:
    rows = np.arange(12, dtype=np.uint32).reshape(1, 12).repeat(2, axis=0)
    rows[1, 5] += 1
    keys = signatures.band_keys(rows, (3, 4))
    assert (keys[0] == keys[1]).tolist() == [True, False, True]


def crowd(write_prose) -> list[tuple[str, str]]:
    """Originals, near copies of near copies, pieces that many share, and held-out text among them."""
    originals = [write_prose(i, 150) for i in range(40)]
    copies = [changed(originals[i % 40], 0.02, i) for i in range(60)]
    licence = write_prose(99, 120)
    texts = [("documents", t) for t in originals[:5]] + [("train", t) for t in originals[5:] + copies]
    return texts + [("train", licence + write_prose(200 + i, 15)) for i in range(20)]


@pytest.mark.parametrize("memory_bytes", [4_000, 40_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_marks_do_not_depend_on_memory_or_threads(
    tmp_path: Path, write_prose, monkeypatch, memory_bytes, threads
) -> None:
    texts = crowd(write_prose)
    with spool_of(tmp_path, texts) as spool:
        expected = marks(spool, tmp_path)
        for entry in spool.entries:
            entry.dropped = entry.of = None
        monkeypatch.setattr(dedup, "STATE_BYTES", 0)  # the cap is far below what is refused
        dedup.exact(spool.entries)
        dedup.near(spool, spool.entries, 0.8, tmp_path, memory_bytes, threads)
        assert [(e.dropped, e.of) for e in spool.entries] == expected
    assert sum(reason is not None for reason, _ in expected) > 50


def test_more_shared_keys_than_memory_are_refused_in_one_line(tmp_path: Path, write_prose) -> None:
    with spool_of(tmp_path, crowd(write_prose)) as spool, pytest.raises(GnomonError, match=r"MB .*--memory-mb"):
        dedup.near(spool, spool.entries, 0.8, tmp_path, 4_000)


def test_signatures_written_in_parts_are_those_of_one(tmp_path: Path, write_prose) -> None:
    texts = [write_prose(i, 60).encode() for i in range(30)] + [b"..."]
    count = signatures.bands(0.8)[0]
    cuts = [0, 1, 20, 31]
    parts = [signatures.Part(tmp_path, str(a), a, b - a, count) for a, b in pairwise(cuts)]
    for part in parts:
        signatures.write_part(part, texts[part.first : part.first + part.count], 0.8)
    whole = signatures.Part(tmp_path, "whole", 0, 31, count)
    signatures.write_part(whole, texts, 0.8, threads=2)
    with signatures.Signatures([whole]) as one, signatures.Signatures(parts[::-1]) as many:
        for band in range(count):
            for share in range(3):
                expected, found = one.band(band, share, 3), many.band(band, share, 3)
                assert np.array_equal(expected[0], found[0]) and np.array_equal(expected[1], found[1])
            assert sum(len(one.band(band, share, 3)[0]) for share in range(3)) == 30  # the one without words has no key
        assert np.array_equal(one.alike(2, [0, 2, 25]), many.alike(2, [0, 2, 25]))


def test_shared_keys_number_those_that_two_documents_have() -> None:
    numbers, places = dedup.shared_keys(np.array([7, 3, 7, 1, 3, 7], dtype=np.uint64))
    assert list(zip(numbers.tolist(), places.tolist(), strict=True)) == [(0, 1), (0, 4), (1, 0), (1, 2), (1, 5)]
    assert len(dedup.shared_keys(np.zeros(0, dtype=np.uint64))[0]) == 0


def test_a_near_copy_is_explained_with_what_matched(tmp_path: Path, write_prose) -> None:
    base = write_prose(0, 300)
    with spool_of(tmp_path, [("train", base), ("train", changed(base, 0.01, 1))]) as spool:
        dedup.near(spool, spool.entries, 0.8, tmp_path)
        detail = spool.entries[1].detail
    assert re.match(r"shares \d\d\.\d% of their word 5-grams", detail)
    quote = eval(detail.partition("for one: ")[2])
    assert len(quote) > 60 and quote in base


def test_common_text_is_the_longest_run_of_known_words() -> None:
    hasher = WordHasher()
    known = dedup.shingles(hasher, b"The quick brown fox jumps over the lazy dog, twice")
    text = b"Well: the quick brown fox JUMPS over\nthe lazy cat"
    assert dedup.common_text(hasher, text, known) == "the quick brown fox JUMPS over\nthe lazy"
    assert dedup.common_text(hasher, b"nothing of it is here at all", known) == ""
    assert dedup.common_text(hasher, b"", known) == ""
    assert dedup.common_text(hasher, b"a b", dedup.shingles(hasher, b"A b!")) == "a b"
