"""The model reads only the past, computes what its formulas say, and has the parameters that are counted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.model.cache import Cache
from gnomon.model.transformer import Transformer
from gnomon.recipe.flops import total_parameters
from gnomon.recipe.plan import ModelShape


def tokens(rows: int = 3, steps: int = 24, vocab: int = 61, seed: int = 0) -> Tensor:
    return torch.randint(vocab, (rows, steps), generator=torch.Generator().manual_seed(seed))


def norm(x: Tensor, gain: Tensor | float, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain


def plain_logits(model: Transformer, row_T: Tensor) -> Tensor:
    """The slow twin: one row, one head and one query at a time, in float64, as the papers write it."""
    shape, weights = model.shape, {n: p.detach().double() for n, p in model.named_parameters()}
    x_TD = weights["embedding.weight"][row_T]
    if shape.embedding_norm:
        x_TD = norm(x_TD, 1.0, shape.norm_eps)
    for i in range(shape.depth):
        part = {n.removeprefix(f"blocks.{i}."): w for n, w in weights.items() if n.startswith(f"blocks.{i}.")}
        read_TD = norm(x_TD, part["attention_norm.weight"], shape.norm_eps)
        mixed = []
        for head in range(shape.heads):
            rows = slice(head * shape.head_dim, (head + 1) * shape.head_dim)
            read_by = head * shape.key_heads // shape.heads
            shared = slice(read_by * shape.head_dim, (read_by + 1) * shape.head_dim)
            q_TE = read_TD @ part["attention.q.weight"][rows].T
            k_TE, v_TE = (read_TD @ part[f"attention.{name}.weight"][shared].T for name in "kv")
            if shape.qk_norm:
                q_TE = norm(q_TE, part["attention.q_norm.weight"], shape.norm_eps)
                k_TE = norm(k_TE, part["attention.k_norm.weight"], shape.norm_eps)
            q_TE, k_TE = turned(q_TE, shape.rope_base), turned(k_TE, shape.rope_base)
            out = []
            for t in range(len(row_T)):
                scores = k_TE[: t + 1] @ q_TE[t] / math.sqrt(shape.head_dim)
                out.append(torch.softmax(scores, 0) @ v_TE[: t + 1])
            mixed.append(torch.stack(out))
        x_TD = x_TD + shape.branch_multiplier * torch.cat(mixed, -1) @ part["attention.out.weight"].T
        read_TD = norm(x_TD, part["mlp_norm.weight"], shape.norm_eps)
        gate = read_TD @ part["mlp.gate.weight"].T
        inner = gate * torch.sigmoid(gate) * (read_TD @ part["mlp.up.weight"].T)
        x_TD = x_TD + shape.branch_multiplier * inner @ part["mlp.down.weight"].T
    head = weights["embedding.weight" if shape.tied else "head.weight"]
    return norm(x_TD, weights["norm.weight"], shape.norm_eps) @ head.T


def turned(x_TE: Tensor, base: float) -> Tensor:
    out = torch.empty_like(x_TE)
    width = x_TE.shape[-1]
    for t in range(len(x_TE)):
        for i in range(width // 2):
            angle = t * base ** (-2 * i / width)
            a, b = x_TE[t, 2 * i], x_TE[t, 2 * i + 1]
            out[t, 2 * i] = a * math.cos(angle) - b * math.sin(angle)
            out[t, 2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
    return out


FROM_ELSEWHERE = {"query_heads": 6, "kv_heads": 2, "exact_mlp": 51, "tied": True}


@pytest.mark.parametrize(
    "changes",
    [{}, {"qk_norm": False, "embedding_norm": False, "rope_base": 100.0}, FROM_ELSEWHERE, {"kv_heads": 1}],
)
def test_logits_are_what_the_formulas_say(build, changes):
    model, rows = build(**changes), tokens(rows=2, steps=11)
    logits = model(rows).detach().double()
    expected = torch.stack([plain_logits(model, row) for row in rows])
    assert (logits - expected).abs().max() < 1e-5
    assert logits.std() > 0.1


def test_a_changed_token_changes_no_logit_before_it(build):
    model, rows = build(), tokens()
    before = model(rows)
    for t in (0, 1, 7, 15, 16, 23):
        changed = rows.clone()
        changed[:, t] = (changed[:, t] + 1) % 61
        after = model(changed)
        assert torch.equal(after[:, :t], before[:, :t]), f"token {t} is seen before it is read"
        assert ((after[:, t:] - before[:, t:]).abs().amax(-1) > 1e-6).all(), f"token {t} is not seen after it is read"


def test_a_changed_token_changes_no_logit_before_it_in_a_cache(build, shape):
    model, rows = build(), tokens()
    changed = rows.clone()
    changed[:, 13] = (changed[:, 13] + 1) % 61

    def read(rows_BT: Tensor) -> Tensor:
        cache = Cache(shape, len(rows_BT))
        return torch.cat([model(part, cache) for part in rows_BT.split(5, dim=1)], 1)

    before, after = read(rows), read(changed)
    assert torch.equal(after[:, :13], before[:, :13])
    assert ((after[:, 13:] - before[:, 13:]).abs().amax(-1) > 1e-6).all()


def test_rows_of_a_batch_do_not_see_each_other(build):
    model, rows = build(), tokens()
    changed = rows.clone()
    changed[0] = (changed[0] + 1) % 61
    assert torch.equal(model(changed)[1:], model(rows)[1:])


def test_the_counted_parameters_are_the_model_s(shape):
    for changed in (
        shape,
        ModelShape(vocab=300, context=8, width=48, depth=5, qk_norm=False, mlp_ratio=2.7),
        replace(shape, **FROM_ELSEWHERE),
    ):
        assert sum(p.numel() for p in Transformer(changed).parameters()) == total_parameters(changed)


def test_a_branch_multiplier_is_the_same_as_smaller_output_weights(build):
    """What an export folds: 1/l into attention out and mlp down."""
    model, folded, rows = build(branch_multiplier=0.25), build(branch_multiplier=1.0), tokens()
    with torch.no_grad():
        for block in folded.blocks:
            block.attention.out.weight *= 0.25
            block.mlp.down.weight *= 0.25
    assert torch.allclose(model(rows), folded(rows), atol=1e-5)


def test_a_token_s_row_counts_by_its_direction_alone(build):
    model, rows = build(norm_eps=1e-12), tokens()
    before = model(rows)
    with torch.no_grad():
        model.embedding.weight *= torch.linspace(0.5, 7, 61)[:, None]
    assert torch.allclose(model(rows), before, atol=1e-5)


def test_positions_stay_exact_when_the_model_is_cast(build):
    """A rounded angle of a far position would be a wrong position."""
    model = build()
    exact = model.rotary_bits.view(torch.float32).clone()
    cast = model.to(torch.bfloat16)
    assert torch.equal(cast.rotary_bits.view(torch.float32), exact)
    assert cast(tokens()).dtype == torch.bfloat16


def test_a_block_in_float64_rounds_nowhere_to_float32(build):
    """Else equalities that are proved in float64 would hold to 1e-7 only, and this difference quotient to nothing."""
    model = build(depth=1).double()
    turns = model.rotary_bits.view(torch.float32)[:5].unsqueeze(-3)
    x_BTD = model.embed(tokens(rows=1, steps=5)).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model.blocks[0](x, turns, None, 0), x_BTD, fast_mode=True, atol=1e-7)


def test_attention_depends_on_distance_alone(build):
    """Rotary positions: the same tokens later in a row, behind a prefix that nothing attends to, read the same."""
    model, rows = build(depth=1), tokens(rows=1, steps=6)
    turns = model.rotary_bits.view(torch.float32).unsqueeze(-3)
    x_BTD = model.embed(rows)
    block = model.blocks[0]
    here = block(x_BTD, turns[:6], None, 0)
    there = block(x_BTD, turns[11:17], None, 0)
    assert torch.allclose(here, there, atol=1e-5)
    assert not torch.allclose(here, block(x_BTD, turns[:12:2], None, 0), atol=1e-3)


def test_a_row_longer_than_the_context_is_refused(build):
    with pytest.raises(GnomonError, match="a row of 25 tokens; this model reads at most 24"):
        build()(tokens(steps=25))


def test_grouped_heads_and_a_tied_head_read_the_same_in_a_cache(build, shape):
    model, rows = build(**FROM_ELSEWHERE), tokens()
    cache = Cache(model.shape, len(rows))
    assert cache.keys.shape[2] == 2
    read = torch.cat([model(part, cache) for part in rows.split(5, dim=1)], 1)
    assert (read - model(rows)).abs().max() < 1e-5


def test_a_tied_head_is_trained_and_stored_once(build):
    model = build(tied=True)
    assert "head.weight" not in dict(model.named_parameters()) and "head.weight" not in model.state_dict()
    model(tokens()).sum().backward()
    by_head = torch.autograd.grad(model(tokens())[..., 5].sum(), model.embedding.weight)[0]
    assert by_head[5].abs().sum() > 0
    assert model.head.weight is model.embedding.weight
