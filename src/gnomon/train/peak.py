"""How fast this machine multiplies matrices of the model's own shapes: what the share of peak is a share of.

A data sheet's number says little about a model of width 32 on one thread; this one is measured.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch

from gnomon.recipe.plan import ModelShape
from gnomon.train.device import require, synchronise
from gnomon.train.execution import DTYPES
from gnomon.train.native import short_product

SECONDS_PER_SHAPE = 0.03
ROUNDS = 12


def matmul_shapes(shape: ModelShape) -> dict[tuple[int, int], int]:
    """(inputs, outputs) of the model's products and how often each occurs in a forward pass."""
    width, mlp = shape.width, shape.mlp_width
    counts: dict[tuple[int, int], int] = {}
    for key, number in (
        ((width, shape.query_width), shape.depth),
        ((width, shape.key_width), 2 * shape.depth),
        ((shape.query_width, width), shape.depth),
        ((width, mlp), 2 * shape.depth),
        ((mlp, width), shape.depth),
        ((width, shape.vocab), 1),
    ):
        counts[key] = counts.get(key, 0) + number
    return counts


@functools.cache
def matmul_peak(shape: ModelShape, tokens: int, dtype: str, threads: int, device: str = "cpu") -> float:
    """Operations per second of the model's forward products on `tokens` rows, each at its best. About half a second.

    Raises GnomonError when the device is not there.
    """
    require(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        flops = seconds = 0.0
        for (inputs, outputs), number in matmul_shapes(shape).items():
            flops += number * 2.0 * tokens * inputs * outputs
            seconds += number * _seconds(tokens, inputs, outputs, DTYPES[dtype], device)
        return flops / seconds
    finally:
        torch.set_num_threads(before)


def _seconds(rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: str) -> float:
    """Of one product, the best of many and of the ways there are: other programs only ever make it slower."""
    left, right = (torch.rand(size, device=device).to(dtype) for size in ((rows, inputs), (inputs, outputs)))
    into = torch.empty(rows, outputs, dtype=dtype, device=device)
    ways: list[Callable[[], object]] = [functools.partial(torch.mm, left, right, out=into)]
    if device == "cpu" and dtype == torch.bfloat16 and (short := short_product(left, right)):
        ways.append(short)
    return min(_best_of(way, device) for way in ways)


def _best_of(product: Callable[[], object], device: str) -> float:
    product()
    synchronise(device)
    best, spent, rounds = float("inf"), 0.0, 0
    while spent < SECONDS_PER_SHAPE or rounds < ROUNDS:
        began = time.perf_counter()
        product()
        synchronise(device)
        taken = time.perf_counter() - began
        best, spent, rounds = min(best, taken), spent + taken, rounds + 1
    return best
