"""The few operations of a block that are worth writing by hand: each with its backward pass, beside its plain twin.

A gain, a rotation, a gated activation, attention over short rows, and several projections of one input as one product.
An Ops value says which of them a model calls; a run's execution names it. Where a hand-written one is faster has been
measured (docs/autograd.md): gains from 64k numbers on, attention between 128 and 768 steps, in bfloat16 from the start.

B batch, T time (queries), S keys, H query heads, K heads of keys, G = H/K, E head width, D width, F MLP width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The plain twins


def norm_plain(x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    """RMSNorm over the last axis (arXiv:1910.07467), then one gain a coordinate."""
    return F.rms_norm(x, x.shape[-1:], gain, eps)


def rotate_plain(x_BTHE: Tensor, turns: Tensor) -> Tensor:
    """Turn each pair (2i, 2i + 1) of coordinates by the angle whose cosine and sine are turns [.., T, 1, E/2, 2].

    Neighbouring pairs and one complex product cost half of what the cat of two halves does; Llama's layout, pairs
    (i, i + E/2), is the same rotation with the rows of q and k in another order.
    """
    wide_BTHE = x_BTHE if x_BTHE.element_size() >= 4 else x_BTHE.float()  # there are no half-precision complex kernels
    pairs = torch.view_as_complex(wide_BTHE.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.view_as_complex(turns)).flatten(-2).type_as(x_BTHE)


def rotate_in_real(x_BTHE: Tensor, turns: Tensor) -> Tensor:
    """rotate_plain without complex numbers, which torch.compile does not know."""
    cosine, sine = turns.unbind(-1)
    even, odd = x_BTHE.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2).type_as(x_BTHE)


def gated_plain(gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
    """SwiGLU (arXiv:2002.05202): silu(gate) * up."""
    return F.silu(gate_BTF) * up_BTF


def attend_plain(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
    """Causal attention of a row with itself, [B, H, T, E]; query head h reads the keys of head h * K // H."""
    grouped = q_BHTE.shape[1] != k_BKTE.shape[1]
    return F.scaled_dot_product_attention(q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=grouped)


