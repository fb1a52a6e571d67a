"""Every hand-written operation against its plain twin and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnomon.model import ops
from gnomon.model.transformer import rotary_table

Case = tuple[Callable[..., Any], Callable[..., Any], tuple[Tensor, ...]]


def random(*size: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed + sum(size)), dtype=dtype)


def turns(steps: int, size: int, dtype: torch.dtype) -> Tensor:
    return rotary_table(steps, size, 100.0).unsqueeze(-3).to(dtype if dtype == torch.float64 else torch.float32)


def heads(number: int, steps: int, size: int, dtype: torch.dtype, seed: int) -> Tensor:
    """[B, H, T, E] as a block makes them: not contiguous."""
    return random(2, steps, number, size, dtype=dtype, seed=seed).transpose(1, 2)


def case(name: str, dtype: torch.dtype = torch.float64, steps: int = 6) -> Case:
    """(by hand, plain, inputs that have a gradient)."""
    wide = random(2, steps, 8, dtype=dtype)
    if name == "norm":
        inputs = (wide * 3, 1 + 0.3 * random(8, dtype=dtype))
        return lambda x, g: ops.norm_by_hand(x, g, 1e-6), lambda x, g: ops.norm_plain(x, g, 1e-6), inputs
    if name in ("rotate", "rotate in real"):
        angles = turns(steps, 4, dtype)
        return (
            lambda x: (ops.rotate if name == "rotate" else ops.rotate_in_real)(x, angles),
            lambda x: ops.rotate_plain(x, angles),
            (random(2, steps, 3, 4, dtype=dtype),),
        )
    if name == "gated":
        return ops.gated, ops.gated_plain, (wide, random(2, steps, 8, dtype=dtype, seed=5))
    if name == "project":
        inputs = (wide, random(5, 8, dtype=dtype), random(3, 8, dtype=dtype, seed=2))
        return ops.Project.apply, lambda x, *w: tuple(x @ weight.T for weight in w), inputs
    blocks, of_keys = {"attend": (1, 4), "attend in blocks": (3, 4), "grouped": (2, 2)}[name]
    inputs = tuple(heads(n, steps, 4, dtype, seed) for seed, n in enumerate((4, of_keys, of_keys)))
    return lambda *x: ops.attend_in_blocks(*x, blocks), ops.attend_plain, inputs


NAMES = ("norm", "rotate", "rotate in real", "gated", "project", "attend", "attend in blocks", "grouped")


def both_ways(function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Values, then the gradient of their weighted sum with respect to every input."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    found = function(*leaves)
    values = list(found) if isinstance(found, tuple) else [found]
    total = sum((v * random(*v.shape, dtype=v.dtype, seed=9)).sum() for v in values)
    assert isinstance(total, Tensor)
    return [v.detach() for v in values] + list(torch.autograd.grad(total, leaves))


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_is_that_of_finite_differences(name: str) -> None:
    function, _, inputs = case(name)
    assert torch.autograd.gradcheck(function, [x.detach().clone().requires_grad_() for x in inputs])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["f64", "f32"])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_the_plain_twin(name: str, dtype: torch.dtype, tolerance: float) -> None:
    by_hand, plain, inputs = case(name, dtype, steps=130)
    for mine, theirs in zip(both_ways(by_hand, inputs), both_ways(plain, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_in_bfloat16_both_are_as_near_to_the_truth(name: str) -> None:
    """Error against float64, as a share of the largest value: no worse than the plain twin's, give or take rounding."""
    by_hand, plain, inputs = case(name, torch.bfloat16, steps=130)
    mine, theirs = both_ways(by_hand, inputs), both_ways(plain, inputs)
    exact, _, _ = case(name, torch.float64, steps=130)
    truth = both_ways(exact, tuple(x.double() for x in inputs))
    for a, b, t in zip(mine, theirs, truth, strict=True):
        assert a.dtype == torch.bfloat16
        size = float(t.abs().max())
        error, other = float((a.double() - t).abs().max()) / size, float((b.double() - t).abs().max()) / size
        assert error <= max(1.5 * other, 2**-7), (error, other)


def test_weights_side_by_side_are_read_where_they_lie() -> None:
    store = random(100)
    weights = [store[:24].view(3, 8), store[24:64].view(5, 8)]
    assert ops._joined(weights).data_ptr() == store.data_ptr()
    assert torch.equal(ops._joined(weights), torch.cat(weights))
    apart = [weights[0], store[66:90].view(3, 8)]
    assert torch.equal(ops._joined(apart), torch.cat(apart))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("steps", [5, 64, 200, 300, 800])
def test_attention_chosen_by_length_is_still_attention(steps: int, dtype: torch.dtype) -> None:
    q, k, v = (heads(2, steps, 32, dtype, seed) for seed in range(3))
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(ops.attend(q, k, v), ops.attend_plain(q, k, v), rtol=tolerance, atol=tolerance)


def test_a_gpu_is_left_to_torch_s_kernel() -> None:
    assert (
        ops.attention_blocks("cuda", torch.bfloat16, 256, 64) == 0 and ops.ops_named("torch-ops", "cuda") == ops.ON_GPU
    )
    assert ops.attention_blocks("cpu", torch.bfloat16, 64, 16) == 1
    assert ops.attention_blocks("cpu", torch.float32, 2048, 64) == 0
