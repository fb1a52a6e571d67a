"""Tiny models of both houses, random or truly trained, with a tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gnomon.corpus.tokenizer import Tokenizer, train_tokenizer
from gnomon.model.parametrization import initialise
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Optimisation

LINES = [
    "def add(a, b):\n    return a + b\n",
    "for x in range(10):\n    print(add(x, 1))\n",
    "The sun rose over the hills, and it's 42 degrees.\n",
] * 8
SHAPE = ModelShape(vocab=300, context=48, width=32, depth=3, head_dim=8, branch_multiplier=0.5)


@functools.cache
def trained_tokenizer() -> Tokenizer:
    return train_tokenizer(LINES, 300)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return trained_tokenizer()


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Transformer]:
    """SHAPE with the changes asked for; no weight at zero and no gain at one."""

    def make(**changes: object) -> Transformer:
        torch.manual_seed(7)
        model = Transformer(replace(SHAPE, **changes))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.uniform_(0.5, 1.5)
                else:
                    parameter.normal_(0, parameter.shape[-1] ** -0.5)
        return model.eval()

    return make


@functools.cache
def _learnt(qk_norm: bool, steps: int = 60) -> Transformer:
    """A model that has learnt LINES by heart, so that its greedy text has wide margins."""
    tokenizer = trained_tokenizer()
    shape = replace(SHAPE, qk_norm=qk_norm, vocab=tokenizer.vocab)
    model = Transformer(shape)
    initialise(model, Optimisation(0.006, 32, 3, 1.0, 0.3, 0.9, 0.95), seed=1)
    ids = [i for line in LINES for i in (tokenizer.end_id, *tokenizer.encode(line))]
    rows = torch.tensor(ids[: len(ids) // 49 * 49]).view(-1, 49)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(steps):
        batch = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(step))[:8]]
        loss = torch.nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1.0
    return model.eval()


@pytest.fixture(scope="session")
def learnt_model() -> Callable[[bool], Transformer]:
    return _learnt
