"""Parameters and floating-point operations, counted from shapes, as Python numbers that cannot overflow.

A multiply and an add are two operations. A backward pass costs twice the forward (arXiv:2001.08361 §2.1). Attention is
counted for the keys a causal query can see, (T+1)/2 on average, not for the full square.
"""

from __future__ import annotations

from gnomon.recipe.plan import ModelShape, Plan


def block_parameters(shape: ModelShape) -> int:
    """Matrix parameters of all blocks: q, k, v, out and the three of the gated MLP."""
    attention = 2 * shape.width * (shape.query_width + shape.key_width)
    return shape.depth * (attention + 3 * shape.width * shape.mlp_width)


def matmul_parameters(shape: ModelShape) -> int:
    """Parameters a token is multiplied with: blocks and head, tied or not; no embedding table, no gains."""
    return block_parameters(shape) + shape.vocab * shape.width


def gain_parameters(shape: ModelShape) -> int:
    per_block = 2 * shape.width + (2 * shape.head_dim if shape.qk_norm else 0)
    return shape.depth * per_block + shape.width


def total_parameters(shape: ModelShape) -> int:
    """Every trained number: blocks, gains, embedding table and head, which are one table when tied."""
    tables = shape.vocab * shape.width * (1 if shape.tied else 2)
    return block_parameters(shape) + gain_parameters(shape) + tables


def forward_flops_per_token(shape: ModelShape) -> float:
    """2 per matmul parameter, and per block 4 * query_width for each of the (T+1)/2 keys seen on average."""
    attention = shape.depth * 4 * shape.query_width * (shape.context + 1) / 2
    return 2.0 * matmul_parameters(shape) + attention


def train_flops_per_token(shape: ModelShape) -> float:
    return 3.0 * forward_flops_per_token(shape)


def train_flops(plan: Plan) -> float:
    """Operations of the whole run."""
    return train_flops_per_token(plan.shape) * plan.tokens
