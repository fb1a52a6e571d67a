"""The model's weights as one flat buffer, and AdamW on it.

A model of 20k parameters has some twenty tensors; one call per tensor would cost more than the arithmetic. So weights,
gradients and moments each lie in one buffer, parameters are views of it, and an update is one fused call per group of
equal settings. Decay is decoupled and independent of the rate (arXiv:1711.05101): p *= 1 - s*decay, then Adam with
rate*s. Master weights and moments are fp32 (float64 in float64 runs); bf16 weights are a copy, refreshed every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnomon.common.errors import GnomonError

ALIGNMENT = (
    16  # numbers; a parameter starts on a cache line in fp32, so kernels see the same alignment in every process
)


@dataclass(frozen=True)
class Group:
    """A stretch of the buffer with one setting. rate: at schedule 1. decay: share lost per step at schedule 1.

    optimiser: "adamw", or "muon" (train/muon.py).
    """

    start: int
    stop: int
    rate: float
    decay: float
    eps: float
    optimiser: str = "adamw"


class FlatWeights:
    """A model's parameters as views of one buffer.

    master: [n] weights that the optimiser moves. compute: what the model multiplies with; the same tensor unless the
    run is in bf16. gradient: [n] in master's dtype, summed over micro-batches by add_gradient; part: of one micro-batch
    in compute's dtype, gradient itself unless the run is in bf16. All on one device.
    """

    def __init__(
        self, model: nn.Module, groups: Sequence[dict[str, Any]], dtype: torch.dtype, device: str = "cpu"
    ) -> None:
        """groups: as gnomon.model.parametrization.parameter_groups gives them; every parameter is in exactly one."""
        named = dict(model.named_parameters())
        order = [name for group in groups for name in group["names"]]
        if sorted(order) != sorted(named):
            odd = sorted(set(order) ^ set(named)) or sorted(n for n in order if order.count(n) > 1)
            raise GnomonError(f"parameter {odd[0]}: every parameter belongs to exactly one optimiser group")
        self.groups: list[Group] = []
        self.places: dict[str, tuple[int, torch.Size]] = {}
        end = 0
        for group in groups:
            start = end
            for name in group["names"]:
                self.places[name] = (end, named[name].shape)
                end += math.ceil(named[name].numel() / ALIGNMENT) * ALIGNMENT
            setting = (group["rate"], group["decay"], group["eps"], group.get("optimiser", "adamw"))
            self.groups.append(Group(start, end, *setting))
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.master = torch.zeros(end, dtype=wide, device=device)
        self.gradient = torch.zeros_like(self.master)
        for name, view in self.views(self.master).items():
            view.copy_(named[name].detach())
        self.shared = dtype == wide
        self.compute = self.master if self.shared else self.master.to(dtype)
        self.part = self.gradient if self.shared else torch.zeros_like(self.compute)
        model.to(device, dtype)  # buffers too
        self._lend(model)

    def _lend(self, model: nn.Module) -> None:
        """Make the model's parameters and gradients views of the buffers."""
        weights, gradients = self.views(self.compute), self.views(self.part)
        for name, parameter in model.named_parameters():
            parameter.data = weights[name]
            parameter.grad = gradients[name]

    def move(self, model: nn.Module, master: Tensor, gradient: Tensor, compute: Tensor, part: Tensor) -> None:
        """Live in these buffers [n] from now on, values and all; compute and part are master and gradient if shared."""
        master.copy_(self.master)
        compute.copy_(self.compute)
        self.master, self.gradient, self.compute, self.part = master, gradient, compute, part
        self._lend(model)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The stretches of a buffer like master, by parameter name, in their shapes."""
        return {name: flat[at : at + shape.numel()].view(shape) for name, (at, shape) in self.places.items()}

    def zero_gradient(self) -> None:
        self.gradient.zero_()

    def add_gradient(self) -> None:
        """After a micro-batch's backward pass: add a bf16 gradient to the fp32 sum. In fp32 backward did it already."""
        if not self.shared:
            self.gradient.add_(self.part)
            self.part.zero_()

    def refresh(self) -> None:
        """After the optimiser or a load: the compute copy follows the master weights."""
        if not self.shared:
            self.compute.copy_(self.master)


