"""A corpus of numbers with a pattern in it, small enough to train on in a blink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.train.evaluate import EvalSet
from gnomon.train.execution import Execution, decide


class TinyCorpus:
    """What the trainer reads of a corpus. Tokens follow each other by small jumps, so there is something to learn."""

    hash = "c" * 64
    vocab = 64

    def __init__(self, tokens: int = 20_000) -> None:
        jumps = np.random.default_rng(7).integers(1, 4, tokens)
        self._tokens = (np.cumsum(jumps) % self.vocab).astype(np.uint16)
        self.token_bytes = (np.arange(self.vocab) % 5 + 1).astype(np.uint16)
        self.token_bytes[0] = 0

    def tokens(self, split: str) -> np.ndarray:
        return self._tokens


@pytest.fixture
def corpus() -> TinyCorpus:
    return TinyCorpus()


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """A plan of a tiny model; keywords change fields of the plan, its shape or its optimisation."""

    def make(**changes: Any) -> Plan:
        shape = ModelShape(vocab=64, context=16, width=16, depth=1, head_dim=8)
        optimisation = Optimisation(
            rate=0.01, base_width=16, base_depth=1, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95
        )
        plan = Plan(shape, optimisation, steps=12, batch_rows=6, seed=1, order_seed=2, corpus=TinyCorpus.hash)
        inner = {k: v for k, v in changes.items() if hasattr(shape, k) and k != "steps"}
        rates = {k: v for k, v in changes.items() if hasattr(optimisation, k)}
        outer = {k: v for k, v in changes.items() if k not in inner and k not in rates}
        return replace(plan, shape=replace(shape, **inner), optimisation=replace(optimisation, **rates), **outer)

    return make


@pytest.fixture
def every_step() -> Callable[..., Execution]:
    """The execution of a plan with a checkpoint after every step."""

    def make(plan: Plan, **changes: Any) -> Execution:
        return replace(decide(plan, checkpoint_every_s=0.0), log_every=2, **changes)

    return make


@pytest.fixture
def held_out(corpus: TinyCorpus) -> EvalSet:
    rows = corpus.tokens("development")[: 40 * 17].reshape(40, 17).astype(np.int32)
    return EvalSet("development", rows, "held out")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"
