"""What a person sees while gnomon works: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from gnomon.corpus.shards import Corpus
from gnomon.figures.braille import ScatterPoint
from gnomon.figures.envelope import EnvelopeRow
from gnomon.figures.loss import Interval
from gnomon.figures.terminal import (
    EnvelopeView,
    Found,
    LadderView,
    Needs,
    RungState,
    SealView,
    View,
    first_screen,
    plan_lines,
    show,
    shown,
)
from gnomon.forecast import Forecast, Score
from gnomon.ladder.budgets import Cost
from gnomon.ladder.jobs import Event
from gnomon.recipe.flops import matmul_parameters, train_flops
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Recipe
from gnomon.registry import Entry, attestation
from gnomon.workflow.glance import Glance
from gnomon.workflow.study import Study

NAMES = {"codebase": "the held-out source", "documents": "held-out documents"}


class Display:
    """An observer of quickstart, ladders and single runs. A context: the picture ends however the block ends."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._live: contextlib.ExitStack | None = None
        self._redraw: Callable[[View], None] | None = None
        self._plans: dict[str, Plan] = {}
        self._rungs: dict[str, RungState] = {}
        self._done: list[ScatterPoint] = []
        self._finished: set[str] = set()
        self._began = 0.0
        self._flops_found = 0.0  # of rungs that were finished before this sitting

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    # -- before the first run ------------------------------------------------------------------------------------------

    def began(self, recipe: Recipe, found: Glance, rungs: int, times_larger: float, cost: Cost) -> None:
        """The first screen: what was found, the plan, what it needs."""
        where = f"recipe {recipe.name}"
        if found.remote:
            where += f"; to be fetched: {', '.join(found.remote)}"
        text = Found(found.files, found.bytes, found.parts, "", 0, where)
        needs = Needs(cost.seconds / 60, cost.memory_bytes, cost.disk_bytes)
        show(self.console, first_screen(text, plan_lines(rungs, times_larger), needs))

    def reading(self, stage: str, fraction: float) -> None:
        self._picture(LadderView(int(20 * fraction) * 5, 100, what=f"reading, per cent: {stage}"))

    def read(self, study: Study, corpus: Corpus) -> None:
        """The text has been read: what is in it, and what is held out of training."""
        self._close()
        splits = corpus.manifest["splits"]
        train = splits["train"]
        self.note(
            f"read {train['documents']:,} documents, {train['bytes'] / 1e6:.0f} MB, {train['tokens']:,} tokens of "
            f"{corpus.vocab}; held out: {corpus.manifest['held_out']['words']}"
        )
        self._plans = {rung.plan.run_id: rung.plan for rung in study.rungs}
        waiting = {job.plan.run_id for job in study.ladder_jobs()}
        for run_id, result in study.results().items():
            if run_id not in waiting:
                self._finish(run_id, result)
        self._flops_found = sum(train_flops(self._plans[r]) for r in self._finished)
        self._began = time.monotonic()

    def note(self, line: str) -> None:
        """One line that stays."""
        self._close()
        self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def rung(self, event: Event) -> None:
        """News of a rung."""
        plan = self._plans[event.run_id]
        if event.kind == "done" and "status" in event.body:
            self._rungs.pop(event.run_id, None)
            self._finish(event.run_id, event.body)
        elif event.kind == "progress":
            self._rungs[event.run_id] = _state(plan, event)
        elif event.kind == "failed":
            self._rungs.pop(event.run_id, None)
            self.note(f"run {event.run_id} failed: {event.body['message']}")
        elif event.kind == "retried":
            self._retried(event)
        if len(self._finished) < len(self._plans):
            self._picture(self._ladder_view())

    def _retried(self, event: Event) -> None:
        self.note(f"run {event.run_id} goes on from its last checkpoint: {event.body['message']}")

    def _finish(self, run_id: str, result: dict[str, Any]) -> None:
        self._finished.add(run_id)
        evaluations = list(result.get("evaluations", {}).values())
        if evaluations:
            self._done.append(ScatterPoint(train_flops(self._plans[run_id]), evaluations[0]["bits_per_byte"]))

    def _ladder_view(self) -> LadderView:
        total = sum(map(train_flops, self._plans.values()))
        done = sum(train_flops(self._plans[r]) for r in self._finished)
        done += sum(train_flops(self._plans[r]) * s.share for r, s in self._rungs.items())
        here = done - self._flops_found
        spent = time.monotonic() - self._began
        eta_s = (total - done) / here * spent if here > 0.02 * total else None
        running = tuple(self._rungs.values())
        return LadderView(len(self._finished), len(self._plans), running, tuple(self._done), eta_s)

    def training(self, plan: Plan) -> None:
        """A single run begins."""
        self._plans[plan.run_id] = plan
        self._began = time.monotonic()

    def target(self, event: Event) -> None:
        """News of the target, or of a single run."""
        if event.kind == "started":
            self._began = time.monotonic()
        if event.kind == "retried":
            self._retried(event)
        if event.kind != "progress":
            return
        plan = self._plans[event.run_id]
        state = _state(plan, event)
        steps_left = event.body["steps"] - event.body["step"]
        speed = event.body.get("tokens_per_s", 0.0)
        eta_s = steps_left * plan.batch_tokens / speed if speed else None
        peak = event.body.get("fraction_of_peak")
        gflops = event.body.get("flops_per_s", 0.0) / 1e9
        what = f"training {state.name}, {gflops:.0f} GFLOP/s" + (
            f", {peak:.0%} of this machine's matmul peak" if peak else ""
        )
        # In steps of five per cent: a log gets a line each, a terminal sees the run's own bar move beneath.
        self._picture(LadderView(int(20 * state.share) * 5, 100, (state,), (), eta_s, what))

    # -- forecast ------------------------------------------------------------------------------------------------------

    def sealed(self, study: Study, entry: Entry, forecasts: dict[str, Forecast]) -> None:
        """The prediction, before the target starts."""
        self._close()
        largest = max(train_flops(rung.plan) for rung in study.rungs)
        witness = attestation(study.registry, entry)
        for metric, f in forecasts.items():
            first = metric == study.metrics[0]
            show(
                self.console,
                SealView(
                    _name(metric),
                    _interval(f),
                    entry.hash,
                    times_larger=study.target.compute / largest,
                    points=tuple(self._done) if first else (),
                    target_compute=study.target.compute if first else None,
                    anchor=witness.label if witness.outside else "",
                ),
            )
        self.training(study.seeded_target(entry))

    def opened(self, forecasts: dict[str, Forecast], scores: dict[str, Score], log_line: str) -> None:
        """The outcome beside the prediction."""
        self._close()
        if not scores:
            self.note("the target diverged: its loss is no number; the registry counts it as a miss")
        rows = tuple(
            EnvelopeRow(_name(m), _interval(f), scores[m].outcome if m in scores else None, f.last_point)
            for m, f in forecasts.items()
        )
        show(self.console, EnvelopeView(rows))
        self.note(log_line)

    def ended(self, report: Path, wall_s: float) -> None:
        self.note(f"report: {report}")
        self.note(
            f"{wall_s / 60:.1f} minutes in this sitting; `gnomon sample RUN` talks to what was trained, "
            "and `gnomon runs list` names the runs"
        )

    # -- the picture ---------------------------------------------------------------------------------------------------

    def _picture(self, view: View) -> None:
        if self._live is None:
            self._live = contextlib.ExitStack()
            self._redraw = self._live.enter_context(shown(self.console))
        assert self._redraw is not None
        self._redraw(view)

    def _close(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None


@contextlib.contextmanager
def stage_progress() -> Iterator[Callable[[str, float], None]]:
    """A progress callback for the building of a corpus."""
    with Display() as display:
        yield display.reading


def _state(plan: Plan, event: Event) -> RungState:
    body = event.body
    name = f"{matmul_parameters(plan.shape) / 1e3:,.0f}k parameters, {train_flops(plan):.1e} FLOPs"
    loss = body.get("bits_per_byte")
    return RungState(name, body["step"] / body["steps"], loss, body.get("tokens_per_s", 0.0))


def _name(metric: str) -> str:
    name = metric.removeprefix("bits_per_byte_")
    return NAMES.get(name, name)


def _interval(f: Forecast) -> Interval:
    q = f.quantiles
    return Interval(f.median, q["0.25"], q["0.75"], q["0.05"], q["0.95"])
