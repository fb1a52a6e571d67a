"""A decoder-only transformer: token rows in, logits out.

Pre-norm blocks of causal attention with rotary positions (arXiv:2104.09864) and a gated MLP (SwiGLU, arXiv:2002.05202),
RMSNorm (arXiv:1910.07467), optional qk-norm, no biases. Heads may share keys and values in groups (arXiv:2305.13245),
and the head may be the embedding table. Both branches of a block are multiplied by shape.branch_multiplier (1/l in
arXiv:2505.01618). Which init, rate and decay each weight gets: parametrization.py. The operations inside a block, plain
or by hand: ops.py.

B batch, T time, S keys seen, D width, H query heads, K heads of keys, E head width, F MLP width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnomon.common.errors import GnomonError
from gnomon.model.cache import Cache
from gnomon.model.ops import PLAIN, Ops
from gnomon.recipe.plan import ModelShape


class Gain(nn.Module):
    """RMSNorm over the last axis, then one learned gain a coordinate."""

    def __init__(self, width: int, eps: float, ops: Ops = PLAIN) -> None:
        super().__init__()
        self.eps, self.ops = eps, ops
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.ops.norm(x, self.weight, self.eps)


def rotary_table(context: int, head_dim: int, base: float) -> Tensor:
    """Cosine and sine [context, E/2, 2] of the angles t * base^(-2i/E) by which coordinates (2i, 2i + 1) are turned."""
    powers = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    angles = torch.arange(context, dtype=torch.float64)[:, None] * base**-powers
    return torch.stack([angles.cos(), angles.sin()], -1).float()


class Attention(nn.Module):
    def __init__(self, shape: ModelShape, ops: Ops = PLAIN) -> None:
        super().__init__()
        self.head_dim, self.ops = shape.head_dim, ops
        self.grouped = shape.key_heads != shape.heads  # query head h reads the keys of head h * K // H
        self.q = nn.Linear(shape.width, shape.query_width, bias=False)
        self.k = nn.Linear(shape.width, shape.key_width, bias=False)
        self.v = nn.Linear(shape.width, shape.key_width, bias=False)
        self.out = nn.Linear(shape.query_width, shape.width, bias=False)
        self.q_norm = Gain(shape.head_dim, shape.norm_eps, ops) if shape.qk_norm else nn.Identity()
        self.k_norm = Gain(shape.head_dim, shape.norm_eps, ops) if shape.qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor, turns: Tensor, cache: Cache | None, layer: int) -> Tensor:
        q_BTHE, k_BTKE, v_BTKE = (
            part.unflatten(-1, (-1, self.head_dim)) for part in self.ops.project(x_BTD, (self.q, self.k, self.v))
        )
        q_BHTE = self.ops.rotate(self.q_norm(q_BTHE), turns).transpose(1, 2)
        k_BKTE = self.ops.rotate(self.k_norm(k_BTKE), turns).transpose(1, 2)
        v_BKTE = v_BTKE.transpose(1, 2)
        if cache is None:
            mixed_BHTE = self.ops.attend(q_BHTE, k_BKTE, v_BKTE)
        else:
            k_BKSE, v_BKSE, seen_B1TS = cache.append(layer, k_BKTE, v_BKTE)
            mixed_BHTE = F.scaled_dot_product_attention(
                q_BHTE, k_BKSE, v_BKSE, attn_mask=seen_B1TS, enable_gqa=self.grouped
            )
        return self.out(mixed_BHTE.transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    def __init__(self, shape: ModelShape, ops: Ops = PLAIN) -> None:
        super().__init__()
        self.ops = ops
        self.gate = nn.Linear(shape.width, shape.mlp_width, bias=False)
        self.up = nn.Linear(shape.width, shape.mlp_width, bias=False)
        self.down = nn.Linear(shape.mlp_width, shape.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(self.ops.gated(*self.ops.project(x_BTD, (self.gate, self.up))))


class Block(nn.Module):
    def __init__(self, shape: ModelShape, ops: Ops = PLAIN) -> None:
        super().__init__()
        self.branch_multiplier = shape.branch_multiplier
        self.attention_norm = Gain(shape.width, shape.norm_eps, ops)
        self.attention = Attention(shape, ops)
        self.mlp_norm = Gain(shape.width, shape.norm_eps, ops)
        self.mlp = Mlp(shape, ops)

    def forward(self, x_BTD: Tensor, turns: Tensor, cache: Cache | None, layer: int) -> Tensor:
        attended_BTD = self.attention(self.attention_norm(x_BTD), turns, cache, layer)
        x_BTD = torch.add(x_BTD, attended_BTD, alpha=self.branch_multiplier)
        return torch.add(x_BTD, self.mlp(self.mlp_norm(x_BTD)), alpha=self.branch_multiplier)


class TiedHead(nn.Module):
    """A head that is the embedding table. It has no parameter of its own: the table is trained and stored once."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self._owner = (embedding,)  # in a tuple, so that the table is not registered a second time

    @property
    def weight(self) -> Tensor:
        return self._owner[0].weight

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.weight)


