"""Which jobs of a ladder are trained together in a stack (train/stacking.py), and when that pays. Torch-free.

The compiled step makes a small run two to three times as fast as a stack does, so stacks are for machines without a C
compiler and for types that the compiled step does not know. There a stack takes between a half and three quarters of
the eager time, until products outgrow what is between them (docs/ladders.md has the table).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gnomon.common.compiler import c_compiler, switched_off
from gnomon.ladder.jobs import Job
from gnomon.recipe.flops import total_parameters
from gnomon.recipe.plan import Plan

STACK_BELOW = 200_000  # parameters: above, a stack gains less than a quarter
STACK_RUNS = 8  # more in one stack gain nothing on a CPU
STACKS_A_PROCESS = 2  # fewer than so many pieces of work for every process, and cores would stand idle


def pays(plan: Plan) -> bool:
    """Whether this plan is better trained in a stack than alone, given others like it."""
    compiled = plan.dtype != "float64" and c_compiler() is not None and not switched_off()
    return not compiled and not plan.study and total_parameters(plan.shape) <= STACK_BELOW


def grouped(jobs: Sequence[Job], processes: int) -> list[tuple[Job, ...]]:
    """The jobs as pieces of work, each for one worker: a job alone, or several to be trained together; costly first.

    Of two jobs that could share a stack neither costs a different number of FLOPs a step; their steps may differ.
    """
    alone: list[tuple[Job, ...]] = sorted(((job,) for job in jobs), key=_weight, reverse=True)
    alike: dict[object, list[Job]] = defaultdict(list)
    pieces: list[tuple[Job, ...]] = []
    for job in jobs:
        if job.kind == "train" and not job.keep_steps and pays(job.plan):
            plan = job.plan
            alike[plan.shape, plan.batch_rows, plan.dtype, job.sets, job.subset_tokens, job.threads].append(job)
        else:
            pieces.append((job,))
    for found in alike.values():
        pieces += [tuple(found[start : start + STACK_RUNS]) for start in range(0, len(found), STACK_RUNS)]
    if len(pieces) < STACKS_A_PROCESS * processes:
        return alone
    return sorted(pieces, key=_weight, reverse=True)


def _weight(piece: Sequence[Job]) -> float:
    return sum(job.weight for job in piece)
