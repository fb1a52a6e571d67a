"""gnomon bench ladder: a recipe's ladder as gnomon runs it, beside the same plans one after another in eager fp32.

Eager is the same trainer with autograd, in one process, on one thread or on all, whichever is faster for it. Seconds
of a step are measured for each shape and batch in turns, ours with every core at work as in a real ladder; openings and
evaluations too; both sides are added up by the plans' own counts. `whole` walks both ways for real.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.common.errors import JobFailed
from gnomon.corpus.rows import row_count
from gnomon.ladder.executors.local import LocalExecutor
from gnomon.ladder.jobs import Job
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Recipe
from gnomon.workflow.study import Study

TURNS, TURN_S = 5, 0.15  # measurements of each step, and about how long one lasts
TOKENS = 65_536  # held-out tokens that an evaluation is judged by
Progress = Callable[[str, float], None]


class Measuring:
    """A process of ladder_pace.py. native: with the compiled step where there is one."""

    def __init__(self, corpus: Path, threads: int, native: bool) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        if not native:
            environment["GNOMON_NATIVE"] = "0"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (it lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gnomon.workflow.ladder_pace", str(corpus)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment,
        )  # fmt: skip

    def ask(self, what: str, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, **request}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = [text.strip() for text in self._errors if text.strip()] or ["no message"]
            raise JobFailed(f"bench ladder: a measuring process ended early ({last[-1]})")
        return float(json.loads(line)["seconds"])

    def seconds(self, what: str, **request: Any) -> float:
        self.ask(what, **request)
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()


@dataclass(frozen=True)
class Cost:
    """Seconds of one side. step: by (shape, batch). opening, token: by shape; token is of a held-out one. start: of a
    process."""

    step: dict[Any, float]
    opening: dict[Any, float]
    token: dict[Any, float]
    start: float

    def run(self, plan: Plan, held_out_tokens: int) -> float:
        """Seconds of one job of the ladder."""
        shape = plan.shape
        opened = self.opening[shape]
        return plan.steps * self.step[shape, plan.batch_rows] + opened + held_out_tokens * self.token[shape]


@dataclass(frozen=True)
class Ladder:
    """Jobs of a ladder that was not begun, and the plans that are examined on the whole held-out sets at the end."""

    jobs: list[Job]
    bridges: list[Plan]
    subset: int
    whole: int

    @classmethod
    def of(cls, study: Study) -> Ladder:
        context, subset = study.recipe.family.context, study.recipe.evals.subset_tokens
        sizes = [row_count(len(study.corpus.tokens(name)), context) * context for name in study.held_out]
        jobs = [Job("train", rung.plan, study.held_out, subset) for rung in study.rungs]
        top = sorted({rung.budget for rung in study.rungs})[-2:]
        widest = [max((r.plan for r in study.rungs if r.budget == b), key=lambda p: p.shape.width) for b in top]
        few = sum(size if subset is None else min(size, subset) for size in sizes)
        return cls(jobs, widest, few, sum(sizes))

    def alone(self, cost: Cost) -> float:
        """Seconds of all of it in one process."""
        runs = sum(cost.run(job.plan, self.subset) for job in self.jobs)
        return cost.start + runs + sum(self.whole * cost.token[plan.shape] for plan in self.bridges)

    def on(self, cost: Cost, processes: int) -> float:
        """Seconds of all of it as the local executor hands it out: costliest first, to whoever is free."""
        load = [cost.start] * processes
        for job in sorted(self.jobs, key=lambda job: -job.weight):
            load[load.index(min(load))] += cost.run(job.plan, self.subset)
        # The whole sets are a second call of the executor, with workers of its own.
        last = [self.whole * cost.token[plan.shape] for plan in self.bridges]
        rest = max(last) if processes > 1 else sum(last)
        return max(load) + cost.start + rest


def bench_ladder(recipe: Recipe, home: Path, cores: int, whole: bool, progress: Progress) -> dict[str, Any]:
    """The object of `--json`: {"ratio", "gnomon_s", "eager_s", "eager_threads", "shapes": [...], "whole": {...}}."""
    study = Study(recipe, home, cores)
    ladder = Ladder.of(study)
    corpus = study.corpus.folder
    ours, eager, shapes = _measure(ladder, corpus, cores, progress)
    gnomon_s = ladder.on(ours, cores)
    sides = {threads: ladder.alone(cost) for threads, cost in eager.items()}
    threads = min(sides, key=lambda n: sides[n])
    value: dict[str, Any] = {
        "ratio": sides[threads] / gnomon_s,
        "gnomon_s": gnomon_s,
        "eager_s": sides[threads],
        "eager_threads": threads,
        "eager_s_by_threads": {str(n): s for n, s in sides.items()},
        "processes": cores,
        "recipe": recipe.name,
        "runs": len(ladder.jobs),
        "steps": sum(job.plan.steps for job in ladder.jobs),
        "fixed_s": {
            "gnomon": {"start": ours.start, "opening": statistics.median(ours.opening.values())},
            "eager": {"start": eager[threads].start, "opening": statistics.median(eager[threads].opening.values())},
        },
        "shapes": shapes,
    }
    if whole:
        progress("the ladder itself, both ways", 0.0)
        found = _whole(study, ladder, corpus, cores, threads)
        value["whole"] = {
            **found,
            "ratio": found["eager_s"] / found["gnomon_s"],
            "estimate_off": {side: value[side] / found[side] - 1 for side in ("gnomon_s", "eager_s")},
        }
    return value


def _measure(
    ladder: Ladder, corpus: Path, cores: int, progress: Progress
) -> tuple[Cost, dict[int, Cost], list[dict[str, Any]]]:
    """Both sides' costs, eager's by threads, and a row for every shape and batch."""
    plans = {(job.plan.shape, job.plan.batch_rows): job.plan for job in ladder.jobs}
    by_shape = {plan.shape: plan for plan in plans.values()}
    counts = sorted({1, cores})
    with ExitStack() as stack:

        def started(threads: int, native: bool) -> tuple[Measuring, float]:
            """A process, and the seconds until it has done something. The parent of a real one imports as long."""
            began = time.perf_counter()
            process = Measuring(corpus, threads, native)
            stack.callback(process.close)
            process.seconds("step", plan=next(iter(plans.values())).to_dict(), threads=threads, count=1)
            return process, time.perf_counter() - began

        workers, starts = zip(*(started(1, True) for _ in range(cores)), strict=True)
        others = {threads: started(threads, False) for threads in counts}
        ours = Cost({}, {}, {}, statistics.median(starts))
        eager = {threads: Cost({}, {}, {}, other[1]) for threads, other in others.items()}
        rows = []
        for i, ((shape, batch), plan) in enumerate(plans.items()):
            progress(f"width {shape.width}, {batch} rows", i / len(plans))
            times = _steps(plan, workers, {threads: other[0] for threads, other in others.items()})
            ours.step[shape, batch] = times[0]
            for threads in counts:
                eager[threads].step[shape, batch] = times[threads]
            steps = [job.plan.steps for job in ladder.jobs if (job.plan.shape, job.plan.batch_rows) == (shape, batch)]
            rows.append(
                {
                    "width": shape.width, "rows": batch, "runs": len(steps), "steps": sum(steps), "gnomon_s": times[0],
                    **{f"eager_{threads}_s": times[threads] for threads in counts},
                }
            )  # fmt: skip
        for shape, plan in by_shape.items():
            progress(f"width {shape.width}: opening and evaluation", 0.99)
            everyone = [(ours, workers[0], 1), *((eager[n], others[n][0], n) for n in counts)]
            for cost, process, threads in everyone:
                cost.opening[shape] = process.seconds("opening", plan=plan.to_dict())
                tokens = [process.seconds("token", plan=plan.to_dict(), threads=threads, tokens=TOKENS) for _ in "123"]
                cost.token[shape] = statistics.median(tokens)
        return ours, eager, rows


def _steps(plan: Plan, workers: Sequence[Measuring], others: dict[int, Measuring]) -> dict[int, float]:
    """Seconds of a step, medians over turns: 0 for ours with every worker at it, else of eager on so many threads."""
    sides: dict[int, tuple[Sequence[Measuring], int]] = {0: (workers, 1), **{n: ([o], n) for n, o in others.items()}}

    def measured(side: int, count: int) -> float:
        processes, threads = sides[side]
        for process in processes:
            process.ask("step", plan=plan.to_dict(), threads=threads, count=count)
        return statistics.mean([process.answer() for process in processes])

    counts = {side: max(2, round(TURN_S / measured(side, 2))) for side in sides}
    turns = [{side: measured(side, counts[side]) for side in sides} for _ in range(TURNS)]
    return {side: statistics.median(turn[side] for turn in turns) for side in sides}


def _whole(study: Study, ladder: Ladder, corpus: Path, cores: int, threads: int) -> dict[str, float]:
    """Wall seconds of both ways, really walked, in homes that are thrown away."""
    bridges = [Job("evaluate", plan, study.held_out) for plan in ladder.bridges]
    with tempfile.TemporaryDirectory(prefix="gnomon-") as folder:
        began = time.perf_counter()
        executor = LocalExecutor(Path(folder), corpus, cores)
        executor.run(ladder.jobs, lambda _: None)
        executor.run(bridges, lambda _: None)
        gnomon_s = time.perf_counter() - began
    began = time.perf_counter()
    process = Measuring(corpus, threads, native=False)
    try:
        every = [*ladder.jobs, *bridges]
        process.seconds("runs", jobs=[{**job.to_dict(), "threads": threads} for job in every])
    finally:
        process.close()
    return {"gnomon_s": gnomon_s, "eager_s": time.perf_counter() - began}


def bench_ladder_lines(value: dict[str, Any]) -> Iterator[str]:
    """The bench in words."""
    threads = value["eager_threads"]
    yield (
        f"{value['recipe']}: {value['runs']} runs, {value['steps']:,} steps; gnomon on {value['processes']} processes, "
        f"eager fp32 on {threads} thread(s) of one process, medians of {TURNS} interleaved turns"
    )
    yield f"{'width':>5} {'rows':>4} {'runs':>4} {'steps':>7} {'gnomon ms':>10} {'eager ms':>9} {'a step':>9}"
    for row in value["shapes"]:
        eager = row[f"eager_{threads}_s"]
        yield (
            f"{row['width']:>5} {row['rows']:>4} {row['runs']:>4} {row['steps']:>7,} {1e3 * row['gnomon_s']:10.2f} "
            f"{1e3 * eager:9.2f} {eager / row['gnomon_s']:8.2f}x"
        )
    yield (
        f"end to end: {value['gnomon_s']:.0f} s beside {value['eager_s']:.0f} s: {value['ratio']:.2f}x "
        "(added up from steps, openings, evaluations and starts)"
    )
    if "whole" in value:
        real = value["whole"]
        off = real["estimate_off"]
        yield (
            f"really walked: {real['gnomon_s']:.0f} s beside {real['eager_s']:.0f} s: {real['ratio']:.2f}x; "
            f"the sums were {off['gnomon_s']:+.0%} and {off['eager_s']:+.0%} off"
        )
