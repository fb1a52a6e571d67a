"""The part of a whole tensor that a process holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


def window(tensor: DTensor) -> tuple[slice, ...]:
    """Which stretch of the whole this process holds, a slice a dimension."""
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))


@torch.no_grad()
def put(tensor: DTensor, whole: Tensor) -> None:
    """Take this process' part of a whole tensor."""
    tensor.to_local().copy_(whole[window(tensor)])


def local_gradient(parameter: DTensor) -> Tensor:
    """This process' part of a parameter's gradient; zeros, of nobody's use, where it holds nothing of it."""
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros_like(parameter.to_local())
    assert isinstance(gradient, DTensor)
    return gradient.to_local()
