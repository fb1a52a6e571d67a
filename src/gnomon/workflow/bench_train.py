"""gnomon bench train: tokens/s of gnomon's step beside a plain one of our own, at the same matmul FLOPs per token.

The plain model is what a first course writes: LayerNorm, GELU, learned positions, attention as two products and a mask,
torch.optim.AdamW with its defaults (shape of arXiv:1706.03762 as a decoder; biases left out, so that products alone are
matched). The better-equipped rival is the same with scaled_dot_product_attention and AdamW(fused=True); peers that are
set up (bench_peers.py) join in. Steps of all take turns, so that a busy machine slows all alike; a ratio is the median
over turns.

B batch, T time, H heads, E head width, D width.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.recipe.flops import forward_flops_per_token, train_flops_per_token
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.workflow.bench_peers import peer_steps

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from gnomon.train.execution import Execution

VOCAB, CONTEXT, DEPTH, BATCH_TOKENS = 1024, 256, 4, 2048
WIDTHS = (64, 128, 256)
DTYPES = ("auto", "float32", "bfloat16")


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


def gnomon_step(
    plan: Plan, folder: Path, threads: int, kernels: str | None = None, by_measurement: bool = False
) -> Callable[[], None]:
    """One optimiser step of the trainer itself: rows, gradient, clip, update. kernels: in place of the fastest."""
    from dataclasses import replace

    from gnomon.train.execution import decide
    from gnomon.train.session import Session
    from gnomon.train.term import NextToken

    execution = decide(plan, threads, by_measurement=by_measurement)
    if kernels is not None:
        execution = replace(execution, kernels=kernels)
    corpus: Any = RandomCorpus()
    session = Session(plan, corpus, folder, execution, [NextToken(plan.optimisation.z_loss)])

    def step() -> None:
        session.take_step()

    return step


def bench_width(width: int, turns: int, threads: int, dtype: str, home: Path | None) -> dict[str, Any]:
    """One width: tokens/s, ratios to the plain steps and to the peers (above 1: gnomon is faster), share of the peak.

    The peak is that of the products in the dtype that the step computes in. Memory is handed out as the system does.
    """
    from dataclasses import replace

    from gnomon.train.choice import best, interleaved, measured
    from gnomon.train.execution import honoured
    from gnomon.train.peak import matmul_peak

    plan = bench_plan(width)
    plan = replace(plan, dtype=best(measured(plan, threads)).dtype if dtype == "auto" else dtype)
    execution = decide_by_measurement(plan, threads)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(honoured(execution))
        peers = stack.enter_context(peer_steps(home, plan, threads)) if home else {}
        own = gnomon_step(plan, folder, threads, by_measurement=True)
        others: dict[str, Callable[[], None]] = {
            "plain": plain_step(plan, False), "fused_sdpa": plain_step(plan, True), **peers
        }  # fmt: skip
        times = interleaved([own, *others.values()], turns, warmup=2)
    seconds = statistics.median(turn[0] for turn in times)
    ratios = {name: statistics.median(turn[i] / turn[0] for turn in times) for i, name in enumerate(others, start=1)}
    tokens_per_s = plan.batch_tokens / seconds
    peak = matmul_peak(plan.shape, plan.batch_tokens, plan.dtype, threads)
    return {
        "tokens_per_s": tokens_per_s,
        "ratio_to_plain_fp32": ratios.pop("plain"),
        "fraction_of_matmul_peak": tokens_per_s * train_flops_per_token(plan.shape) / peak,
        "ratio_to": ratios,
        "dtype": plan.dtype,
        "kernels": execution.kernels,
        "peers": {name: {"setting": peer.setting, "tried_s": peer.tried} for name, peer in peers.items()},
        "forward_flops_per_token": forward_flops_per_token(plan.shape),
        "matmul_peak_flops_per_s": peak,
    }


def decide_by_measurement(plan: Plan, threads: int) -> Execution:
    from gnomon.train.execution import decide

    return decide(plan, threads, by_measurement=True)


def bench_train(
    widths: Sequence[int] = WIDTHS, turns: int = 15, threads: int = 1, dtype: str = "auto", home: Path | None = None
) -> dict[str, Any]:
    """The whole bench, as `gnomon bench train --json` writes it: {"widths": {"64": {...}}, and what it ran on}.

    dtype: float32, bfloat16, or auto, the one with the shorter step here. home: where peers may be set up.
    """
    from gnomon.train.execution import Machine

    if dtype not in DTYPES:
        raise GnomonError(f"bench train: dtype is {dtype!r}; it is one of {', '.join(DTYPES)}")
    machine = Machine.here()
    return {
        "widths": {str(width): bench_width(width, turns, threads, dtype, home) for width in widths},
        "vocab": VOCAB,
        "context": CONTEXT,
        "depth": DEPTH,
        "batch_tokens": BATCH_TOKENS,
        "threads": threads,
        "turns": turns,
        "torch": machine.torch,
        "processor": machine.processor,
    }


def bench_lines(measured: dict[str, Any]) -> Iterator[str]:
    """The bench in words: one line a width."""
    yield (
        f"{measured['processor']}, torch {measured['torch']}, {measured['threads']} thread(s); "
        f"vocabulary {measured['vocab']}, context {measured['context']}, {measured['depth']} blocks, "
        f"{measured['batch_tokens']} tokens a step, medians of {measured['turns']} interleaved turns"
    )
    names = list(next(iter(measured["widths"].values()))["ratio_to"])
    heads = "".join(f" {name:>13}" for name in ("plain fp32", *names))
    yield f"{'width':>5} {'tokens/s':>10}{heads} {'of the peak':>12}  kernels and dtype"
    for width, row in measured["widths"].items():
        ratios = "".join(f" {ratio:12.2f}x" for ratio in (row["ratio_to_plain_fp32"], *row["ratio_to"].values()))
        kernels = f"{row['kernels']}, {row['dtype']}"
        yield f"{width:>5} {row['tokens_per_s']:10,.0f}{ratios} {row['fraction_of_matmul_peak']:12.0%}  {kernels}"
        for name, peer in row["peers"].items():
            yield f"{'':5} {name}: {peer['setting']}, its fastest of {len(peer['tried_s'])} settings here"
