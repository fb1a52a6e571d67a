"""The learner of many processes: FSDP2 shards the weights, each process takes its share of a step's rows.

What autograd leaves is summed over the shares, never averaged: the terms were divided by the counts of the whole step
already (rule 1). Moments exist for a process' own shards alone, and the update is element by element, so it is that of
one process. Along `tensor` the heads and the columns of the MLP are divided (arXiv:1909.08053), rows are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from gnomon.model.ops import PLAIN, Ops, ops_named
from gnomon.model.parametrization import QK_GAIN, initialise, parameter_groups
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import Plan
from gnomon.train.device import fetched, moved
from gnomon.train.execution import Execution
from gnomon.train.gradient import StepGradient
from gnomon.train.optim import clip_scale
from gnomon.train.parallel.mesh import Mesh, bounds
from gnomon.train.parallel.optim import ShardedAdamW
from gnomon.train.parallel.parts import local_gradient, put
from gnomon.train.parallel.store import OnDisk
from gnomon.train.parallel.world import Processes
from gnomon.train.term import Batch, Forward, Term, divided


class Objective(nn.Module):
    """Model and terms in one forward pass: inside it, and nowhere else, the weights are whole."""

    def __init__(self, model: Transformer, terms: Sequence[Term]) -> None:
        super().__init__()
        self.model, self.terms = model, terms

    def forward(self, rows: Tensor, counts: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """rows: integers [B, T + 1]. What to minimise, and what each term shows, float64 [terms]; both divided."""
        forward = Forward(self.model, Batch.of_rows(rows))
        values, shown = zip(*(divided(term(forward), term, counts) for term in self.terms), strict=True)
        return torch.stack(values).sum(), torch.stack([value.double() for value in shown])


def device_mesh(mesh: Mesh, device: str) -> DeviceMesh:
    """The processes, arranged. Dimensions of one process are left out, but for data."""
    sizes = {"replicate": mesh.replicate, "data": mesh.data, "tensor": mesh.tensor}
    kept = {name: size for name, size in sizes.items() if size > 1 or name == "data"}
    return init_device_mesh(device, tuple(kept.values()), mesh_dim_names=tuple(kept))


def ops_of(execution: Execution) -> Ops:
    """Those that the execution names, but for one: several projections as one product would keep a copy of weights that
    are whole only for a moment."""
    return replace(ops_named(execution.kernels, execution.device), project=PLAIN.project)


def divide_heads(model: Transformer, mesh: DeviceMesh) -> None:
    """Each process of the mesh keeps a part of the heads and of the MLP's columns of every block."""
    into, out_of = ColwiseParallel(), RowwiseParallel()
    plan: dict[str, ParallelStyle] = {f"attention.{name}": into for name in "qkv"} | {"attention.out": out_of}
    plan |= {"mlp.gate": into, "mlp.up": into, "mlp.down": out_of}
    for block in model.blocks:
        parallelize_module(block, mesh, plan)


