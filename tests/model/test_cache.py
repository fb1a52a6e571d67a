"""Reading with a cache gives what reading everything at once gives, for rows of any lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.model.cache import Cache


def tokens(rows: int, steps: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(61, (rows, steps), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("chunks", [[24], [1] * 24, [5, 1, 1, 10, 7], [23, 1]])
def test_chunks_of_any_size_give_the_same_logits(build, shape, chunks):
    model, rows = build(), tokens(3, 24)
    cache = Cache(shape, 3)
    read = torch.cat([model(part, cache) for part in rows.split(chunks, dim=1)], 1)
    assert (read - model(rows)).abs().max() < 1e-5
    assert cache.lengths_B.tolist() == [24, 24, 24]


@torch.no_grad()
def test_rows_of_different_lengths_decode_together(build, shape):
    """Prompts padded on the right, read once, cut to their lengths, then one token a row at a time."""
    model, rows, lengths = build(), tokens(4, 24), torch.tensor([3, 9, 1, 6])
    whole = model(rows)
    cache = Cache(shape, 4)
    prompts = rows[:, :9].clone()
    for b, length in enumerate(lengths):
        prompts[b, length:] = 0
    model(prompts, cache)
    cache.truncate(lengths)
    for step in range(12):
        at = lengths + step
        logits = model(rows[torch.arange(4), at][:, None], cache)
        assert (logits[:, 0] - whole[torch.arange(4), at]).abs().max() < 1e-5


@torch.no_grad()
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_order_of_reading_filling_and_emptying_slots(data):
    """Each row's logits are those of its own history, whatever its neighbours do."""
    from gnomon.model.transformer import Transformer
    from gnomon.recipe.plan import ModelShape

    torch.manual_seed(1)
    shape = ModelShape(vocab=61, context=12, width=16, depth=2, head_dim=8)
    model, cache = Transformer(shape), Cache(shape, 3)
    history: list[list[int]] = [[], [], []]
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, 2))
        stop = data.draw(st.integers(start + 1, 3))
        room = 12 - max(len(history[b]) for b in range(start, stop))
        if room == 0 or data.draw(st.booleans()):
            kept = torch.tensor([data.draw(st.integers(0, len(history[b]))) for b in range(start, stop)])
            cache.slots(start, stop).truncate(kept)
            for b, length in zip(range(start, stop), kept.tolist(), strict=True):
                history[b] = history[b][:length]
            continue
        steps = data.draw(st.integers(1, room))
        new = tokens(stop - start, steps, seed=data.draw(st.integers(0, 99)))
        logits = model(new, cache.slots(start, stop))
        for b, row, got in zip(range(start, stop), new.tolist(), logits, strict=True):
            history[b] += row
            whole = model(torch.tensor([history[b]]))[0, -steps:]
            assert (got - whole).abs().max() < 1e-5
    assert cache.lengths_B.tolist() == [len(row) for row in history]


def test_what_does_not_fit_is_refused(build, shape):
    model = build()
    with pytest.raises(GnomonError, match="a cache of 2 rows of 25 tokens"):
        Cache(shape, 2, capacity=25)
    cache = Cache(shape, 2, capacity=8)
    model(tokens(2, 6), cache)
    with pytest.raises(GnomonError, match="6 tokens read and 3 more; this cache holds 8 a row"):
        model(tokens(2, 3), cache)
    assert cache.lengths_B.tolist() == [6, 6]
    with pytest.raises(GnomonError, match="between 0 and the old one"):
        cache.truncate(torch.tensor([7, 2]))
