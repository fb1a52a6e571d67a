"""Several runs trained together in a stack (train/stacked.py): one gradient for all, and all else for each.

Each run keeps the folder, lock, guards, checkpoints and result that train() would give it. A run that ends, diverges or
goes back does not disturb the others; what it computes, it would have computed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan
from gnomon.train import schedule
from gnomon.train.crew import ALONE
from gnomon.train.evaluate import EvalSet
from gnomon.train.execution import STACKED, Execution, decide, honoured
from gnomon.train.interrupt import stop_requests
from gnomon.train.leak import require_causal
from gnomon.train.learner import FlatLearner
from gnomon.train.result import Result
from gnomon.train.session import OnEvent, Session, silent
from gnomon.train.stacked import Stack, beside
from gnomon.train.term import NextToken
from gnomon.train.trainer import Callback, Course, close_run, open_run, require_corpus, train

if TYPE_CHECKING:
    from gnomon.corpus.shards import Corpus

TOKENS_AT_ONCE = 4096  # of all runs together in one pass

Outcome = Result | GnomonError
OnOutcome = Callable[[Plan, Outcome], None]


@dataclass(frozen=True)
class StackedRun:
    """One run of a stack, as train() would be asked for it; a run that was begun goes on."""

    plan: Plan
    run_dir: Path
    evaluate: Sequence[EvalSet] = ()
    callbacks: Sequence[Callback] = ()
    registry_head: str = ""
    on_event: OnEvent = silent


def stack_execution(plan: Plan, runs: int, threads: int = 1) -> Execution:
    """How a plan is carried out as one of so many: the rows of all runs in a pass hold about TOKENS_AT_ONCE tokens."""
    alone = decide(plan, threads)
    largest = max(1, TOKENS_AT_ONCE // (runs * plan.shape.context))
    pieces = math.ceil(plan.batch_rows / largest)
    micro_rows = min(alone.micro_rows, math.ceil(plan.batch_rows / pieces))
    return replace(alone, kernels=STACKED, micro_rows=micro_rows)


def train_stacked(
    runs: Sequence[StackedRun],
    corpus: Corpus,
    *,
    execution: Execution | None = None,
    threads: int = 1,
    on_outcome: OnOutcome = lambda *_: None,
) -> dict[str, Outcome]:
    """Train runs of one shape, batch and dtype together. The result of each, or why there is none, by run id.

    execution: of each; decided here for so many threads when None. on_outcome: called as each run comes to its end. A
    run whose folder records that it was begun in another way is trained by itself afterwards, in that way.

    Raises GnomonError when the runs do not belong into one stack, KeyboardInterrupt after SIGINT or SIGTERM, with a
    checkpoint of every run written.
    """
    first = runs[0].plan
    for run in runs:
        if (run.plan.shape, run.plan.batch_rows, run.plan.dtype) != (first.shape, first.batch_rows, first.dtype):
            raise GnomonError(f"stack: run {run.plan.run_id} has another shape, batch or dtype than {first.run_id}")
    outcomes: dict[str, Outcome] = {}

    def settled(plan: Plan, outcome: Outcome) -> None:
        outcomes[plan.run_id] = outcome
        on_outcome(plan, outcome)

    alone: list[StackedRun] = []
    with ExitStack() as locks:
        sessions: list[tuple[StackedRun, Session]] = []
        for run in runs:
            try:
                opened = _opened(run, corpus, execution or stack_execution(run.plan, len(runs), threads), locks)
            except GnomonError as error:
                settled(run.plan, error)
                continue
            if isinstance(opened, Result):
                settled(run.plan, opened)
            elif opened is None:
                alone.append(run)
            else:
                sessions.append((run, opened))
        if sessions:
            _together(sessions, corpus, settled)
    for run in alone:
        try:
            settled(run.plan, _by_itself(run, corpus))
        except GnomonError as error:
            settled(run.plan, error)
    return outcomes


def _opened(run: StackedRun, corpus: Corpus, wished: Execution, locks: ExitStack) -> Session | Result | None:
    """A run's session, not yet restored, its folder locked; its result when it is over; None when it must go alone."""
    plan, terms = run.plan, [NextToken(run.plan.optimisation.z_loss)]
    schedule.check(plan.optimisation)
    require_corpus(plan, corpus)
    with ExitStack() as held:
        held.enter_context(ALONE.hold(run.run_dir / ".lock", f"run {plan.run_id}"))
        opened = open_run(plan, corpus, run.run_dir, wished, run.evaluate, terms, "auto", False)
        if isinstance(opened, Result):
            return opened
        execution, _ = opened
        if (execution.kernels, execution.micro_rows, execution.threads) != (STACKED, wished.micro_rows, wished.threads):
            return None
        with honoured(execution):
            session = Session(plan, corpus, run.run_dir, execution, terms, run.on_event)
        locks.enter_context(held.pop_all())
        return session