def sum_not_average(module: nn.Module) -> None:
    """Make FSDP2 add gradients up over processes: the trainer divides."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other; NCCL's average may differ in last bits


def shard(objective: Objective, mesh: DeviceMesh, dtype: torch.dtype) -> None:
    """Shard weights over `data`, whole copies along `replicate`; one block at a time is whole during a pass."""
    names = [name for name in ("replicate", "data") if name in (mesh.mesh_dim_names or ())]
    # Inputs are not cast: the angles of positions stay fp32. Gradients are added up in fp32 at least.
    reduced = torch.float32 if dtype == torch.bfloat16 else dtype
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=reduced, cast_forward_inputs=False)
    rows_mesh = mesh[tuple(names)] if len(names) > 1 else mesh[names[0]]
    for block in objective.model.blocks:
        fully_shard(block, mesh=rows_mesh, mp_policy=policy)
    fully_shard(objective, mesh=rows_mesh, mp_policy=policy)
    sum_not_average(objective)


class ShardedLearner:
    """The learner of a mesh: see gnomon.train.learner.Learner. Every process of the mesh calls the same methods."""

    def __init__(self, plan: Plan, execution: Execution, terms: Sequence[Term], mesh: Mesh, crew: Processes) -> None:
        mesh.require_world(crew.size)
        mesh.require_plan(plan)
        self.plan, self.execution, self.terms, self.mesh, self.crew = plan, execution, terms, mesh, crew
        self.device, self.devices = torch.device(execution.device), device_mesh(mesh, execution.device)
        self.model = Transformer(plan.shape, ops_of(execution))
        groups = parameter_groups(self.model, plan.shape, plan.optimisation, plan.steps)
        self.model.to(torch.float64 if execution.torch_dtype == torch.float64 else torch.float32)
        if mesh.tensor > 1:
            divide_heads(self.model, self.devices["tensor"])
        self.objective = Objective(self.model, terms)
        shard(self.objective, self.devices, execution.torch_dtype)
        self.parameters = {name: cast(DTensor, parameter) for name, parameter in self.model.named_parameters()}
        self.optimiser = ShardedAdamW(self.parameters, groups, plan.optimisation.beta1, plan.optimisation.beta2)
        self._norm = math.nan
        self.begin()

    @property
    def updates(self) -> int:
        return self.optimiser.taken

    def begin(self) -> None:
        fresh = Transformer(self.plan.shape)
        initialise(fresh, self.plan.optimisation, self.plan.seed)
        self.load({name: p.detach() for name, p in fresh.named_parameters()}, {}, 0)
        self.optimiser.forget()

    # The gradient

    def gradient(self, rows: NDArray[np.int64]) -> Tensor:
        all_rows = torch.from_numpy(rows)
        counts = Batch.of_rows(all_rows).counts
        shown = torch.zeros(len(self.terms), dtype=torch.float64)
        for parameter in self.parameters.values():
            parameter.grad = None
        for part in self.pieces(all_rows):
            objective, seen = self.objective(moved(part, self.device), counts)
            objective.backward()
            shown += fetched(seen)
        if self.mesh.tensor > 1:
            self._add_up_shared_gains()
        return self._reduced(shown)

    def pieces(self, rows: Tensor) -> list[Tensor]:
        """This process' share of a step's rows in micro-batches, equally many in every process.

        Shares differ by a row at most, so a micro-batch may hold one row more than the execution says, never none.
        """
        shares = self.mesh.shares
        largest, least = -(-len(rows) // shares), len(rows) // shares
        count = min(-(-largest // self.execution.micro_rows), least)
        start, stop = bounds(len(rows), shares, self.mesh.share_of(self.crew.rank))
        mine = rows[start:stop]
        return [mine[slice(*bounds(len(mine), count, i))] for i in range(count)]

    def _add_up_shared_gains(self) -> None:
        """Gains inside attention serve all heads, and each process along tensor has seen its own heads' part."""
        gains = [p for name, p in self.parameters.items() if re.fullmatch(QK_GAIN, name)]
        if gains:
            parts = [local_gradient(p) for p in gains]
            total = torch.cat(parts)
            dist.all_reduce(total, group=self.devices.get_group("tensor"))
            for part, value in zip(parts, total.split([p.numel() for p in parts]), strict=True):
                part.copy_(value)

    def _reduced(self, shown: Tensor) -> Tensor:
        """What the terms show over all shares; the norm is found on the same way."""
        squares = 0.0
        for parameter in self.parameters.values():
            part = local_gradient(parameter)
            copies = self.mesh.size // shards_of(parameter)
            squares += float(torch.linalg.vector_norm(part, dtype=torch.float64)) ** 2 / copies
        everywhere = self.crew.gathered([squares, *shown.tolist()])
        self._norm = math.sqrt(math.fsum(values[0] for values in everywhere))
        readers = everywhere[:: self.mesh.tensor]  # one of those that read the same rows
        return torch.tensor([math.fsum(v) for v in zip(*(r[1:] for r in readers), strict=True)], dtype=torch.float64)

    def norm(self) -> float:
        return self._norm

    def plain_gradient(self) -> StepGradient:
        return self.gradient

    # The update, and what is stored

    def update(self, multiplier: float, norm: float) -> None:
        self.optimiser.step(multiplier, clip_scale(norm, self.plan.optimisation.clip))

    def weights(self) -> dict[str, Tensor]:
        """Sharded tensors (DTensor) by name."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def moments(self) -> dict[str, Tensor]:
        """Sharded tensors (DTensor) by "STATE.PARAMETER"."""
        return self.optimiser.moments()

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], updates: int) -> None:
        for stored, mine in ((weights, self.weights()), (moments, self.moments())):
            if isinstance(stored, OnDisk):
                stored.read_into(mine, self.crew.group)
            elif stored:
                for name, tensor in mine.items():
                    put(cast(DTensor, tensor), stored[name])
        self.optimiser.taken = updates

    def probe(self) -> Transformer:
        fresh = Transformer(self.plan.shape)
        initialise(fresh, self.plan.optimisation, self.plan.seed)
        return fresh


def shards_of(tensor: DTensor) -> int:
    """Into how many different parts a tensor is cut; the processes hold each of them equally often."""
    sizes = [tensor.device_mesh.size(i) for i, place in enumerate(tensor.placements) if not place.is_replicate()]
    return math.prod(sizes)
