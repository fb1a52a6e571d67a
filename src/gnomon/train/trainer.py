"""The loop: one optimiser step after another, from the beginning, from a checkpoint, or from another run's checkpoint.

Same plan, same numbers: at any micro-batch within rounding, and bit for bit however often the run is killed and resumed
on its own machine. A finished run is never trained again.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import gnomon
from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json
from gnomon.common.hashing import folder_hash, plain
from gnomon.model.transformer import Transformer
from gnomon.recipe.flops import train_flops_per_token
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train import schedule
from gnomon.train.checkpoint import Store
from gnomon.train.crew import ALONE, Crew
from gnomon.train.evaluate import EvalSet, evaluate
from gnomon.train.execution import Execution, honoured, settle
from gnomon.train.guard import Verdict
from gnomon.train.interrupt import stop_requests
from gnomon.train.leak import require_causal
from gnomon.train.learner import FlatLearner, LearnerOf
from gnomon.train.memory import needs, resident_bytes
from gnomon.train.result import Result
from gnomon.train.session import STORE, OnEvent, Session, peak_rss_bytes, silent
from gnomon.train.term import NextToken, Term

if TYPE_CHECKING:
    from gnomon.corpus.shards import Corpus

Mode = Literal["new", "resume", "auto"]
Callback = Callable[[int, dict[str, float]], None]


def train(
    plan: Plan,
    corpus: Corpus,
    run_dir: Path,
    *,
    execution: Execution | None = None,
    evaluate: Sequence[EvalSet] = (),
    callbacks: Sequence[Callback] = (),
    terms: Sequence[Term] | None = None,
    mode: Mode = "new",
    registry_head: str = "",
    inexact: bool = False,
    on_event: OnEvent = silent,
    learner: LearnerOf = FlatLearner,
    store: Store = STORE,
    crew: Crew = ALONE,
) -> Result:
    """Train a plan on a corpus in run_dir and examine it on every set.

    execution: how; decided here when None, and on resume what the folder records. callbacks: called with (step, row of
    the metrics) after each window. terms: what is minimised; next-token prediction with the plan's z-loss when None.
    mode: "new" refuses a run that was begun, "resume" one that was not, "auto" takes both. registry_head: stored with
    every checkpoint. inexact: accept a machine that cannot repeat the run bit for bit. on_event: hears (what, step) as
    things happen. learner, store, crew: where weights live, where checkpoints go, who else works on this run (only the
    leader examines it). A finished run is returned as it is; only sets it was not examined on are added.

    Raises GnomonError on bad input (another process at work, other corpus, other plan), JobFailed when the disk is
    full, KeyboardInterrupt after SIGINT or SIGTERM, with a checkpoint written.
    """
    terms = list(terms) if terms is not None else [NextToken(plan.optimisation.z_loss)]
    schedule.check(plan.optimisation)
    require_corpus(plan, corpus)
    crew.require_plan(plan)
    crew.first(lambda: _require_begun(run_dir, mode))
    with crew.hold(run_dir / ".lock", f"run {plan.run_id}"):
        opened = crew.first(
            lambda: open_run(plan, corpus, run_dir, execution, evaluate, terms, mode, inexact, crew.mesh)
        )
        if isinstance(opened, Result):
            return opened
        settled, strayed = opened
        planned = _planned(plan, settled, corpus, evaluate)
        with honoured(settled), crew.watched(lambda: _whole(run_dir)):
            session = Session(plan, corpus, run_dir, settled, terms, on_event, learner, store, crew)
            session.books.planned = planned
            session.restore()
            crew.first(lambda: require_causal(session.learner.probe(), plan.shape.vocab, plan.shape.context))
            session.registry_head = registry_head or session.registry_head
            session.inexact = session.inexact or strayed
            on_event("restored", session.step)
            done = _loop(session, callbacks)
        return close_run(session, done, corpus, evaluate)


def _planned(plan: Plan, execution: Execution, corpus: Corpus, sets: Sequence[EvalSet]) -> dict[str, float]:
    """What the run will need, so that its result can be held against it."""
    held_out = sum(s.rows.size for s in sets)
    need = needs(plan, execution, corpus.tokens("train").nbytes, resident_bytes(), held_out)
    return {"memory_bytes": need.memory_bytes, "disk_bytes": need.disk}


def _require_begun(run_dir: Path, mode: Mode) -> None:
    """Before the lock, which would make the folder."""
    if mode == "resume" and not (run_dir / checkpoints.PLAN_FILE).exists():
        raise GnomonError(f"{run_dir}: there is no run to resume; train begins one")


def open_run(
    plan: Plan,
    corpus: Corpus,
    run_dir: Path,
    execution: Execution | None,
    evaluate: Sequence[EvalSet],
    terms: Sequence[Term],
    mode: Mode,
    inexact: bool,
    mesh: str = "",
) -> Result | tuple[Execution, bool]:
    """Make the folder ready, with its lock held: the result of a finished run, or the execution of one to go on with
    and whether the run stops being exact with it."""
    checkpoints.sweep(run_dir)
    finished = _finished(plan, run_dir, terms)
    if finished is not None:
        return _examine_more(finished, corpus, run_dir, evaluate)
    begun = _require_mode(plan, run_dir, mode)
    settled = settle(run_dir, plan, execution, terms, inexact, mesh)
    if not begun:
        write_json(run_dir / checkpoints.PLAN_FILE, plan.to_dict(), 1)
    return settled


def _whole(run_dir: Path) -> str:
    """What a run that lost a process can go on from."""
    found = checkpoints.steps(run_dir)
    return f"the checkpoint of step {found[-1]} is whole" if found else "there is no checkpoint yet"


def require_corpus(plan: Plan, corpus: Corpus) -> None:
    if plan.corpus != corpus.hash:
        raise GnomonError(
            f"run {plan.run_id}: its plan is for corpus {plan.corpus[:16]}, this is corpus {corpus.hash[:16]}; "
            "a plan trains on the corpus it names"
        )
    if corpus.vocab > plan.shape.vocab:
        raise GnomonError(
            f"run {plan.run_id}: the corpus has {corpus.vocab} tokens and its model {plan.shape.vocab}; "
            "the model's vocabulary is at least as large as the corpus'"
        )


def _finished(plan: Plan, run_dir: Path, terms: Sequence[Term]) -> Result | None:
    """The result of a run that is over. Raises GnomonError when the folder holds another run's."""
    result = Result.read(run_dir)
    if result is None:
        return None
    found = checkpoints.difference(plain(plan.to_dict()), plain(checkpoints.read_plan(run_dir).to_dict()))
    if found:
        raise GnomonError(f"{run_dir}: this folder holds another run: {found}")
    wanted = tuple(repr(term) for term in terms)
    if result.terms != wanted:
        raise GnomonError(
            f"{run_dir}: this run minimised {' + '.join(result.terms)}, not {' + '.join(wanted)}; "
            "train in another folder"
        )
    return result


