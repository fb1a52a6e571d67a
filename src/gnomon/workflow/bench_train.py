"""gnomon bench train: tokens/s of gnomon's step beside a plain one of our own, at the same matmul FLOPs per token.

The plain model is what a first course writes: LayerNorm, GELU, learned positions, attention as two products and a mask,
torch.optim.AdamW with its defaults (shape of arXiv:1706.03762 as a decoder; biases left out, so that products alone are
matched). The better-equipped rival is the same with scaled_dot_product_attention and AdamW(fused=True). Steps of all
three take turns, so that a busy machine slows all alike; a ratio is the median over turns.

B batch, T time, H heads, E head width, D width.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.recipe.flops import forward_flops_per_token, train_flops_per_token
from gnomon.recipe.plan import ModelShape, Optimisation, Plan

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

VOCAB, CONTEXT, DEPTH, BATCH_TOKENS = 1024, 256, 4, 2048
WIDTHS = (64, 128, 256)


class RandomCorpus:
    """Tokens drawn at random: how fast a step is does not depend on what it reads."""

    hash = "0" * 64
    vocab = VOCAB

    def __init__(self) -> None:
        import numpy as np

        self._tokens = np.random.default_rng(0).integers(0, VOCAB, 200_000).astype(np.uint16)
        self.token_bytes = np.ones(VOCAB, np.uint16)

    def tokens(self, split: str) -> np.ndarray:
        return self._tokens


def bench_plan(width: int, depth: int = DEPTH, context: int = CONTEXT, batch_tokens: int = BATCH_TOKENS) -> Plan:
    """A plan of the bench; its losses mean nothing, its steps cost what any run's of that shape do."""
    shape = ModelShape(vocab=VOCAB, context=context, width=width, depth=depth)
    optimisation = Optimisation(
        rate=1e-3, base_width=64, base_depth=depth, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95
    )
    return Plan(shape, optimisation, 1_000_000, max(1, batch_tokens // context), 1, 2, RandomCorpus.hash)


def plain_mlp_width(shape: ModelShape) -> int:
    """Width of a two-matrix MLP with the products of the gated one: (3/2) mlp_width."""
    return round(1.5 * shape.mlp_width)


def plain_model(shape: ModelShape, fused: bool) -> nn.Module:
    """The plain decoder with shape's matmul parameters. fused: with scaled_dot_product_attention."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class PlainBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
            self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
            self.out = nn.Linear(shape.width, shape.width, bias=False)
            self.up = nn.Linear(shape.width, plain_mlp_width(shape), bias=False)
            self.down = nn.Linear(plain_mlp_width(shape), shape.width, bias=False)
            self.mask: torch.Tensor
            self.register_buffer("mask", torch.ones(shape.context, shape.context, dtype=torch.bool).triu(1))

        def attend(self, q_BHTE: torch.Tensor, k_BHTE: torch.Tensor, v_BHTE: torch.Tensor) -> torch.Tensor:
            if fused:
                return F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True)
            scores = q_BHTE @ k_BHTE.transpose(-2, -1) / math.sqrt(shape.head_dim)
            return scores.masked_fill(self.mask, -math.inf).softmax(-1) @ v_BHTE

        def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
            parts = self.qkv(self.norm1(x_BTD)).unflatten(-1, (3, shape.heads, shape.head_dim))
            q_BHTE, k_BHTE, v_BHTE = (part.transpose(1, 2) for part in parts.unbind(2))
            x_BTD = x_BTD + self.out(self.attend(q_BHTE, k_BHTE, v_BHTE).transpose(1, 2).flatten(-2))
            return x_BTD + self.down(F.gelu(self.up(self.norm2(x_BTD))))

    class PlainDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(shape.vocab, shape.width)
            self.positions = nn.Embedding(shape.context, shape.width)
            self.blocks = nn.Sequential(*(PlainBlock() for _ in range(shape.depth)))
            self.norm = nn.LayerNorm(shape.width)
            self.head = nn.Linear(shape.width, shape.vocab, bias=False)

        def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
            places = torch.arange(tokens_BT.shape[1])
            return self.head(self.norm(self.blocks(self.tokens(tokens_BT) + self.positions(places))))

    return PlainDecoder()


def plain_step(plan: Plan, fused: bool) -> Callable[[], None]:
    """One optimiser step of the plain model, as plain code writes it."""
    import torch

    model = plain_model(plan.shape, fused)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused or None)
    tokens = torch.randint(0, plan.shape.vocab, (plan.batch_rows, plan.shape.context + 1))

    def step() -> None:
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def gnomon_step(plan: Plan, folder: Path, threads: int, kernels: str | None = None) -> Callable[[], None]:
    """One optimiser step of the trainer itself: rows, gradient, clip, update. kernels: in place of the fastest."""
    from dataclasses import replace

    from gnomon.train.execution import decide
    from gnomon.train.session import Session
    from gnomon.train.term import NextToken

    execution = decide(plan, threads)
    if kernels is not None:
        execution = replace(execution, kernels=kernels)
    corpus: Any = RandomCorpus()
    session = Session(plan, corpus, folder, execution, [NextToken(plan.optimisation.z_loss)])

    def step() -> None:
        session.take_step()

    return step


def interleaved(steps: Sequence[Callable[[], None]], turns: int, warmup: int = 2) -> list[list[float]]:
    """Seconds of each step in every turn: [turns][len(steps)]; within a turn they follow one another."""
    for _ in range(warmup):
        for step in steps:
            step()
    out = []
    for _ in range(turns):
        turn = []
        for step in steps:
            began = time.perf_counter()
            step()
            turn.append(time.perf_counter() - began)
        out.append(turn)
    return out


def bench_width(width: int, turns: int, threads: int) -> dict[str, float]:
    """One width: tokens/s, ratios to the two plain steps (above 1: gnomon is faster), share of the measured peak."""
    from gnomon.train.execution import decide, honoured
    from gnomon.train.peak import matmul_peak

    plan = bench_plan(width)
    with tempfile.TemporaryDirectory() as folder, honoured(decide(plan, threads)):
        steps = [gnomon_step(plan, Path(folder), threads), plain_step(plan, False), plain_step(plan, True)]
        times = interleaved(steps, turns)
    seconds = statistics.median(turn[0] for turn in times)
    tokens_per_s = plan.batch_tokens / seconds
    peak = matmul_peak(plan.shape, plan.batch_tokens, plan.dtype, threads)
    return {
        "tokens_per_s": tokens_per_s,
        "ratio_to_plain_fp32": statistics.median(turn[1] / turn[0] for turn in times),
        "ratio_to_fused_sdpa": statistics.median(turn[2] / turn[0] for turn in times),
        "fraction_of_matmul_peak": tokens_per_s * train_flops_per_token(plan.shape) / peak,
        "forward_flops_per_token": forward_flops_per_token(plan.shape),
        "matmul_peak_flops_per_s": peak,
    }


def bench_train(widths: Sequence[int] = WIDTHS, turns: int = 15, threads: int = 1) -> dict[str, Any]:
    """The whole bench, as `gnomon bench train --json` writes it: {"widths": {"64": {...}}, and what it ran on}."""
    from gnomon.train.execution import Machine, decide

    machine = Machine.here()
    return {
        "widths": {str(width): bench_width(width, turns, threads) for width in widths},
        "vocab": VOCAB,
        "context": CONTEXT,
        "depth": DEPTH,
        "batch_tokens": BATCH_TOKENS,
        "threads": threads,
        "turns": turns,
        "kernels": decide(bench_plan(widths[0]), threads).kernels,
        "torch": machine.torch,
        "processor": machine.processor,
    }


def bench_lines(measured: dict[str, Any]) -> Iterator[str]:
    """The bench in words: one line a width."""
    yield (
        f"{measured['processor']}, torch {measured['torch']}, {measured['threads']} thread(s), {measured['kernels']}; "
        f"vocabulary {measured['vocab']}, context {measured['context']}, {measured['depth']} blocks, "
        f"{measured['batch_tokens']} tokens a step, medians of {measured['turns']} interleaved turns"
    )
    yield f"{'width':>5} {'tokens/s':>10} {'plain fp32':>11} {'fused, SDPA':>12} {'of the matmul peak':>19}"
    for width, row in measured["widths"].items():
        yield (
            f"{width:>5} {row['tokens_per_s']:10,.0f} {row['ratio_to_plain_fp32']:10.2f}x "
            f"{row['ratio_to_fused_sdpa']:11.2f}x {row['fraction_of_matmul_peak']:18.0%}"
        )
