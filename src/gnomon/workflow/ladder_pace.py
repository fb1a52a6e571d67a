"""A process that measures what a ladder is made of: steps, openings, evaluations, or whole runs. See bench_ladder.py.

Reads requests as JSON lines and answers each with {"seconds": s}. What its environment says decides the kernels:
GNOMON_NATIVE=0 leaves plain autograd.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gnomon.corpus.shards import Corpus
from gnomon.ladder.jobs import Job
from gnomon.ladder.worker import Worker
from gnomon.recipe.plan import Plan

OPENING_STEPS = 2


class Pace:
    """corpus: the ladder's. folder: for what is written and thrown away."""

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus, self.folder = corpus, folder
        self.worker = Worker(folder / "home", corpus)
        self._sessions: dict[tuple[str, int], Any] = {}
        self._opened = 0

    def step(self, plan: Plan, threads: int, count: int) -> float:
        """Seconds of one step, the mean of count."""
        from gnomon.train.execution import decide, honoured
        from gnomon.train.session import Session
        from gnomon.train.term import NextToken

        execution = decide(plan, threads, by_measurement=True)
        key = (plan.run_id, threads)
        with honoured(execution):
            if key not in self._sessions:
                terms = [NextToken(plan.optimisation.z_loss)]
                self._sessions[key] = Session(plan, self.corpus, self.folder / "steps", execution, terms)
                self._sessions[key].take_step()
            session = self._sessions[key]
            began = time.perf_counter()
            for _ in range(count):
                session.step %= plan.steps  # the same steps again: their cost does not depend on their place
                session.take_step()
            return (time.perf_counter() - began) / count

    def opening(self, plan: Plan) -> float:
        """Seconds of a run of two steps that is not examined: what every run costs once."""
        from dataclasses import replace

        self._opened += 1
        short = replace(plan, steps=OPENING_STEPS, seed=self._opened)
        began = time.perf_counter()
        self.worker.do(Job("train", short, ()))
        return time.perf_counter() - began

    def token(self, plan: Plan, threads: int, tokens: int) -> float:
        """Seconds of a held-out token, the mean of so many."""
        import torch

        from gnomon.corpus.rows import evaluation_rows
        from gnomon.model.parametrization import initialise
        from gnomon.model.transformer import Transformer
        from gnomon.train.evaluate import token_nats

        torch.set_num_threads(threads)
        model = Transformer(plan.shape).eval()
        initialise(model, plan.optimisation, plan.seed)
        rows = evaluation_rows(self.corpus.tokens("train"), plan.shape.context, tokens)
        began = time.perf_counter()
        token_nats(model, rows)
        return (time.perf_counter() - began) / (len(rows) * plan.shape.context)

    def runs(self, jobs: list[Job]) -> float:
        """Seconds of all these jobs, one after another."""
        began = time.perf_counter()
        for job in jobs:
            self.worker.do(job)
        return time.perf_counter() - began

    def answer(self, request: dict[str, Any]) -> float:
        what = request.pop("what")
        if what == "runs":
            return self.runs([Job.from_dict(job) for job in request["jobs"]])
        plan = Plan.from_dict(request.pop("plan"))
        return float(getattr(self, what)(plan, **request))


def main() -> None:
    """python -m gnomon.workflow.ladder_pace CORPUS"""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a worker's events are not for the one who reads the answers
    with tempfile.TemporaryDirectory(prefix="gnomon-") as folder:
        pace = Pace(Corpus.open(Path(sys.argv[1])), Path(folder))
        for line in sys.stdin:
            out.write(json.dumps({"seconds": pace.answer(json.loads(line))}) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