def _require_mode(plan: Plan, run_dir: Path, mode: Mode) -> bool:
    """Whether the run was begun. Raises GnomonError when the folder holds another run, or mode is "new" and it was."""
    if not (run_dir / checkpoints.PLAN_FILE).exists():
        return False
    found = checkpoints.difference(plain(plan.to_dict()), plain(checkpoints.read_plan(run_dir).to_dict()))
    if found:
        raise GnomonError(f"{run_dir}: this folder holds another run: {found}")
    if mode == "new":
        at = ([0, *checkpoints.steps(run_dir)])[-1]
        raise GnomonError(f"{run_dir}: this run was begun and has a checkpoint of step {at}; resume goes on with it")
    return True


class Course:
    """A session on its way to its last step: when windows close, callbacks hear, checkpoints are written."""

    def __init__(self, session: Session, callbacks: Sequence[Callback]) -> None:
        self.session, self.callbacks = session, callbacks
        self.diverged = False
        self._written = time.monotonic()

    @property
    def over(self) -> bool:
        return self.diverged or self.session.step >= self.session.plan.steps

    def after(self, verdict: Verdict, stop: bool) -> bool:
        """What follows a step. stop: the run is to end here. Returns whether it does, with its checkpoint written."""
        session, execution, crew = self.session, self.session.execution, self.session.crew
        if verdict is Verdict.DIVERGED:
            session.close_window()
            session.books.last_loss = None
            if crew.leader:
                session.books.flush()
            self.diverged = True
            return False
        if verdict is Verdict.ROLL_BACK:
            return False
        session.on_event("step", session.step)
        if self.over or session.step % execution.log_every == 0:
            row = session.close_window()
            for callback in self.callbacks:
                callback(session.step, row)
        stopping = crew.agreed(stop)
        due = crew.agreed(time.monotonic() - self._written >= execution.checkpoint_every_s)
        if self.over or due or stopping or session.step in execution.keep_steps:
            session.save(final=self.over)
            self._written = time.monotonic()
        return stopping


