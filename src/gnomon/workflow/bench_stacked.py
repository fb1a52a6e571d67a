"""gnomon bench stacked: a run's step alone, by compiled code or autograd, and as one of a stack, at a ladder's sizes.

Sides take turns; a figure is the median over turns of processor seconds, since everything runs on one thread. What
ladder/stacks.py holds to be worth a stack is read off this table.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnomon.ladder.stacks import STACK_BELOW
from gnomon.recipe.flops import total_parameters
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.workflow.bench_train import RandomCorpus, bench_plan

VOCAB, CONTEXT, DEPTH, HEAD_DIM = 2048, 64, 2, 8  # of the quickstart's ladder
SIZES = ((8, 4), (16, 4), (24, 4), (32, 6), (48, 6), (64, 8), (96, 8))  # widths, and rows of their batches there
RUNS = (2, 3, 8)


class WideCorpus(RandomCorpus):
    """Random tokens of a larger vocabulary."""

    vocab = VOCAB

    def __init__(self) -> None:
        import numpy as np

        super().__init__()
        self._tokens = np.random.default_rng(0).integers(0, VOCAB, 200_000).astype(np.uint16)
        self.token_bytes = np.ones(VOCAB, np.uint16)


def stacked_plan(width: int, rows: int, seed: int) -> Plan:
    shape = ModelShape(vocab=VOCAB, context=CONTEXT, width=width, depth=DEPTH, head_dim=HEAD_DIM)
    return replace(bench_plan(64), shape=shape, batch_rows=rows, seed=seed, order_seed=seed)


def stack_step(plans: Sequence[Plan], folder: Path) -> Callable[[], None]:
    """One step of all these runs together, bookkeeping included."""
    from gnomon.train.learner import FlatLearner
    from gnomon.train.session import Session
    from gnomon.train.stacked import Stack, beside
    from gnomon.train.stacking import stack_execution
    from gnomon.train.term import NextToken

    corpus: Any = WideCorpus()
    execution = stack_execution(plans[0], len(plans))
    term = NextToken(plans[0].optimisation.z_loss)
    sessions = [Session(plan, corpus, folder / plan.run_id, execution, [term]) for plan in plans]
    learners = [session.learner for session in sessions if isinstance(session.learner, FlatLearner)]
    beside(learners)
    stack = Stack([learner.flat for learner in learners], learners[0].probe(), execution.micro_rows)

    def step() -> None:
        rows = [session.next_rows() for session in sessions]
        shown = stack.gradient(rows, [term.z_loss] * len(rows)).tolist()
        for session, read, nats in zip(sessions, rows, shown, strict=True):
            session.absorb(read, [nats], session.learner.norm())

    return step


def alone_step(plan: Plan, folder: Path, kernels: str) -> Callable[[], None]:
    """One step of the trainer with these kernels."""
    from gnomon.train.execution import decide
    from gnomon.train.session import Session
    from gnomon.train.term import NextToken

    corpus: Any = WideCorpus()
    execution = replace(decide(plan), kernels=kernels)
    session = Session(plan, corpus, folder, execution, [NextToken(plan.optimisation.z_loss)])

    def step() -> None:
        session.take_step()

    return step


def bench_stacked(turns: int = 12, sizes: Sequence[tuple[int, int]] = SIZES) -> dict[str, Any]:
    """Processor ms of a run's step, by size and side: "compiled" (where it can serve), "eager", "stack of K"."""
    from gnomon.train.execution import decide, honoured

    out = []
    for width, rows in sizes:
        plans = [stacked_plan(width, rows, seed) for seed in range(max(RUNS))]
        with tempfile.TemporaryDirectory() as place, honoured(decide(plans[0])):
            folder, kernels = Path(place), decide(plans[0]).kernels
            steps = {"eager": (alone_step(plans[0], folder, "torch"), 1)}
            if kernels != "torch":
                steps["compiled"] = (alone_step(plans[0], folder, kernels), 1)
            steps |= {f"stack of {runs}": (stack_step(plans[:runs], folder), runs) for runs in RUNS}
            times: dict[str, list[float]] = {name: [] for name in steps}
            for turn in range(turns + 2):
                for name, (step, runs) in steps.items():
                    began = time.process_time()
                    step()
                    if turn >= 2:
                        times[name].append((time.process_time() - began) / runs)
        found = {name: 1e3 * statistics.median(values) for name, values in times.items()}
        out.append({"width": width, "rows": rows, "parameters": total_parameters(plans[0].shape), "ms": found})
    return {"sizes": out, "turns": turns, "vocab": VOCAB, "context": CONTEXT, "depth": DEPTH, "limit": STACK_BELOW}


def stacked_lines(value: dict[str, Any]) -> Iterator[str]:
    """The table in words."""
    every = ("compiled", "eager", *(f"stack of {runs}" for runs in RUNS))
    names = [name for name in every if name in value["sizes"][0]["ms"]]
    yield (
        f"processor ms of a run's step, one thread, vocabulary {value['vocab']}, context {value['context']}, "
        f"{value['depth']} blocks, medians of {value['turns']} interleaved turns"
    )
    yield (
        f"{'width':>5} {'rows':>4} {'parameters':>10} " + " ".join(f"{name:>10}" for name in names) + "  stacked gains"
    )
    for row in value["sizes"]:
        best = min(ms for name, ms in row["ms"].items() if name.startswith("stack"))
        gain = row["ms"]["eager"] / best
        yield (
            f"{row['width']:>5} {row['rows']:>4} {row['parameters']:>10,} "
            + " ".join(f"{row['ms'][name]:10.2f}" for name in names)
            + f"  {gain:12.2f}x"
        )
    yield f"stacked where there is no compiled step, up to {value['limit']:,} parameters"
