"""The 13-gram check on text with planted repeats."""

from collections.abc import Callable

import pytest

from gnomon.corpus.overlap import overlap, overlaps

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