def _loop(session: Session, callbacks: Sequence[Callback]) -> bool:
    """Take the steps that are left. False when the run diverged."""
    course = Course(session, callbacks)
    with stop_requests() as stop:
        while not course.over:
            if course.after(session.take_step(), stop.requested):
                raise KeyboardInterrupt
    return not course.diverged


def close_run(session: Session, done: bool, corpus: Corpus, evaluate: Sequence[EvalSet]) -> Result:
    """Examine the final model and write the result. done: it did not diverge."""
    result = _result(session, done)
    session.close()  # its weights and states would lie beside the model that is examined
    if session.crew.leader:
        if done:
            model = checkpoints.load_final(session.run_dir).to(session.execution.device)
            result = replace(result, evaluations=_examined(model, corpus, evaluate), peak_rss_bytes=peak_rss_bytes())
        result.write(session.run_dir)
    session.on_event("result", session.step)
    return result


def _result(session: Session, done: bool) -> Result:
    plan = session.plan
    books = session.books
    taken = (session.step - session.first_step) * plan.batch_tokens
    if done and session.crew.leader:
        kept = [*session.execution.keep_steps, plan.steps]
        checkpoints.prune(session.run_dir, kept)
    assert session.execution.machine is not None
    return Result(
        run_id=plan.run_id,
        status="done" if done else "diverged",
        steps=session.step,
        tokens=session.seen_tokens,
        flops=train_flops_per_token(plan.shape) * session.seen_tokens,
        seconds=books.seconds,
        train_loss_nats=books.last_loss if done else None,
        evaluations={},
        registry_head=session.registry_head,
        device=session.execution.machine.processor,
        dtype=plan.dtype,
        peak_rss_bytes=peak_rss_bytes(),
        tokens_per_s=taken / books.seconds if books.seconds > 0 else 0.0,
        inexact=session.inexact,
        trunk=bool(plan.parent),
        terms=tuple(repr(term) for term in session.terms),
        notes=tuple(books.notes),
        code=_code_hash(),
        guards=dict(books.guard.counts),
        planned=books.planned,
    )


@functools.cache
def _code_hash() -> str:
    """Of the package's source."""
    return folder_hash(Path(gnomon.__file__).parent)


def _examined(model: Transformer, corpus: Corpus, sets: Sequence[EvalSet]) -> dict[str, dict[str, object]]:
    return {s.name: plain(evaluate(model, s, corpus.token_bytes)) for s in sets}


def _examine_more(result: Result, corpus: Corpus, run_dir: Path, sets: Sequence[EvalSet]) -> Result:
    """A finished run's result, with the sets it has not been examined on."""
    missing = [s for s in sets if result.evaluations.get(s.name, {}).get("hash") != s.hash]
    if result.status != "done" or not missing:
        return result
    evaluations = {**result.evaluations, **_examined(checkpoints.load_final(run_dir), corpus, missing)}
    result = replace(result, evaluations=evaluations)
    result.write(run_dir)
    return result
