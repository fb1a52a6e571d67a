"""Every weight gets the init, rate, decay and epsilon that its role says, at every size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import nn

from gnomon.common.errors import GnomonError
from gnomon.model.parametrization import (
    Role,
    effective_decay,
    initialise,
    parameter_groups,
    role_of,
    roles,
    settings,
)
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Optimisation

# T6: width 128 over base 64 (m = 2), h = 0.006, r = 4, tau = 0.3, 100 steps, mlp_ratio 3:
# role, init std, rate, decay per step, epsilon.
HIDDEN = (Role.HIDDEN, 128**-0.5, 0.003, 1 / 30, 1e-12)
OUTPUT = (Role.OUTPUT, 0.0, 0.003, 1 / 30, 1e-12)
GAIN = (Role.GAIN, 0.0, 0.006, 0.0, 1e-12)
GOLDEN = {
    "embedding.weight": (Role.EMBEDDING, 1.0, 4 * 0.006 / 2**0.5, 0.0, 1e-12),
    "blocks.0.attention_norm.weight": GAIN,
    "blocks.0.attention.q.weight": HIDDEN,
    "blocks.0.attention.k.weight": HIDDEN,
    "blocks.0.attention.v.weight": HIDDEN,
    "blocks.0.attention.out.weight": OUTPUT,
    "blocks.0.attention.q_norm.weight": GAIN,
    "blocks.0.attention.k_norm.weight": GAIN,
    "blocks.0.mlp_norm.weight": GAIN,
    "blocks.0.mlp.gate.weight": HIDDEN,
    "blocks.0.mlp.up.weight": HIDDEN,
    "blocks.0.mlp.down.weight": OUTPUT,
    "norm.weight": GAIN,
    "head.weight": (Role.HEAD, 0.0, 4 * 0.006 / 2, 0.0, 1e-12),
}


def wide(**changes: object) -> ModelShape:
    return replace(ModelShape(vocab=50, context=8, width=128, depth=1), **changes)


def test_the_golden_table(optimisation):
    table = settings(wide(), optimisation, steps=100)
    assert list(table) == list(GOLDEN)
    for name, expected in GOLDEN.items():
        row = table[name]
        assert row.role is expected[0], name
        found = (row.init_std, row.rate, row.decay, row.eps)
        assert found == pytest.approx(expected[1:], rel=1e-12), name


def test_depth_changes_no_setting(optimisation):
    """CompleteP with alpha = 1: depth is in the branch multiplier alone."""
    shallow, deep = (settings(wide(depth=depth), optimisation, 100) for depth in (1, 7))
    assert all(deep[name.replace("blocks.0.", "blocks.6.")] == row for name, row in shallow.items())


def test_the_embedding_s_exponent_is_configuration(optimisation):
    changed = replace(optimisation, embedding_exponent=0.0)
    table, before = settings(wide(), changed, 100), settings(wide(), optimisation, 100)
    assert table["embedding.weight"].rate == pytest.approx(4 * 0.006)
    assert {n: r for n, r in table.items() if n != "embedding.weight"} == {
        n: r for n, r in before.items() if n != "embedding.weight"
    }


@pytest.mark.parametrize("name", ["blocks.0.attention.q.bias", "head.bias", "blocks.x.mlp.up.weight", "norm.weight2"])
def test_an_unknown_parameter_is_an_error(name):
    with pytest.raises(GnomonError, match=f"parameter {name}: no role is known"):
        role_of(name)


def test_a_model_with_an_unknown_parameter_gets_no_groups(optimisation, shape):
    model = Transformer(shape)
    model.extra = nn.Linear(2, 2)
    for ask in (lambda: roles(model), lambda: parameter_groups(model, shape, optimisation, 10)):
        with pytest.raises(GnomonError, match=r"extra\.weight"):
            ask()
    with pytest.raises(GnomonError, match=r"extra\.weight"):
        initialise(model, optimisation, 0)


@given(
    heads=st.integers(1, 16),
    depth=st.integers(1, 4),
    timescale=st.floats(0.01, 10),
    steps=st.integers(1, 10**7),
    batch_ratio=st.floats(0.1, 100),
    token_ratio=st.floats(0.1, 100),
)
@examples(deadline=None)
def test_a_run_forgets_at_its_timescale_whatever_its_size(heads, depth, timescale, steps, batch_ratio, token_ratio):
    """T5: decay per step * steps * tau = 1 for every decayed weight, however width, depth, batch and horizon move h."""
    rate = 0.006 * batch_ratio**0.5 * token_ratio**-0.32
    optimisation = Optimisation(
        rate=rate, base_width=64, base_depth=2, embed_ratio=1.0, timescale=timescale, beta1=0.9, beta2=0.95
    )
    shape = ModelShape(vocab=20, context=4, width=16 * heads, depth=depth, branch_multiplier=2 / depth)
    table = settings(shape, optimisation, steps)
    for name, row in table.items():
        if row.role in (Role.HIDDEN, Role.OUTPUT):
            assert row.decay * steps * timescale == pytest.approx(1, rel=1e-12), name
            assert row.rate * shape.width == pytest.approx(rate * 64, rel=1e-12), name
        else:
            assert row.decay == 0, name


@pytest.mark.parametrize(("timescale", "steps"), [(0.0, 10), (-0.3, 10), (0.3, 0)])
def test_a_run_without_length_has_no_decay(timescale, steps):
    with pytest.raises(GnomonError, match="both are greater than 0"):
        effective_decay(timescale, steps)


def test_first_values_follow_the_table(optimisation):
    shape = wide(width=256, depth=2, vocab=300, qk_gain=1.7)
    model = Transformer(shape)
    initialise(model, optimisation, seed=5)
    table = settings(shape, optimisation, 1)
    for name, parameter in model.named_parameters():
        if table[name].role is Role.GAIN:
            assert (parameter == (1.7 if "q_norm" in name or "k_norm" in name else 1.0)).all(), name
        else:
            assert float(parameter.detach().std()) == pytest.approx(table[name].init_std, rel=0.02), name
    assert torch.equal(model(torch.zeros(1, 4, dtype=torch.long)), torch.zeros(1, 4, 300))


def test_first_values_depend_on_seed_and_name_alone(optimisation):
    """Not on other weights, the order they come in, or torch's global generator."""

    def first(depth: int, seed: int, noise: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(noise)
        model = Transformer(wide(depth=depth))
        initialise(model, optimisation, seed)
        return {name: parameter.detach() for name, parameter in model.named_parameters()}

    here, deeper, other = first(2, 1, 0), first(3, 1, 9), first(2, 2, 0)
    assert all(torch.equal(here[name], deeper[name]) for name in here)
    assert not torch.equal(here["embedding.weight"], other["embedding.weight"])
    assert not torch.equal(here["blocks.0.attention.q.weight"], here["blocks.0.attention.k.weight"])
    assert not torch.equal(here["blocks.0.mlp.up.weight"], here["blocks.1.mlp.up.weight"])


def test_groups_hold_every_parameter_once_with_its_own_settings(optimisation, shape):
    model = Transformer(shape)
    table = settings(shape, optimisation, 50)
    groups = parameter_groups(model, shape, optimisation, 50)
    by_name = dict(model.named_parameters())
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(by_name)
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            assert parameter is by_name[name]
            row = table[name]
            assert (group["rate"], group["decay"], group["eps"]) == (row.rate, row.decay, row.eps)
    assert len(groups) == len({(g["rate"], g["decay"], g["eps"]) for g in groups})


def test_grouped_keys_and_a_tied_table_have_their_roles(optimisation):
    shape = wide(kv_heads=2, tied=True, vocab=3000, width=256)
    model = Transformer(shape)
    initialise(model, optimisation, seed=5)
    table = settings(shape, optimisation, 100)
    assert set(table) == set(GOLDEN) - {"head.weight"}
    assert table["embedding.weight"].role is Role.TIED
    assert table["embedding.weight"].rate == pytest.approx(4 * 0.006 / 4)
    for name in ("embedding.weight", "blocks.0.attention.k.weight", "blocks.0.attention.v.weight"):
        spread = float(model.get_parameter(name).detach().std())
        assert spread == pytest.approx(256**-0.5, rel=0.02) == table[name].init_std, name
