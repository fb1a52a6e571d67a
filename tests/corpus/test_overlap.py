"""The 13-gram check on text with planted repeats."""

from collections.abc import Callable

import pytest

from gnomon.corpus.overlap import HeldOut, overlap, overlaps

Prose = Callable[[int, int], str]


def test_planted_text_is_found_and_foreign_text_is_not(write_prose: Prose) -> None:
    secret = " ".join(f"word{i}" for i in range(33))
    train = [write_prose(i, 2000) for i in range(20)]
    train[7] = train[7][:500] + " ." + secret.upper().replace(" ", ", ") + "! " + train[7][500:]
    found = overlap([secret, write_prose(99, 500)], train)
    assert found.shares == (1.0, 0.0)
    assert found.seen == 33 - 12
    assert 0 < found.share < 0.1


def test_half_a_copy_counts_half(write_prose: Prose) -> None:
    words = write_prose(5, 226).split()
    found = overlap([" ".join(words)], [" ".join(words[: len(words) // 2])])
    grams = len(words) - 12
    assert found.grams == grams
    assert found.seen == pytest.approx(len(words) // 2 - 12)


def test_a_run_across_two_training_texts_is_none() -> None:
    words = [f"w{i}" for i in range(20)]
    assert overlap([" ".join(words)], [" ".join(words[:10]), " ".join(words[10:])]).seen == 0


def test_nothing_to_compare_is_no_overlap() -> None:
    assert overlap([], ["a b c"]).share == 0.0
    short = overlap(["too short", ""], ["too short"])
    assert (short.grams, short.share, short.shares) == (0, 0.0, (0.0, 0.0))


def test_several_sets_are_told_apart_in_one_pass(write_prose: Prose) -> None:
    seen, unseen = write_prose(1, 300), write_prose(2, 300)
    found = overlaps({"a": [seen.encode()], "b": [unseen.encode()]}, iter([seen.encode()]))
    assert (found["a"].share, found["b"].share) == (1.0, 0.0)


def test_training_text_that_holds_held_out_text_is_named_with_it(write_prose: Prose) -> None:
    held = [write_prose(i, 100) for i in range(3)]
    passage = " ".join(held[1].split()[40:60])
    train = [write_prose(10, 200), write_prose(11, 100) + passage.upper() + " " + write_prose(12, 100), held[2]]
    known = HeldOut({"documents": [t.encode() for t in held]})
    hits = {hit.place: hit for hit in known.hits((t.encode() for t in train), 1)}
    assert set(hits) == {1, 2}
    assert hits[1].held_out == ("documents", 1) and hits[1].grams == 20 - 12
    assert hits[1].quote.lower().strip(".") == passage.lower().strip(".")
    assert hits[2].held_out == ("documents", 2)
    assert [h.place for h in known.hits((t.encode() for t in train), 9)] == [2]


def test_what_parts_have_seen_joins_to_what_the_whole_has(write_prose: Prose) -> None:
    held = {"a": [write_prose(1, 300).encode()], "b": [write_prose(2, 300).encode()]}
    train = [held["a"][0][:700], write_prose(3, 100).encode(), held["b"][0][200:900]]
    known = HeldOut(held)
    parts = known.seen(train[:1]) | known.seen(train[1:])
    assert known.overlaps(parts) == overlaps(held, train)
