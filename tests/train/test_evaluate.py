"""Evaluation: bits per byte from first principles, its standard error, independence of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.model.parametrization import initialise
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.train.evaluate import EvalSet, evaluate, ratio_stderr, token_nats, token_nats_twin


@pytest.fixture
def model(make_plan: Callable[..., Plan]) -> Transformer:
    plan = make_plan()
    model = Transformer(plan.shape)
    initialise(model, plan.optimisation, 5)
    torch.nn.init.normal_(model.head.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    return model


def test_a_model_that_knows_nothing_needs_log2_vocab_bits_a_token(
    make_plan: Callable[..., Plan], corpus: Any, held_out: EvalSet
) -> None:
    model = Transformer(make_plan().shape)
    torch.nn.init.zeros_(model.head.weight)
    found = evaluate(model, held_out, corpus.token_bytes)
    targets = held_out.rows[:, 1:]
    assert (found.tokens, found.bytes) == (targets.size, corpus.token_bytes[targets].sum())
    assert found.loss_nats == pytest.approx(math.log(64), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(6 * found.tokens / found.bytes, rel=1e-6)


def test_the_figures_do_not_depend_on_the_batch(model: Transformer, corpus: Any, held_out: EvalSet) -> None:
    figures = [evaluate(model, held_out, corpus.token_bytes, size) for size in (1, 100, 10_000)]
    for other in figures[1:]:
        assert other.bits_per_byte == pytest.approx(figures[0].bits_per_byte, rel=1e-6)
        assert other.stderr_bits_per_byte == pytest.approx(figures[0].stderr_bits_per_byte, rel=1e-5)


def test_token_nats_are_those_of_the_targets(model: Transformer, held_out: EvalSet) -> None:
    nats = token_nats(model, held_out.rows[:3])
    row = torch.from_numpy(held_out.rows[2].astype(np.int64))
    log_probabilities = torch.log_softmax(model(row[None, :-1])[0], -1)
    assert nats.shape == (3, 16)
    np.testing.assert_allclose(nats[2], -log_probabilities[range(16), row[1:]].detach().numpy(), rtol=1e-5)


def test_the_standard_error_is_the_spread_over_fresh_draws_of_rows() -> None:
    generator = np.random.default_rng(0)
    ratios, errors = [], []
    for _ in range(400):
        size = generator.integers(20, 60, 50)
        nats = size * generator.normal(1.0, 0.2, 50) + generator.normal(0, 2, 50)
        ratios.append(nats.sum() / size.sum())
        errors.append(ratio_stderr(nats, size))
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)


def test_one_row_has_no_standard_error_and_no_rows_are_refused(
    model: Transformer, corpus: Any, held_out: EvalSet
) -> None:
    assert evaluate(model, replace(held_out, rows=held_out.rows[:1]), corpus.token_bytes).stderr_bits_per_byte is None
    with pytest.raises(GnomonError, match="development: no rows"):
        evaluate(model, replace(held_out, rows=held_out.rows[:0]), corpus.token_bytes)
    with pytest.raises(GnomonError, match="no bytes"):
        evaluate(model, held_out, np.zeros(64, np.uint16))


@pytest.mark.parametrize(
    "changes",
    [{}, {"kv_heads": 1, "tied": True, "qk_norm": False, "embedding_norm": False}],
    ids=["usual", "grouped, tied"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_forward_pass_gives_the_nats_of_its_twin(changes, threads, monkeypatch):
    from gnomon.train.native import obstacle
    from gnomon.train.term import NextToken

    shape = ModelShape(vocab=64, context=16, width=32, depth=2, head_dim=8, **changes)
    if reason := obstacle(shape, "float32", [NextToken()]):
        pytest.skip(reason)
    torch.manual_seed(0)
    model = Transformer(shape)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rows = np.random.default_rng(0).integers(0, 64, (37, 17))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found, expected = token_nats(model, rows, 64), token_nats_twin(model, rows)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=5e-6)  # nats of some tens among them
    assert np.array_equal(token_nats(model, rows, 1024), found)  # how rows are cut changes nothing
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert token_nats(model, rows[:0]).shape == (0, 16)
    assert np.isnan(token_nats(spoilt(model), rows)).any()


def spoilt(model):
    with torch.no_grad():
        model.norm.weight.fill_(float("nan"))
    return model
