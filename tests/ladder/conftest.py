"""A home with runs in every state, made of files alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnomon.common.files import write_json
from gnomon.recipe.flops import train_flops
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.train.result import Result

SHAPE = ModelShape(vocab=300, context=32, width=32, depth=2)
OPTIMISATION = Optimisation(
    rate=0.006, base_width=32, base_depth=2, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95
)


def make_plan(seed: int = 0, **changes) -> Plan:
    plan = Plan(SHAPE, OPTIMISATION, steps=100, batch_rows=4, seed=seed, order_seed=seed, corpus="c" * 64)
    return replace(plan, **changes)


def write_run(home, plan: Plan, status: str | None = "done", checkpoints: tuple[int, ...] = (), **result) -> None:
    """A run's folder with a plan, checkpoints of 1000 bytes each, and, when it is finished, a result."""
    folder = home / "runs" / plan.run_id
    write_json(folder / "plan.json", plan.to_dict(), 1)
    for step in checkpoints:
        (folder / "checkpoint" / f"{step:08d}").mkdir(parents=True)
        (folder / "checkpoint" / f"{step:08d}" / "weights.safetensors").write_bytes(bytes(1000))
    if status is None:
        return
    evaluation = {"loss_nats": 3.0, "bits_per_byte": 1.5, "stderr_bits_per_byte": 0.01, "tokens": 640, "bytes": 2000}
    values = {
        "run_id": plan.run_id, "status": status, "steps": plan.steps, "tokens": plan.tokens,
        "flops": train_flops(plan), "seconds": 12.5, "train_loss_nats": 2.9,
        "evaluations": {"documents": evaluation} if status == "done" else {},
        "registry_head": "", "device": "a processor", "dtype": plan.dtype, "peak_rss_bytes": 1, "tokens_per_s": 100.0,
        **result,
    }  # fmt: skip
    Result(**values).write(folder)


@pytest.fixture
def plan_of():
    return make_plan


@pytest.fixture
def run_in():
    return write_run