def project_plain(x_BTD: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """What each layer makes of x."""
    return tuple(layer(x_BTD) for layer in layers)


# By hand


class _Norm(torch.autograd.Function):
    """Keeps x and one number a row. The sums are taken in fp32 or better."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
        wide = x.float() if x.element_size() < 4 else x
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain, inverse)
        unit = wide * inverse
        return (unit if gain is None else unit.mul_(gain)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, gain, inverse = ctx.saved_tensors
        wide, wanted = (t.float() if t.element_size() < 4 else t for t in (x, gradient))
        unit = wide * inverse
        product = (wanted * unit).flatten(0, -2)
        for_gain = None if gain is None else product.sum(0).to(gain.dtype)
        along = product.sum(-1) if gain is None else torch.mv(product, gain.to(product.dtype))
        scaled = wanted if gain is None else wanted * gain
        result = torch.addcmul(scaled, unit, along.view(inverse.shape).div_(-x.shape[-1]))
        return result.mul_(inverse).to(x.dtype), for_gain, None


def norm_by_hand(x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    """norm_plain with its backward pass written out."""
    return _Norm.apply(x, gain, eps)


LARGE = 1 << 16  # numbers; below, a call from Python costs more than it saves


def norm(x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    """norm_plain by what is faster at this size."""
    return norm_by_hand(x, gain, eps) if x.numel() >= LARGE else norm_plain(x, gain, eps)


class _Rotate(torch.autograd.Function):
    """Keeps nothing but the angles: the way back is the rotation by their negative."""

    @staticmethod
    def forward(ctx: Any, x_BTHE: Tensor, turns: Tensor) -> Tensor:
        ctx.turns = turns
        return rotate_plain(x_BTHE, turns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        back = torch.view_as_complex(ctx.turns).conj()
        wide_BTHE = gradient if gradient.element_size() >= 4 else gradient.float()
        pairs = torch.view_as_complex(wide_BTHE.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * back).flatten(-2).type_as(gradient), None


def rotate(x_BTHE: Tensor, turns: Tensor) -> Tensor:
    """rotate_plain with its backward pass written out."""
    return _Rotate.apply(x_BTHE, turns)


class _Gated(torch.autograd.Function):
    """What autograd does, with one buffer less."""

    @staticmethod
    def forward(ctx: Any, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        open_BTF = F.silu(gate_BTF)
        ctx.save_for_backward(gate_BTF, up_BTF, open_BTF)
        return open_BTF * up_BTF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate_BTF, up_BTF, open_BTF = ctx.saved_tensors
        for_gate = gradient * up_BTF
        torch.ops.aten.silu_backward(for_gate, gate_BTF, grad_input=for_gate)
        return for_gate, open_BTF * gradient


def gated(gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
    """gated_plain with its backward pass written out."""
    return _Gated.apply(gate_BTF, up_BTF)


class _Attend(torch.autograd.Function):
    """Attention as products, in blocks of queries; a block looks only at keys up to its end. Keeps the probabilities.

    Query heads that share keys lie under one another, so that groups cost no copy of the keys.
    """

    @staticmethod
    def forward(ctx: Any, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, blocks: int) -> Tensor:
        batch, heads, steps, size = q_BHTE.shape
        groups = heads // k_BKTE.shape[1]
        q_NGTE = q_BHTE.reshape(-1, groups, steps, size)
        k_NSE, v_NSE = k_BKTE.reshape(-1, steps, size), v_BKTE.reshape(-1, steps, size)
        out_NGTE = torch.empty_like(q_NGTE)
        kept = []
        for start, stop in _blocks(steps, blocks):
            q_NRE = q_NGTE[:, :, start:stop].reshape(-1, groups * (stop - start), size)
            bias_RS = _causal(start, stop, q_BHTE).repeat(groups, 1)
            scores_NRS = torch.baddbmm(bias_RS, q_NRE, k_NSE[:, :stop].mT, alpha=size**-0.5)
            weights_NRS = torch.softmax(scores_NRS, -1)
            out_NGTE[:, :, start:stop] = torch.bmm(weights_NRS, v_NSE[:, :stop]).view(-1, groups, stop - start, size)
            kept.append(weights_NRS)
        ctx.save_for_backward(q_NGTE, k_NSE, v_NSE, *kept)
        ctx.blocks, ctx.shapes = blocks, (q_BHTE.shape, k_BKTE.shape)
        return out_NGTE.view(batch, heads, steps, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_NGTE, k_NSE, v_NSE, *kept = ctx.saved_tensors
        _, groups, steps, size = q_NGTE.shape
        wanted_NGTE = gradient.reshape(q_NGTE.shape)
        for_q, for_k, for_v = torch.empty_like(q_NGTE), torch.zeros_like(k_NSE), torch.zeros_like(v_NSE)
        for (start, stop), weights_NRS in zip(_blocks(steps, ctx.blocks), kept, strict=True):
            rows = groups * (stop - start)
            q_NRE = q_NGTE[:, :, start:stop].reshape(-1, rows, size)
            wanted_NRE = wanted_NGTE[:, :, start:stop].reshape(-1, rows, size)
            for_v[:, :stop].baddbmm_(weights_NRS.mT, wanted_NRE)
            wanted_NRS = torch.bmm(wanted_NRE, v_NSE[:, :stop].mT)
            scores_NRS = torch._softmax_backward_data(wanted_NRS, weights_NRS, -1, weights_NRS.dtype)
            scores_NRS.mul_(size**-0.5)
            for_q[:, :, start:stop] = torch.bmm(scores_NRS, k_NSE[:, :stop]).view(-1, groups, stop - start, size)
            for_k[:, :stop].baddbmm_(scores_NRS.mT, q_NRE)
        of_queries, of_keys = ctx.shapes
        return for_q.view(of_queries), for_k.view(of_keys), for_v.view(of_keys), None


def _blocks(steps: int, number: int) -> list[tuple[int, int]]:
    """The rows 0..steps cut into that many stretches."""
    edges = [steps * i // number for i in range(number + 1)]
    return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


def _causal(start: int, stop: int, like: Tensor) -> Tensor:
    """What is added to the scores of queries start..stop: 0 for keys up to their own place, -inf beyond."""
    return torch.full((stop - start, stop), -torch.inf, dtype=like.dtype, device=like.device).triu_(start + 1)


def attend_in_blocks(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, blocks: int) -> Tensor:
    """attend_plain as products over that many blocks of queries."""
    return _Attend.apply(q_BHTE, k_BKTE, v_BKTE, blocks)


SHORTEST, LONGEST = 128, 768  # rows between which products in blocks beat torch's kernel in fp32
QUERIES = 64  # in a block


def attention_blocks(device: str, dtype: torch.dtype, steps: int, size: int) -> int:
    """Blocks of queries that are fastest for rows of that many steps and heads of that size; 0: torch's own kernel.

    Measured on one AVX-512 core (docs/engine.md): in fp32 blocks gain from 128 steps and heads of 32 on, up to 1.3x; in
    bfloat16 torch's way back costs 2 to 4 times as much as products, up to some 700 steps.
    """
    if device != "cpu" or steps > LONGEST:
        return 0
    if dtype == torch.bfloat16:
        return max(1, min(4, steps // QUERIES))
    return min(4, steps // QUERIES) if steps >= SHORTEST and size >= 32 else 0


def attend(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
    """attend_plain by what is fastest on this device, in this dtype, at this size."""
    blocks = attention_blocks(q_BHTE.device.type, q_BHTE.dtype, *q_BHTE.shape[2:])
    return attend_in_blocks(q_BHTE, k_BKTE, v_BKTE, blocks) if blocks else attend_plain(q_BHTE, k_BKTE, v_BKTE)


class Project(torch.autograd.Function):
    """One product for all weights, and one for all their gradients. No copy where the weights lie side by side."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        joined = _joined(weights)
        ctx.save_for_backward(x_BTD, joined)
        ctx.rows = [len(weight) for weight in weights]
        return F.linear(x_BTD, joined).split(ctx.rows, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x_BTD, joined = ctx.saved_tensors
        gradient = torch.cat(gradients, -1).flatten(0, -2)
        for_weights = gradient.mT @ x_BTD.flatten(0, -2)
        return ((gradient @ joined).view(x_BTD.shape), *for_weights.split(ctx.rows))


def _joined(weights: Sequence[Tensor]) -> Tensor:
    """The weights under one another: a view where they already lie so (train/optim.py lays them so), else a copy."""
    first, end = weights[0], weights[0].storage_offset()
    for weight in weights:
        same = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and weight.is_contiguous() and weight.storage_offset() == end):
            return torch.cat(list(weights))
        end += weight.numel()
    rows = sum(len(weight) for weight in weights)
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))


