"""The compiled step and autograd agree; where it cannot serve it says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gnomon.model.parametrization import initialise, parameter_groups
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Optimisation
from gnomon.train.native import NativeGradient, Unavailable, build, library, obstacle
from gnomon.train.optim import FlatWeights
from gnomon.train.term import NextToken


def compiled() -> str:
    try:
        library()
    except Unavailable as reason:
        return str(reason)
    return ""


needs_compiler = pytest.mark.skipif(bool(compiled()), reason=f"no compiled step here: {compiled()}")
RATES = Optimisation(
    rate=0.01, base_width=32, base_depth=2, embed_ratio=4, timescale=0.3, beta1=0.9, beta2=0.95, z_loss=1e-3
)


def model_of(shape: ModelShape, dtype: torch.dtype = torch.float32) -> tuple[Transformer, FlatWeights]:
    """A model whose every weight is away from its first value, so that no gradient is zero by construction."""
    model = Transformer(shape)
    initialise(model, RATES, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model, FlatWeights(model, parameter_groups(model, shape, RATES, 100), dtype)


def rows_of(shape: ModelShape, rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, shape.vocab, (rows, shape.context + 1))


def twin(model: Transformer, weights: FlatWeights, rows: np.ndarray, z_loss: float) -> tuple[float, torch.Tensor]:
    weights.zero_gradient()
    tokens = torch.from_numpy(rows)
    logits = model(tokens[:, :-1]).flatten(0, 1)
    nats = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum")
    ((nats + z_loss * torch.logsumexp(logits, -1).square().sum()) / tokens[:, 1:].numel()).backward()
    return nats.item(), weights.gradient.clone()


SHAPES = [
    ModelShape(vocab=300, context=33, width=32, depth=2, head_dim=16, branch_multiplier=2.0),
    ModelShape(vocab=64, context=16, width=24, depth=3, head_dim=8, qk_norm=False),
    ModelShape(vocab=64, context=8, width=24, depth=1, head_dim=6, embedding_norm=False, rope_base=50.0, mlp_ratio=2.5),
    ModelShape(vocab=128, context=20, width=64, depth=1, head_dim=32),
    ModelShape(vocab=64, context=70, width=128, depth=1, head_dim=64),
    ModelShape(vocab=64, context=40, width=96, depth=1, head_dim=48),
    # Grouped heads narrower than the stream, a tied head, a vocabulary whose logits take several chunks.
    ModelShape(
        vocab=5000, context=50, width=48, depth=2, head_dim=8, query_heads=4, kv_heads=2, tied=True, exact_mlp=50
    ),
]


def difference(weights: FlatWeights, wanted: torch.Tensor) -> dict[str, float]:
    """The largest difference of each weight's gradient from the wanted one, over that one's largest number."""
    out = {}
    views = weights.views(wanted)
    for name, gradient in weights.views(weights.gradient).items():
        scale = views[name].abs().max()
        assert scale > 0
        out[name] = float((gradient - views[name]).abs().max() / scale)
    return out


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"d{s.width}L{s.depth}E{s.head_dim}K{s.key_heads}T{s.context}")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_value_and_gradient_are_those_of_autograd_weight_by_weight(shape, threads):
    model, weights = model_of(shape)
    rows = rows_of(shape, 5)
    nats, expected = twin(model, weights, rows, RATES.z_loss)
    native = NativeGradient(shape, weights, rows=5, threads=threads)
    weights.zero_gradient()
    assert native(rows, rows[:, 1:].size, RATES.z_loss) == pytest.approx(nats, rel=1e-6)
    assert max(difference(weights, expected).values()) < 2e-5


@needs_compiler
@pytest.mark.parametrize("context, rows", [(300, 3), (1025, 1), (64, 19)])
def test_rows_that_take_several_blocks_of_tokens_and_of_queries(context, rows):
    shape = ModelShape(vocab=64, context=context, width=32, depth=1, head_dim=16)
    model, weights = model_of(shape)
    tokens = rows_of(shape, rows)
    nats, expected = twin(model, weights, tokens, RATES.z_loss)
    native = NativeGradient(shape, weights, rows=rows, threads=1)
    weights.zero_gradient()
    assert native(tokens, tokens[:, 1:].size, RATES.z_loss) == pytest.approx(nats, rel=1e-6)
    assert max(difference(weights, expected).values()) < 2e-5


@needs_compiler
@pytest.mark.skipif(not compiled() and library().short_gemm is None, reason="no bfloat16 product here")
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4], SHAPES[6]], ids=lambda s: f"d{s.width}L{s.depth}E{s.head_dim}")
def test_in_bfloat16_the_gradient_is_that_of_fp32_within_its_rounding(shape):
    model, weights = model_of(shape)
    rows = rows_of(shape, 5)
    nats, expected = twin(model, weights, rows, RATES.z_loss)
    _, weights = model_of(shape, torch.bfloat16)
    native = NativeGradient(shape, weights, rows=5, threads=1)
    assert native(rows, rows[:, 1:].size, RATES.z_loss) == pytest.approx(nats, rel=1e-3)
    # Eight bits of mantissa: a factor is off by 2^-9 at most, and a sum of such products by a few times that.
    assert 1e-4 < max(difference(weights, expected).values()) < 2**-5


@needs_compiler
def test_scores_far_apart_neither_overflow_nor_show_what_lies_ahead():
    shape = ModelShape(vocab=64, context=40, width=32, depth=1, head_dim=16, qk_norm=False)
    model, weights = model_of(shape)
    with torch.no_grad():
        weights.views(weights.master)["blocks.0.attention.q.weight"].mul_(300)
    rows = rows_of(shape, 3)
    nats, expected = twin(model, weights, rows, 0.0)
    native = NativeGradient(shape, weights, rows=3, threads=1)
    weights.zero_gradient()
    assert native(rows, rows[:, 1:].size, 0.0) == pytest.approx(nats, rel=1e-5)
    assert max(difference(weights, expected).values()) < 1e-3  # scores of some 1000 have but 13 bits behind the point


@needs_compiler
def test_micro_batches_add_up_and_the_same_call_gives_the_same_bits():
    shape = SHAPES[0]
    _, weights = model_of(shape)
    rows = rows_of(shape, 6)
    native = NativeGradient(shape, weights, rows=6, threads=2)
    results = []
    for _ in range(2):
        weights.zero_gradient()
        native(rows, rows[:, 1:].size, 0.0)
        results.append(weights.gradient.clone())
    assert torch.equal(*results)
    weights.zero_gradient()
    for part in (rows[:4], rows[4:]):
        native(part, rows[:, 1:].size, 0.0)
    torch.testing.assert_close(weights.gradient, results[0], rtol=1e-4, atol=1e-7)


@needs_compiler
def test_a_weight_that_is_no_number_reaches_the_gradient():
    shape = SHAPES[0]
    _, weights = model_of(shape)
    weights.views(weights.master)["blocks.0.mlp.up.weight"][0, 0] = float("nan")
    native = NativeGradient(shape, weights, rows=2, threads=1)
    weights.zero_gradient()
    native(rows_of(shape, 2), 66, 0.0)
    assert not torch.isfinite(torch.linalg.vector_norm(weights.gradient))


def test_without_a_compiler_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="no C compiler found"):
        build.compiled(Path(build.__file__).parent, build.SOURCES)


def test_what_it_does_not_compute_is_left_to_autograd():
    shape = SHAPES[0]
    assert "float32 or bfloat16, not float64" in obstacle(shape, "float64", [NextToken()])
    assert "one term" in obstacle(shape, "float32", [NextToken(), NextToken()])