def _by_itself(run: StackedRun, corpus: Corpus) -> Result:
    return train(
        run.plan, corpus, run.run_dir, evaluate=run.evaluate, callbacks=run.callbacks, mode="auto",
        registry_head=run.registry_head, on_event=run.on_event,
    )  # fmt: skip


class _Member:
    """A run in its stack. rows: what its next step reads; anything when it is over."""

    def __init__(self, run: StackedRun, session: Session) -> None:
        assert isinstance(session.learner, FlatLearner)
        self.run, self.session, self.learner = run, session, session.learner
        self.course = Course(session, run.callbacks)
        self.rows = session.rows.batch(0)
        self.left = session.plan.steps - max(session.store.steps(session.run_dir), default=0)

    def restore(self, runs: int) -> None:
        """Take up the newest checkpoint. runs: in the stack, which the result tells, since they share its seconds."""
        session, shape = self.session, self.session.plan.shape
        session.restore()
        require_causal(self.learner.probe(), shape.vocab, shape.context)
        session.registry_head = self.run.registry_head or session.registry_head
        note = f"trained in a stack of {runs} runs: its seconds are those of the whole stack"
        if runs > 1 and note not in session.books.notes:
            session.books.notes.append(note)
        self.run.on_event("restored", session.step)

    def close(self, corpus: Corpus) -> Result:
        return close_run(self.session, not self.course.diverged, corpus, self.run.evaluate)


def _together(opened: Sequence[tuple[StackedRun, Session]], corpus: Corpus, settled: OnOutcome) -> None:
    """Restore the sessions side by side and take their steps."""
    with honoured(opened[0][1].execution), stop_requests() as stop:
        # Most steps left first: then runs end from the end of the stack, and those that go on are one stretch of it.
        members = sorted((_Member(*pair) for pair in opened), key=lambda member: -member.left)
        beside([member.learner for member in members])
        for member in members:
            member.restore(len(members))
            if member.course.over:
                settled(member.run.plan, member.close(corpus))
        flats, probe = [member.learner.flat for member in members], members[0].learner.probe()
        stack = Stack(flats, probe, members[0].session.execution.micro_rows)
        while any(not member.course.over for member in members):
            stopping = stop.requested
            _step(members, stack, corpus, settled, stopping)
            if stopping:
                raise KeyboardInterrupt


def _step(members: Sequence[_Member], stack: Stack, corpus: Corpus, settled: OnOutcome, stopping: bool) -> None:
    """One step of every run that is not over. stopping: each writes its checkpoint after it."""
    live = members[: 1 + max(i for i, member in enumerate(members) if not member.course.over)]
    for member in live:
        if not member.course.over:
            member.rows = member.session.next_rows()
    z_losses = [member.session.plan.optimisation.z_loss for member in live]
    shown = stack.gradient([member.rows for member in live], z_losses).tolist()
    for member, nats in zip(live, shown, strict=True):
        if member.course.over:
            continue
        verdict = member.session.absorb(member.rows, [nats], member.learner.norm())
        member.course.after(verdict, stopping)
        if member.course.over:
            settled(member.run.plan, member.close(corpus))
