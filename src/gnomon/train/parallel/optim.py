"""AdamW on the shards that a process holds: torch's fused kernel on lists of them, one call per group of settings.

The update is element by element, so it is that of gnomon.train.optim.AdamW on the whole weights, whatever the mesh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from gnomon.train.parallel.parts import local_gradient


class ShardedAdamW:
    """taken: updates so far. Moments exist for a process' own parts alone."""

    def __init__(
        self, parameters: Mapping[str, DTensor], groups: Sequence[dict[str, Any]], beta1: float, beta2: float
    ) -> None:
        """groups: as gnomon.model.parametrization.parameter_groups gives them, all of them AdamW's."""
        self.parameters, self.groups, self.beta1, self.beta2 = parameters, groups, beta1, beta2
        self.taken = 0
        self.first = {name: torch.zeros_like(p.to_local()).detach() for name, p in parameters.items()}
        self.second = {name: torch.zeros_like(part) for name, part in self.first.items()}

    def forget(self) -> None:
        """No moments and no updates, as at the start of a run."""
        self.taken = 0
        for part in (*self.first.values(), *self.second.values()):
            part.zero_()

    def moments(self) -> dict[str, Tensor]:
        """ "first.NAME" and "second.NAME" as sharded tensors that lie as their parameters do."""
        kinds = (("first", self.first), ("second", self.second))
        return {f"{kind}.{name}": like(self.parameters[name], part) for kind, of in kinds for name, part in of.items()}

    @torch.no_grad()
    def step(self, multiplier: float, gradient_scale: float = 1.0) -> None:
        """One update at s(t) = multiplier; the gradient counts divided by gradient_scale (1: as it is)."""
        self.taken += 1
        for group in self.groups:
            names = [n for n in group["names"] if self.first[n].numel()]  # of short weights a process may hold nothing
            gradients = [local_gradient(self.parameters[n]) for n in names]
            if gradient_scale != 1.0:
                torch._foreach_div_(gradients, gradient_scale)
            if names:
                taken = torch.tensor(float(self.taken), device=gradients[0].device)
                torch._fused_adamw_(
                    [self.parameters[n].to_local() for n in names], gradients,
                    [self.first[n] for n in names], [self.second[n] for n in names], [], [taken] * len(names),
                    lr=group["rate"] * multiplier, beta1=self.beta1, beta2=self.beta2,
                    weight_decay=group["decay"] / group["rate"] if group["rate"] else 0.0,  # its decay is lr * this
                    eps=group["eps"], amsgrad=False, maximize=False,
                )  # fmt: skip


def like(parameter: DTensor, part: Tensor) -> DTensor:
    """A sharded tensor of which this process holds `part`, lying as parameter does."""
    return DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, run_check=False,
        shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip
