"""The token rows of a step: rule 2, a sample is a function of (seed, step, slot).

A split of n tokens holds (n - 1) // context rows that do not overlap in their targets. Which row comes at which place
is found by a counter-based permutation, so nothing has to be stored or replayed: a Feistel network (Luby and Rackoff
1988) on the smallest power of two that holds the rows, walked until it lands inside (Black and Rogaway 2002).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError

ROUNDS = 8
STEPS_AT_ONCE = 64  # whose rows are found together


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every output bit depends on every input bit. Same shape as x."""
    x = x ^ (x >> np.uint64(30))
    x = x * np.uint64(0xBF58476D1CE4E5B9)
    x = x ^ (x >> np.uint64(27))
    x = x * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Permutation:
    """A permutation of 0 … size-1, computed at any place without computing the others."""

    def __init__(self, size: int, key: str) -> None:
        if size < 1:
            raise ValueError(f"a permutation of {size} things; at least 1")
        self.size = size
        bits = (size - 1).bit_length()
        self._left, self._right = np.uint64(bits - bits // 2), np.uint64(bits // 2)
        self._keys = np.frombuffer(hashlib.sha512(key.encode()).digest(), dtype="<u8").astype(np.uint64)

    def _network(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        one = np.uint64(1)
        left_mask, right_mask = (one << self._left) - one, (one << self._right) - one
        left, right = x >> self._right, x & right_mask
        for i in range(ROUNDS):
            if i % 2 == 0:
                left = left ^ (mix(right + self._keys[i]) & left_mask)
            else:
                right = right ^ (mix(left + self._keys[i]) & right_mask)
        return (left << self._right) | right

    def __call__(self, places: NDArray[np.integer]) -> NDArray[np.int64]:
        """Where each of places (int [n], 0 ≤ place < size) is sent: int64 [n]."""
        x = places.astype(np.uint64)
        with np.errstate(over="ignore"):
            x = self._network(x)
            outside = np.flatnonzero(x >= self.size)
            while outside.size:
                x[outside] = self._network(x[outside])
                outside = outside[x[outside] >= self.size]
        return x.astype(np.int64)


def row_count(tokens: int, context: int) -> int:
    """Rows of context targets that tokens hold; each row also reads the token before its first target."""
    return max(0, (tokens - 1) // context)


def take_rows(tokens: NDArray[np.integer], rows: NDArray[np.int64], context: int, dtype: type) -> NDArray:
    """Rows by number: dtype [len(rows), context + 1], row i starting at token i * context."""
    places = rows[:, None] * context + np.arange(context + 1)
    return np.asarray(tokens[places], dtype=dtype)


class TrainRows:
    """What the trainer reads: the rows of any step, in an order that the seed decides and that is new in every epoch.

    skipped: half-open ranges [a, b) of data steps whose rows are not used (guard rollback). Steps of the trainer count
    through the data steps that are left, so everything before a skipped range stays as it was.
    """

    def __init__(
        self,
        tokens: NDArray[np.integer],
        context: int,
        order_seed: int,
        batch_rows: int,
        skipped: tuple[tuple[int, int], ...] = (),
    ) -> None:
        if batch_rows < 1 or context < 1:
            raise GnomonError(f"batch_rows is {batch_rows} and context {context}; both are at least 1")
        self.tokens, self.context, self.order_seed, self.batch_rows = tokens, context, order_seed, batch_rows
        self.epoch_rows = row_count(len(tokens), context)
        if self.epoch_rows < batch_rows:
            raise GnomonError(
                f"training text: {len(tokens)} tokens are {self.epoch_rows} rows of {context}, fewer than one batch of "
                f"{batch_rows}; give more text or a smaller batch"
            )
        for start, end in skipped:
            if not 0 <= start <= end:
                raise GnomonError(f"skipped steps {start}–{end}: a range starts at 0 or later and does not end before")
        self.skipped = tuple(sorted(skipped))
        self._permutations: dict[int, Permutation] = {}
        self._block, self._block_rows = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.epoch_rows

    def data_step(self, step: int) -> int:
        """The step-th (from 0) data step outside the skipped ranges."""
        at = step
        for start, end in merged(self.skipped):
            if at < start:
                break
            at += end - start
        return at

    def indices(self, step: int) -> NDArray[np.int64]:
        """Row numbers of a step: int64 [batch_rows]."""
        block, within = divmod(self.data_step(step), STEPS_AT_ONCE)
        if block != self._block:
            self._block, self._block_rows = block, self._rows_of(block)
        return self._block_rows[within * self.batch_rows : (within + 1) * self.batch_rows]

    def _rows_of(self, block: int) -> NDArray[np.int64]:
        """Row numbers of STEPS_AT_ONCE data steps: a small step would take a quarter of its time to find its own."""
        size = STEPS_AT_ONCE * self.batch_rows
        epochs, places = np.divmod(np.arange(block * size, (block + 1) * size, dtype=np.int64), self.epoch_rows)
        rows = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows[here] = self._permutation(int(epoch))(places[here])
        return rows

    def batch(self, step: int) -> NDArray[np.int64]:
        """int64 [batch_rows, context + 1]: inputs are [:, :-1], targets [:, 1:]. Depends on nothing but step."""
        return take_rows(self.tokens, self.indices(step), self.context, np.int64)

    def _permutation(self, epoch: int) -> Permutation:
        if epoch not in self._permutations:
            self._permutations = {epoch: Permutation(self.epoch_rows, f"rows:{self.order_seed}:{epoch}")}
        return self._permutations[epoch]


def merged(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """The same set of steps as ranges that neither touch nor overlap, in order."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        elif end > start:
            out.append((start, end))
    return out


def evaluation_rows(
    tokens: NDArray[np.integer], context: int, subset_tokens: int | None, seed: int = 0
) -> NDArray[np.int32]:
    """The rows a held-out split is scored on: int32 [n, context + 1], the same for every run.

    subset_tokens: about how many targets to score, drawn by hash over the whole split and put back in order; a smaller
    subset is part of a larger one. None takes every row.
    Raises GnomonError when the split is shorter than one row.
    """
    rows = row_count(len(tokens), context)
    if rows < 1:
        raise GnomonError(
            f"held-out text: {len(tokens)} tokens are less than one row of {context + 1}; hold out more text or take a "
            "shorter context"
        )
    if subset_tokens is None or subset_tokens >= rows * context:
        chosen = np.arange(rows, dtype=np.int64)
    else:
        count = max(1, subset_tokens // context)
        chosen = np.sort(Permutation(rows, f"evaluation:{seed}")(np.arange(count, dtype=np.int64)))
    return take_rows(tokens, chosen, context, np.int32)