class AdamW:
    """AdamW on those groups of the flat weights that ask for it. taken: updates so far.

    first: its first moments [n]. second: the second moments, of its own groups alone, one after another; [n] when all
    groups are its own.
    """

    def __init__(self, weights: FlatWeights, beta1: float, beta2: float) -> None:
        self.weights, self.beta1, self.beta2 = weights, beta1, beta2
        self.groups = [group for group in weights.groups if group.optimiser == "adamw"]
        self.first = torch.zeros_like(weights.master)
        self.second = weights.master.new_zeros(sum(group.stop - group.start for group in self.groups))
        self.taken = 0
        self._parts: list[list[list[Tensor]]] = []
        self._second_at: list[int] = []
        end = 0
        for group in self.groups:
            stretch, size = slice(group.start, group.stop), group.stop - group.start
            buffers = (weights.master[stretch], weights.gradient[stretch], self.first[stretch])
            self._parts.append([[buffer] for buffer in (*buffers, self.second[end : end + size])])
            self._second_at.append(end)
            end += size

    def moments(self) -> dict[str, Tensor]:
        """What a checkpoint holds: "first.NAME" of every weight, "second.NAME" of those that have one, as views."""
        found = {f"first.{name}": view for name, view in self.weights.views(self.first).items()}
        for group, start in zip(self.groups, self._second_at, strict=True):
            for name, (at, shape) in self.weights.places.items():
                if group.start <= at < group.stop:
                    begin = start + at - group.start
                    found[f"second.{name}"] = self.second[begin : begin + shape.numel()].view(shape)
        return found

    def step(self, multiplier: float, gradient_scale: float = 1.0) -> None:
        """One update at s(t) = multiplier; the gradient counts divided by gradient_scale (1: as it is)."""
        self.update(multiplier, gradient_scale)
        self.weights.refresh()

    def update(self, multiplier: float, gradient_scale: float) -> None:
        """step, but for the compute copy of the weights."""
        self.taken += 1
        taken = [torch.tensor(float(self.taken), device=self.first.device)]
        if gradient_scale != 1.0:
            self.weights.gradient.div_(gradient_scale)
        for group, (weight, gradient, first, second) in zip(self.groups, self._parts, strict=True):
            # torch's own fused kernel, without the 0.1 ms a torch.optim step spends around it.
            torch._fused_adamw_(
                weight, gradient, first, second, [], taken,
                lr=group.rate * multiplier, beta1=self.beta1, beta2=self.beta2,
                weight_decay=group.decay / group.rate if group.rate else 0.0,  # its decay is lr * weight_decay
                eps=group.eps, amsgrad=False, maximize=False,
            )  # fmt: skip


class AdamWTwin(AdamW):
    """The slow twin of AdamW: the same update written out."""

    @torch.no_grad()
    def update(self, multiplier: float, gradient_scale: float) -> None:
        self.taken += 1
        self.weights.gradient.div_(gradient_scale)
        for group, parts in zip(self.groups, self._parts, strict=True):
            weight, gradient, first, second = (part[0] for part in parts)
            weight.mul_(1 - multiplier * group.decay)
            first.lerp_(gradient, 1 - self.beta1)
            second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
            size = (second / (1 - self.beta2**self.taken)).sqrt_().add_(group.eps)
            weight.addcdiv_(first, size, value=-multiplier * group.rate / (1 - self.beta1**self.taken))


def clip_scale(norm: float, clip: float) -> float:
    """What to divide the gradient by so that its norm is at most clip; 1 when it is small enough or clip is 0."""
    return norm / clip if 0 < clip < norm else 1.0
