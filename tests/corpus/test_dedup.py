"""Planted copies are found, and only copies."""

import random
from pathlib import Path

import numpy as np
import pytest

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
