"""Branches: a shorter or longer run that starts from a checkpoint of another one and decays to zero from there.

One trunk at a constant rate serves several horizons (arXiv:2405.18392). It is an approximation, since rate, batch and
decay belong to the trunk's own horizon; rows of branches say so (trunk = true).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train import schedule
from gnomon.train.checkpoint import Checkpoint


def parse(reference: str) -> tuple[str, int]:
    """ "RUN@STEP" -> (run, step). Raises GnomonError when it is not of that form."""
    run, at, step = reference.rpartition("@")
    if not at or not run or not step.isdigit():
        raise GnomonError(f"branch {reference!r}: a branch starts from RUN@STEP, for example 0123456789abcdef@1200")
    return run, int(step)


def branch_plan(trunk: Plan, step: int, steps: int) -> Plan:
    """The plan that leaves trunk after `step` updates and decays to zero at `steps`, both counted from its beginning.

    Warm-up and weight decay per step stay those of the trunk: they are written as fractions of a run's steps, so the
    fractions change. Raises GnomonError when the trunk is still warming up or already decaying at that step.
    """
    old = trunk.optimisation
    warm, decays = schedule.warmup_steps(trunk.steps, old), schedule.decay_start(trunk.steps, old)
    if not warm <= step <= decays:
        raise GnomonError(
            f"branch {trunk.run_id}@{step}: its rate is constant from step {warm} to {decays}; "
            "a branch leaves between them"
        )
    if steps <= step:
        raise GnomonError(f"branch {trunk.run_id}@{step}: a branch of {steps} steps ends before it begins")
    ratio = trunk.steps / steps
    new = replace(
        old,
        warmup_fraction=warm / steps,
        decay_fraction=(steps - step) / steps,
        timescale=old.timescale * ratio,
    )
    return replace(trunk, steps=steps, optimisation=new, parent=f"{trunk.run_id}@{step}")


def parent_checkpoint(plan: Plan, runs: Path) -> Checkpoint:
    """The checkpoint that a branch's plan starts from; runs: the folder that holds the runs by id.

    Raises GnomonError when it is not there, is damaged, or is of a run with another shape, batch, order or corpus.
    """
    run, step = parse(plan.parent)
    trunk_dir = runs / run
    trunk = checkpoints.read_plan(trunk_dir)
    for field in ("shape", "batch_rows", "seed", "order_seed", "corpus", "dtype", "numerics"):
        found = checkpoints.difference({field: _plain(plan, field)}, {field: _plain(trunk, field)})
        if found:
            raise GnomonError(f"branch {plan.parent}: its trunk is another run: {found}")
    kept = checkpoints.steps(trunk_dir)
    if step not in kept:
        known = ", ".join(str(s) for s in kept) or "none"
        raise GnomonError(f"branch {plan.parent}: no checkpoint of that step; those kept: {known}")
    return checkpoints.load(trunk_dir, step)


def _plain(plan: Plan, field: str) -> object:
    return plan.to_dict()[field]
