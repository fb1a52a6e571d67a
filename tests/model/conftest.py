"""A small model with no weight at zero, so that every path through it is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Optimisation

SHAPE = ModelShape(vocab=61, context=24, width=32, depth=3, head_dim=8, branch_multiplier=0.5)


@pytest.fixture
def optimisation() -> Optimisation:
    return Optimisation(
        rate=0.006, base_width=64, base_depth=2, embed_ratio=4.0, timescale=0.3, beta1=0.9, beta2=0.95, eps=1e-12
    )


@pytest.fixture
def shape() -> ModelShape:
    return SHAPE


@pytest.fixture
def build() -> Callable[..., Transformer]:
    """A model of SHAPE with the changes asked for; every weight random, gains around 1."""

    def make(**changes: object) -> Transformer:
        torch.manual_seed(3)
        model = Transformer(replace(SHAPE, **changes))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.uniform_(0.5, 1.5)
                else:
                    parameter.normal_(0, parameter.shape[-1] ** -0.5)
        return model.eval()

    return make
