"""Processes that train together: forks as many as a job asks for, which meet through a file and do the same task.

Not a test: conftest.py starts it once and writes jobs to it, a line of JSON each, and reads a line of answers and exit
codes when all processes of the job have ended. Forking costs milliseconds, where a fresh process would load torch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import plain
from gnomon.recipe.plan import Plan
from gnomon.train import schedule
from gnomon.train.crew import Crew
from gnomon.train.evaluate import EvalSet
from gnomon.train.execution import Execution, decide
from gnomon.train.learner import FlatLearner
from gnomon.train.parallel import learner as _learner  # noqa: F401  (once here, not in every process)
from gnomon.train.parallel import store as _store  # noqa: F401
from gnomon.train.parallel.world import joined, shared_by
from gnomon.train.term import Forward, NextToken, Sum
from gnomon.train.trainer import train


@functools.cache
def tiny_corpus() -> Any:
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TinyCorpus()


def curve(crew: Crew, plan: Plan, micro_rows: int, steps: int) -> dict[str, Any]:
    """Losses, norms and final weights of so many steps of a plan, from the learner alone."""
    execution = Execution(1, micro_rows, plan.dtype, 1)
    terms = [NextToken(plan.optimisation.z_loss)]
    learner = shared_by(crew).get("learner", FlatLearner)(plan, execution, terms)
    walk = np.random.default_rng(0).integers(1, 4, (steps, plan.batch_rows, plan.shape.context + 1))
    losses, norms = [], []
    for step, rows in enumerate((np.cumsum(walk, -1) % plan.shape.vocab).astype(np.int64)):
        losses.append(float(learner.gradient(rows)[0]))
        norms.append(learner.norm())
        learner.update(schedule.multiplier(step, plan.steps, plan.optimisation), norms[-1])
    held = {name: w.full_tensor() if crew.size > 1 else w for name, w in learner.weights().items()}
    return {"losses": losses, "norms": norms, "weights": {n: w.double().flatten().tolist() for n, w in held.items()}}


@dataclass
class Poisoned:
    """Next-token prediction that is no number in the passes of this process that are named. Its name hides them."""

    passes: set[int] = field(repr=False)
    name: str = "loss_nats"
    passed: int = field(default=0, repr=False)

    def __call__(self, forward: Forward) -> Sum:
        self.passed += 1
        total = NextToken()(forward)
        factor = float("nan") if self.passed in self.passes else 1.0
        return Sum(total.value * factor, total.kind, shown=total.shown * factor)


def poisoned(crew: Crew, plan: Plan, folder: str, passes: list[int]) -> dict[str, Any]:
    """A run in which the last process makes a NaN."""
    execution = replace(decide(plan), log_every=4, micro_rows=plan.batch_rows)
    term = Poisoned(set(passes) if crew.rank == crew.size - 1 else set())
    result = train(plan, tiny_corpus(), Path(folder), execution=execution, terms=[term], **shared_by(crew))
    return {"result": plain(result.to_dict())}


def run(
    crew: Crew, plan: Plan, folder: str, *, micro_rows: int = 3, stop_after: int = 0, die: str = "", full: str = "",
    evaluate: int = 0, keep_steps: tuple[int, ...] = (), every_s: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """A run of the trainer itself. stop_after: as if somebody pressed Ctrl-C after the checkpoint of that step.

    die: "RANK WHAT STEP": that process kills itself as that happens. full: from there on it can write no more than
    20 kB into a file (the curve fits, shards do not). evaluate: held-out rows to examine it on.
    """
    corpus = tiny_corpus()
    execution = replace(
        decide(plan, checkpoint_every_s=every_s, keep_steps=tuple(keep_steps)), log_every=2, micro_rows=micro_rows
    )
    heard: list[str] = []

    def listen(what: str, step: int) -> None:
        heard.append(f"{what} {step}")
        if die == f"{crew.rank} {what} {step}":
            os.kill(os.getpid(), 9)
        if full == f"{crew.rank} {what} {step}":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        if stop_after and f"{what} {step}" == f"checkpoint end {stop_after}":
            raise KeyboardInterrupt

    rows = corpus.tokens("development")[: evaluate * 17].reshape(evaluate, 17).astype(np.int32)
    sets = [EvalSet("development", rows, "held out")] if evaluate else []
    result = train(
        plan, corpus, Path(folder), execution=execution, mode="auto", evaluate=sets, on_event=listen, **shared_by(crew)
    )
    return {"result": plain(result.to_dict()), "heard": heard}


def share(crew: Crew, value: str, error: str) -> dict[str, Any]:
    """What the leader has, or what it fails with, in all of them."""

    def work() -> str:
        if error:
            raise GnomonError(error)
        return f"{value} from {crew.rank}"

    return {"value": crew.first(work), "any": crew.agreed(crew.rank == 1), "none": crew.agreed(False)}


def different(crew: Crew, plan: Plan, folder: str) -> dict[str, Any]:
    """Every process has a plan of its own."""
    return run(crew, replace(plan, seed=plan.seed + crew.rank), folder)


def coordinates(crew: Crew, width: list[int], depth: list[int], seeds: list[int]) -> dict[str, Any]:
    """The coordinate check, trained by the crew: slopes over width and over depth."""
    from gnomon.workflow import coordinates as check

    steps = check.steps_of(shared_by(crew).get("learner", FlatLearner))
    over_width = check.over_width(width, seeds, steps=steps)
    over_depth = check.over_depth(depth, seeds, steps=steps)
    return {
        "width": check.width_slopes(over_width),
        "depth": check.depth_slopes(over_depth),
        "changes": [row.change for row in (*over_width, *over_depth)],
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f for f in (curve, run, share, different, coordinates, poisoned)
}


def one(rank: int, job: dict[str, Any], folder: Path) -> int:
    """The life of one process of a job; its exit code. What it has to say goes into a file."""
    torch.set_num_threads(1)
    arguments = dict(job["arguments"])
    if "plan" in arguments:
        arguments["plan"] = Plan.from_dict(arguments["plan"])
    answer: dict[str, Any] = {"rank": rank}
    code = 0
    try:
        with joined(job["mesh"], f"file://{folder}/meeting", rank, job["size"]) as crew:
            answer["value"] = TASKS[job["task"]](crew, **arguments)
    except BaseException as error:
        answer["error"], answer["kind"] = str(error), type(error).__name__
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 70)
    (folder / f"answer{rank}").write_text(json.dumps(answer))
    return code


def main() -> None:
    for module in ("torch._dynamo", "torch.onnx", "pyarrow.parquet"):  # FSDP2 loads the compiler at its first pass
        importlib.import_module(module)
    tiny_corpus()
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            children = []
            for rank in range(job["size"]):
                child = os.fork()
                if child == 0:
                    os._exit(one(rank, job, Path(folder)))
                children.append(child)
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            answers = [json.loads(path.read_text()) for path in Path(folder).glob("answer*")]
        print(json.dumps({"codes": codes, "answers": answers}), flush=True)


if __name__ == "__main__":
    main()