class Transformer(nn.Module):
    """The model of a shape. Its weights are whatever torch leaves there until parametrization.initialise sets them.

    ops: what computes; values and gradients are the same with any, but for rounding.
    """

    rotary_bits: Tensor

    def __init__(self, shape: ModelShape, ops: Ops = PLAIN) -> None:
        super().__init__()
        self.shape, self.ops = shape, ops
        # On the meta device there are no numbers, and to ask for some would load torch's compiler, seconds of it.
        unset = torch.empty(shape.vocab, shape.width)
        self.embedding = nn.Embedding(shape.vocab, shape.width, _weight=unset if unset.is_meta else None)
        self.blocks = nn.ModuleList(Block(shape, ops) for _ in range(shape.depth))
        self.norm = Gain(shape.width, shape.norm_eps, ops)
        self.head: nn.Linear | TiedHead = (
            TiedHead(self.embedding) if shape.tied else nn.Linear(shape.width, shape.vocab, bias=False)
        )
        # Kept as integers: model.to(torch.bfloat16) must not round the angles of far positions.
        size = (shape.context, shape.head_dim // 2, 2)
        table = torch.empty(size) if unset.is_meta else rotary_table(shape.context, shape.head_dim, shape.rope_base)
        self.register_buffer("rotary_bits", table.view(torch.int32), persistent=False)

    @classmethod
    def unfilled(cls, shape: ModelShape) -> Transformer:
        """A model whose weights are not set: for weights that are read from a file at once."""
        with torch.device("meta"):
            model = cls(shape)
        model.to_empty(device="cpu")
        model.rotary_bits = rotary_table(shape.context, shape.head_dim, shape.rope_base).view(torch.int32)
        return model

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Rows of the embedding table [B, T, D], RMS-normalised when the shape says so."""
        x_BTD = self.embedding(tokens_BT)
        return self.ops.norm(x_BTD, None, self.shape.norm_eps) if self.shape.embedding_norm else x_BTD

    def hidden(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """What the head reads, [B, T, D], after the last norm.

        tokens_BT: integers [B, T]. With a cache, row b's tokens take the positions after those it already holds.
        Raises GnomonError when a row would be longer than shape.context.
        """
        steps = tokens_BT.shape[1]
        if steps > self.shape.context:
            raise GnomonError(f"a row of {steps} tokens; this model reads at most {self.shape.context}")
        positions = slice(0, steps) if cache is None else cache.positions(steps)
        turns = self.rotary_bits.view(torch.float32)[positions].unsqueeze(-3)
        x_BTD = self.embed(tokens_BT)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, turns, cache, layer)
        if cache is not None:
            cache.advance(steps)
        return self.norm(x_BTD)

    def forward(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each one. See hidden for tokens_BT, cache and errors."""
        return self.head(self.hidden(tokens_BT, cache))