def project(x_BTD: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """project_plain as one product."""
    return Project.apply(x_BTD, *(layer.weight for layer in layers))


@dataclass(frozen=True)
class Ops:
    """Which of them a model calls."""

    norm: Callable[[Tensor, Tensor | None, float], Tensor] = norm_plain
    rotate: Callable[[Tensor, Tensor], Tensor] = rotate_plain
    gated: Callable[[Tensor, Tensor], Tensor] = gated_plain
    attend: Callable[[Tensor, Tensor, Tensor], Tensor] = attend_plain
    project: Callable[[Tensor, Sequence[nn.Linear]], tuple[Tensor, ...]] = project_plain


PLAIN = Ops()
IN_REAL = Ops(rotate=rotate_in_real)
ON_CPU = Ops(
    norm, rotate, gated, attend
)  # one product for several projections gains nothing here: same work, a copy more
ON_GPU = Ops(project=project)  # its kernels are fused already; fewer of them are launched
NAMED = {
    "torch": {"cpu": PLAIN, "cuda": PLAIN},
    "torch-ops": {"cpu": ON_CPU, "cuda": ON_GPU},
    "torch-compile": {"cpu": IN_REAL, "cuda": IN_REAL},  # the compiler joins the rest by itself
}


def ops_named(kernels: str, device: str) -> Ops:
    """What a model calls under the kernels of an execution; plain where they say nothing of it."""
    return NAMED.get(kernels, NAMED["torch"])[device]
