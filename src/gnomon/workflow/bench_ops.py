"""gnomon bench ops: every hand-written operation beside its plain twin, forward and backward, in turn.

What model/ops.py chooses by size follows these figures; docs/autograd.md has them for one machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TOKENS = 2048
WIDTHS = (64, 256)
HEADS = ((64, 64, 16), (64, 128, 32), (32, 256, 64), (16, 512, 64), (8, 1024, 64))  # batch * heads, steps, size
VOCABULARY = 8192
TURNS = 9

Ways = dict[str, Callable[[], None]]


def both_passes(function: Callable[..., Any], *inputs: torch.Tensor) -> Callable[[], None]:
    """A call that takes value and gradients of the inputs."""
    import torch

    leaves = [x.detach().requires_grad_() for x in inputs]
    with torch.no_grad():
        found = function(*leaves)
    wanted = [torch.ones_like(part) for part in (found if isinstance(found, tuple) else (found,))]

    def call() -> None:
        found = function(*leaves)
        torch.autograd.grad(found if isinstance(found, tuple) else (found,), leaves, wanted)

    return call


def cases(dtype: torch.dtype) -> Iterator[tuple[str, Ways]]:
    """What is measured: a name, and the ways to do it, the plain one first."""
    import torch

    from gnomon.model import ops
    from gnomon.model.transformer import rotary_table

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size).to(dtype)

    for width in WIDTHS:
        x, gain = random(8, TOKENS // 8, width), random(width)
        norms = {"plain": ops.norm_plain, "by hand": ops.norm_by_hand}
        yield f"gain, width {width}", {name: both_passes(partial(f, eps=1e-6), x, gain) for name, f in norms.items()}
        heads, turns = x.unflatten(-1, (-1, 16)), rotary_table(TOKENS // 8, 16, 1e4).unsqueeze(-3)
        rotations = {"plain": ops.rotate_plain, "by hand": ops.rotate}
        yield f"rotation, width {width}", {name: both_passes(_second(f, turns), heads) for name, f in rotations.items()}
        gate, up = random(TOKENS, 3 * width), random(TOKENS, 3 * width)
        gates: dict[str, Callable[..., Any]] = {"plain": ops.gated_plain, "by hand": ops.gated}
        yield f"gated activation, width {width}", {name: both_passes(f, gate, up) for name, f in gates.items()}
        weights = [random(width, width) for _ in range(3)]
        products = {"plain": lambda x, *w: tuple(x @ one.T for one in w), "as one": ops.Project.apply}
        yield f"three projections, width {width}", {name: both_passes(f, x, *weights) for name, f in products.items()}
    for number, steps, size in HEADS:
        qkv = [random(1, steps, number, size).transpose(1, 2) for _ in range(3)]
        ways: Ways = {"plain": both_passes(ops.attend_plain, *qkv)}
        for blocks in (1, 2, 4, 8):
            if 32 <= steps // blocks <= 512:
                ways[f"{blocks} blocks"] = both_passes(partial(ops.attend_in_blocks, blocks=blocks), *qkv)
        yield f"attention, {number} x {steps} x {size}", ways
    yield f"head and loss, vocabulary {VOCABULARY:,}", _heads(random(TOKENS, 128), random(VOCABULARY, 128))


def _second(function: Callable[..., Any], second: torch.Tensor) -> Callable[..., Any]:
    return lambda first: function(first, second)


def _heads(hidden_ND: torch.Tensor, weight_VD: torch.Tensor) -> Ways:
    import torch

    from gnomon.train.term import cross_entropy, head_cross_entropy

    targets = torch.randint(0, VOCABULARY, (TOKENS,))
    whole = both_passes(lambda h, w: cross_entropy(h @ w.T, targets, 1e-4)[0], hidden_ND, weight_VD)
    return {"plain": whole, "in pieces": both_passes(lambda h, w: head_cross_entropy(h, w, targets, 1e-4)[0],
                                                     hidden_ND, weight_VD)}  # fmt: skip


def seconds_of(ways: Ways, turns: int) -> dict[str, float]:
    """Median seconds of processor time of each way; in each turn they follow one another."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 2):
        for name, call in ways.items():
            began = time.process_time()
            call()
            if turn >= 2:
                times[name].append(time.process_time() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def bench_ops(dtypes: Sequence[str] = ("float32", "bfloat16"), turns: int = TURNS) -> Iterator[str]:
    """A line a case and dtype, on one thread: milliseconds, and how many times as fast as the plain way."""
    from gnomon.train.allocator import keep_freed_memory
    from gnomon.train.choice import torch_threads
    from gnomon.train.execution import DTYPES, Machine

    machine = Machine.here()
    keep_freed_memory()
    yield f"{machine.processor}, torch {machine.torch}, one thread, {TOKENS} tokens; ms of processor time, both passes"
    with torch_threads(1):
        for dtype in dtypes:
            for name, ways in cases(DTYPES[dtype]):
                found = seconds_of(ways, turns)
                plain = found["plain"]
                told = "  ".join(f"{way} {1e3 * s:.2f} ({plain / s:.2f}x)" for way, s in found.items())
                yield f"{dtype:8} {name:32} {told}"
