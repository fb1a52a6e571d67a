"""A worker process: jobs as JSON lines on its input, events as JSON lines on its output.

A line that is a list of jobs is a stack: runs to be trained together.

Ends on `stop`. When its input ends without that word its parent is gone: it writes a checkpoint and ends too.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.shards import Corpus
from gnomon.ladder.jobs import Job, run_folder
from gnomon.recipe.plan import Plan

if TYPE_CHECKING:
    from gnomon.train.evaluate import EvalSet

PROGRESS_EVERY_S = 0.5


def say(kind: str, run_id: str, body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "run_id": run_id, "body": body}) + "\n")
    sys.stdout.flush()


class Worker:
    """Does one job after another on one corpus."""

    def __init__(self, home: Path, corpus: Corpus) -> None:
        self.home, self.corpus = home, corpus

    @functools.lru_cache(maxsize=16)  # noqa: B019  (lives as long as its process)
    def evaluation_set(self, split: str, context: int, subset_tokens: int | None) -> EvalSet:
        from gnomon.ladder.evaluation import evaluation_set

        return evaluation_set(self.corpus, split, context, subset_tokens)

    def do(self, job: Job) -> None:
        """One job, with its events. What went wrong becomes a `failed` event."""
        run_id = job.plan.run_id
        say("started", run_id, {"threads": job.threads})
        sets = [self.evaluation_set(name, job.plan.shape.context, job.subset_tokens) for name in job.sets]
        try:
            body = self._train(job, sets) if job.kind == "train" else self._evaluate(job, sets)
        except GnomonError as error:
            say("failed", run_id, {"message": str(error)})
        else:
            say("done", run_id, body)

    def do_stack(self, jobs: list[Job]) -> None:
        """Train the jobs together, with the events of each."""
        from gnomon.train.result import Result
        from gnomon.train.stacking import StackedRun, train_stacked
        from gnomon.train.trackers import Trackers

        with ExitStack() as stack:
            trackers: dict[str, Trackers] = {}
            runs = []
            for job in jobs:
                run_id, plan = job.plan.run_id, job.plan
                say("started", run_id, {"threads": job.threads})
                sets = [self.evaluation_set(name, plan.shape.context, job.subset_tokens) for name in job.sets]
                trackers[run_id] = stack.enter_context(Trackers(job.track, plan, self.home))
                told = (self._progress(job), trackers[run_id])
                runs.append(StackedRun(plan, run_folder(self.home, run_id), sets, told, job.registry_head))

            def tell(plan: Plan, outcome: Result | GnomonError) -> None:
                run_id = plan.run_id
                if isinstance(outcome, Result):
                    result = trackers[run_id].finish(outcome, run_folder(self.home, run_id))
                    say("done", run_id, result.to_dict())
                else:
                    say("failed", run_id, {"message": str(outcome)})

            train_stacked(runs, self.corpus, threads=jobs[0].threads, on_outcome=tell)

    def _progress(self, job: Job) -> Callable[[int, dict[str, float]], None]:
        """A callback of the trainer that says how far the job is, every now and then."""
        from gnomon.train.live import share_of_peak
        from gnomon.train.peak import matmul_peak

        last, plan = 0.0, job.plan
        # Half a second that a target can spare and a rung cannot.
        peak = matmul_peak(plan.shape, plan.batch_tokens, plan.dtype, job.threads) if plan.study else 0.0

        def progress(step: int, metrics: dict[str, float]) -> None:
            nonlocal last
            if time.monotonic() - last >= PROGRESS_EVERY_S or step == plan.steps:
                last = time.monotonic()
                share = {"fraction_of_peak": share_of_peak(metrics["flops_per_s"], peak)} if peak else {}
                say("progress", plan.run_id, {"step": step, "steps": plan.steps, **metrics, **share})

        return progress

    def _train(self, job: Job, sets: list[EvalSet]) -> dict[str, Any]:
        from gnomon.train.execution import decide
        from gnomon.train.trackers import Trackers
        from gnomon.train.trainer import train

        plan = job.plan
        with Trackers(job.track, plan, self.home) as trackers:
            result = train(
                job.plan,
                self.corpus,
                run_folder(self.home, job.plan.run_id),
                execution=decide(job.plan, job.threads, keep_steps=job.keep_steps, by_measurement=True),
                evaluate=sets,
                callbacks=[self._progress(job), trackers],
                registry_head=job.registry_head,
                mode="auto",
            )
            result = trackers.finish(result, run_folder(self.home, plan.run_id))
        return result.to_dict()

    def _evaluate(self, job: Job, sets: list[EvalSet]) -> dict[str, Any]:
        from gnomon.common.files import write_json
        from gnomon.ladder.evaluation import WHOLE_SETS_FILE, WHOLE_SETS_SCHEMA, evaluate_run

        folder = run_folder(self.home, job.plan.run_id)
        values = evaluate_run(folder, sets, self.corpus, job.threads)
        write_json(folder / WHOLE_SETS_FILE, {"evaluations": values}, WHOLE_SETS_SCHEMA)
        return {"evaluations": values}


def main() -> None:
    """python -m gnomon.ladder.worker HOME CORPUS"""
    home, corpus = Path(sys.argv[1]), Corpus.open(Path(sys.argv[2]))
    work: queue.Queue[list[Job] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            if line.strip() == "stop":
                work.put(None)
                return
            value = json.loads(line)
            work.put([Job.from_dict(job) for job in (value if isinstance(value, list) else [value])])
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=read, daemon=True).start()
    worker = Worker(home, corpus)
    try:
        while (jobs := work.get()) is not None:
            if len(jobs) > 1:
                worker.do_stack(jobs)
            else:
                worker.do(jobs[0])
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


if __name__ == "__main__":
    main()
