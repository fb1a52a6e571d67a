"""`gnomon train --plan`: what a run would need, what there is, and whether it fits; nothing starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.corpus.shards import Corpus
from gnomon.recipe.flops import total_parameters, train_flops
from gnomon.recipe.plan import Plan
from gnomon.train import memory
from gnomon.train.memory import Needs, size

if TYPE_CHECKING:
    from gnomon.train.execution import Execution

MEASURED_STEPS = 3
LONG_STEP_S = 20.0  # a step that would take longer is not tried, only reckoned from the peak
REACHED = 0.5  # of the products' peak, where no step was tried


def corpus_bytes(corpus: Corpus) -> float:
    return float(corpus.tokens("train").nbytes)


def needs_here(plan: Plan, execution: Execution, corpus: Corpus, held_out_tokens: int) -> Needs:
    """What the run needs in this process, its libraries loaded."""
    import pyarrow.parquet  # noqa: F401
    import safetensors.torch  # noqa: F401

    return memory.needs(plan, execution, corpus_bytes(corpus), memory.resident_bytes(), held_out_tokens)


def step_seconds(plan: Plan, execution: Execution, corpus: Corpus, peak: float) -> tuple[float, str]:
    """Seconds of one step and how that is known: measured, or reckoned from the products' peak in FLOP/s."""
    reckoned = train_flops(plan) / plan.steps / (REACHED * peak)
    if reckoned > LONG_STEP_S:
        return reckoned, f"at {REACHED:.0%} of the products' peak"
    from gnomon.corpus.rows import TrainRows
    from gnomon.train.execution import honoured
    from gnomon.train.learner import FlatLearner
    from gnomon.train.term import NextToken

    rows = TrainRows(corpus.tokens("train"), plan.shape.context, plan.order_seed, plan.batch_rows)
    with honoured(execution):
        learner = FlatLearner(plan, execution, [NextToken(plan.optimisation.z_loss)])
        spent = []
        for step in range(1 + MEASURED_STEPS):
            began = time.perf_counter()
            learner.gradient(rows.batch(step))
            learner.update(1e-3, learner.norm())
            spent.append(time.perf_counter() - began)
    return min(spent[1:]), f"the fastest of {MEASURED_STEPS} steps"


def plan_lines(
    plan: Plan, execution: Execution, corpus: Corpus, home: Path, peak: float, held_out_tokens: int
) -> Iterator[str]:
    """The plan in words, and last whether it fits."""
    need = needs_here(plan, execution, corpus, held_out_tokens)
    free = memory.available_bytes() + memory.resident_bytes()
    disk = memory.disk_free(home)
    problem = memory.verdict(plan, execution, need, free, disk)
    size_words = f"{total_parameters(plan.shape):,} parameters, {plan.steps:,} steps of {plan.batch_tokens:,} tokens"
    yield f"run        {plan.run_id}, {size_words}"
    how = f"{execution.kernels}, {plan.dtype}, threads {execution.threads}, rows at once {execution.micro_rows}"
    yield f"how        {how}"
    for name, count in need.memory.items():
        if count >= 0.05e6:
            yield f"memory     {size(count):>9}  {name}"
    yield f"           {size(need.memory_bytes):>9}  in all; {size(free)} are free"
    yield f"disk       {size(need.disk_most):>9}  while it trains, {size(need.disk)} after; {size(disk)} are free"
    if problem:
        yield f"time       not tried, {train_flops(plan):.3g} FLOPs"
        yield f"does not fit: {problem}"
        return
    seconds, how = step_seconds(plan, execution, corpus, peak)
    yield f"time       {plan.steps * seconds:9.0f} s  {1e3 * seconds:.3g} ms a step, {how}"
    yield "it fits; nothing was started"
