"""The rungs of a ladder, isoFLOP budgets × widths × seeds, as plans; and what they will cost, before any starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gnomon.common.errors import GnomonError
from gnomon.ladder.family import Family
from gnomon.recipe.flops import total_parameters, train_flops
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Budget

# What one training step reaches of a core's rate on 64 x 64 products (workflow/machine_speed.py), by width, with the
# compiled step; measured with the log's machine (docs/log.md). Only the estimate of minutes depends on it.
_EFFICIENCY = ((8, 0.15), (16, 0.25), (24, 0.33), (32, 0.38), (48, 0.45), (64, 0.5), (128, 0.65), (256, 0.7))


@dataclass(frozen=True)
class Rung:
    """One run of the ladder and the budget it belongs to."""

    plan: Plan
    budget: float  # nominal FLOPs of its isoFLOP group
    replica: int  # seed within the study: 0 is everyone's


@dataclass(frozen=True)
class Cost:
    """What a list of runs needs. seconds: wall time on all the cores it was asked for."""

    runs: int
    flops: float
    seconds: float
    memory_bytes: float
    disk_bytes: float


def rungs(budgets: Sequence[Budget], family: Family) -> list[Rung]:
    """Every run of the ladder, once. Raises GnomonError when a seeded width is not among its budget's widths."""
    found: dict[str, Rung] = {}
    for budget in budgets:
        stray = set(budget.seeded_widths) - set(budget.widths)
        if stray:
            raise GnomonError(
                f"ladder.budgets: seeded_widths {sorted(stray)} are not among the widths {list(budget.widths)} "
                f"of the budget {budget.compute:.3g}"
            )
        for width in budget.widths:
            for seed in budget.seeds if width in budget.seeded_widths else budget.seeds[:1]:
                plan = family.at(budget.compute, width, seed)
                found.setdefault(plan.run_id, Rung(plan, budget.compute, seed))
    return list(found.values())


def run_seconds(plan: Plan, core_flops_per_s: float) -> float:
    """Rough seconds of a run on a core of that rate, see workflow/machine_speed.py."""
    width = plan.shape.width
    below = [(w, e) for w, e in _EFFICIENCY if w <= width] or [_EFFICIENCY[0]]
    above = [(w, e) for w, e in _EFFICIENCY if w >= width] or [_EFFICIENCY[-1]]
    (w0, e0), (w1, e1) = below[-1], above[0]
    share = e0 if w0 == w1 else e0 + (e1 - e0) * (width - w0) / (w1 - w0)
    return train_flops(plan) / (share * core_flops_per_s)


def run_memory_bytes(plan: Plan, micro_tokens: int = 2048) -> float:
    """Weights, gradients and two AdamW states in fp32, activations of a micro-batch, and torch itself."""
    shape = plan.shape
    per_token = shape.depth * (16 * shape.width + 4 * shape.mlp_width + shape.heads * shape.context) + 4 * shape.vocab
    return 350e6 + 16.0 * total_parameters(shape) + 4.0 * per_token * min(micro_tokens, plan.batch_tokens)


def run_disk_bytes(plan: Plan) -> float:
    """Two checkpoints of weights and two states in fp32, final weights, metrics."""
    return 28.0 * total_parameters(plan.shape) + 200e3


def cost(plans: Sequence[Plan], core_flops_per_s: float, processes: int) -> Cost:
    """What the plans need when `processes` of them run side by side, longest first."""
    load = [0.0] * max(1, processes)
    for seconds in sorted((run_seconds(p, core_flops_per_s) for p in plans), reverse=True):
        load[load.index(min(load))] += seconds
    memory = sorted((run_memory_bytes(p) for p in plans), reverse=True)
    return Cost(
        runs=len(plans),
        flops=sum(train_flops(p) for p in plans),
        seconds=max(load),
        memory_bytes=sum(memory[: max(1, processes)]),
        disk_bytes=sum(run_disk_bytes(p) for p in plans),
    )
