"""Rule 2: a sample is a function of (seed, step, slot)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.corpus.rows import Permutation, TrainRows, evaluation_rows, merged


def slow_permutation(permutation: Permutation) -> list[int]:
    """One place at a time, as a reader would write the cycle walk."""
    out = []
    for place in range(permutation.size):
        x = np.array([place], dtype=np.uint64)
        while True:
            x = permutation._network(x)
            if x[0] < permutation.size:
                break
        out.append(int(x[0]))
    return out


@given(size=st.integers(1, 3000), key=st.text(max_size=8))
@settings(max_examples=60, deadline=None)
def test_every_place_is_reached_once(size: int, key: str) -> None:
    found = Permutation(size, key)(np.arange(size))
    assert np.array_equal(np.sort(found), np.arange(size))


@given(size=st.integers(1, 300), key=st.text(max_size=4))
@settings(max_examples=20, deadline=None)
def test_the_vectorised_walk_agrees_with_one_place_at_a_time(size: int, key: str) -> None:
    permutation = Permutation(size, key)
    assert permutation(np.arange(size)).tolist() == slow_permutation(permutation)


def test_a_large_permutation_scatters_neighbours() -> None:
    size = 1 << 40
    places = np.arange(20_000)
    found = Permutation(size, "k")(places) / size
    assert abs(found.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.03
    assert abs(np.diff(np.sort(found)).mean() * len(places) - 1) < 0.01


@given(rows=st.integers(4, 60), seed=st.integers(0, 2**63), steps=st.permutations(range(12)))
@settings(max_examples=40, deadline=None)
def test_a_batch_does_not_depend_on_the_order_of_calls(rows: int, seed: int, steps: list[int]) -> None:
    tokens = np.arange(rows * 5 + 1, dtype=np.uint16)
    in_order = [TrainRows(tokens, 5, seed, 4).batch(step) for step in range(12)]
    reader = TrainRows(tokens, 5, seed, 4)
    for step in steps:
        assert np.array_equal(reader.batch(step), in_order[step])


def test_an_epoch_shows_every_target_once_and_the_next_is_shuffled_anew() -> None:
    tokens = np.arange(8 * 16 + 1, dtype=np.uint16)
    reader = TrainRows(tokens, 8, order_seed=3, batch_rows=4)
    assert len(reader) == reader.epoch_rows == 16
    first, second = (np.concatenate([reader.batch(s) for s in range(e * 4, e * 4 + 4)]) for e in (0, 1))
    for epoch in (first, second):
        assert np.array_equal(np.sort(epoch[:, 1:].ravel()), tokens[1:])
        assert np.array_equal(epoch[:, 1:-1], epoch[:, :-2] + 1)
    assert not np.array_equal(first, second)
    assert first.dtype == np.int64 and reader.batch(0).shape == (4, 9)


def test_the_seed_decides_the_order_however_large_it_is() -> None:
    tokens = np.arange(1001, dtype=np.uint16)
    a, b = (TrainRows(tokens, 10, seed, 8).indices(0).tolist() for seed in (2**255, 2**255 + 1))
    assert a != b


def test_batches_that_straddle_an_epoch_lose_no_row() -> None:
    reader = TrainRows(np.arange(7 * 10 + 1, dtype=np.uint16), 10, 0, 3)
    seen = np.concatenate([reader.indices(step) for step in range(7)])
    assert np.bincount(seen, minlength=7).tolist() == [3] * 7


def test_skipped_steps_are_jumped_over_and_what_came_before_stays() -> None:
    tokens = np.arange(4001, dtype=np.uint16)
    plain = TrainRows(tokens, 10, 5, 4)
    skipping = TrainRows(tokens, 10, 5, 4, skipped=((7, 9), (3, 5), (4, 6)))
    assert [skipping.data_step(s) for s in range(7)] == [0, 1, 2, 6, 9, 10, 11]
    for step in range(7):
        assert np.array_equal(skipping.batch(step), plain.batch(skipping.data_step(step)))
    assert merged(((7, 9), (3, 5), (4, 6))) == [(3, 6), (7, 9)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=6))
@settings(max_examples=50, deadline=None)
def test_data_steps_are_what_is_left_in_order(ranges: list[tuple[int, int]]) -> None:
    skipped = tuple((a, a + n) for a, n in ranges)
    gone = {s for a, b in skipped for s in range(a, b)}
    left = [s for s in range(200) if s not in gone][:50]
    reader = TrainRows(np.arange(100), 3, 0, 2, skipped=skipped)
    assert [reader.data_step(s) for s in range(50)] == left


def test_too_little_text_is_named() -> None:
    with pytest.raises(GnomonError, match="fewer than one batch of 8"):
        TrainRows(np.arange(50), 10, 0, 8)
    with pytest.raises(GnomonError, match="less than one row of 11"):
        evaluation_rows(np.arange(10), 10, None)


def test_evaluation_subsets_are_fixed_sorted_nested_and_spread() -> None:
    tokens = np.arange(20_001, dtype=np.uint32)
    everything = evaluation_rows(tokens, 10, None)
    assert everything.shape == (2000, 11) and everything.dtype == np.int32
    assert np.array_equal(everything[:, 1:].ravel(), tokens[1:])
    small, large = (evaluation_rows(tokens, 10, n)[:, 0] for n in (500, 2000))
    assert len(small) == 50 and len(large) == 200
    assert np.array_equal(small, np.sort(small)) and set(small) < set(large)
    assert small.min() < 4000 and small.max() > 16_000
    assert np.array_equal(small, evaluation_rows(tokens, 10, 500)[:, 0])
    assert len(evaluation_rows(tokens, 10, 10**9)) == 2000


def test_rows_found_by_the_block_are_those_found_one_by_one() -> None:
    rows = TrainRows(np.arange(700), 7, 3, 9, skipped=((60, 70), (130, 131)))
    one_by_one = []
    for step in range(150):
        counters = np.arange(rows.data_step(step) * 9, (rows.data_step(step) + 1) * 9)
        one_by_one.append(
            [Permutation(len(rows), f"rows:3:{c // len(rows)}")(np.array([c % len(rows)]))[0] for c in counters]
        )
    assert [rows.indices(step).tolist() for step in range(150)] == one_by_one
    assert [rows.indices(step).tolist() for step in (149, 0, 64, 63)] == [one_by_one[s] for s in (149, 0, 64, 63)]
