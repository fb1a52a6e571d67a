"""A run in memory: its learner, its place in the data, its books; one step after another, and how it is stored.

Everything that decides the next step is here and in the checkpoint, and nowhere else.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import plain
from gnomon.corpus.rows import TrainRows
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train import schedule
from gnomon.train.books import Books
from gnomon.train.checkpoint import Checkpoint, LocalStore, Store
from gnomon.train.crew import ALONE, Crew
from gnomon.train.execution import Execution
from gnomon.train.guard import Guard, Verdict
from gnomon.train.learner import FlatLearner, LearnerOf
from gnomon.train.term import Term
from gnomon.train.trace import first_bad_module

if TYPE_CHECKING:
    from gnomon.corpus.shards import Corpus

OnEvent = Callable[[str, int], None]
STORE = LocalStore()


def silent(_: str, __: int) -> None:
    """Nobody listens to the events of a run."""


class Session:
    """One run between two checkpoints. step: steps taken. Call restore() before take_step()."""

    def __init__(
        self,
        plan: Plan,
        corpus: Corpus,
        run_dir: Path,
        execution: Execution,
        terms: Sequence[Term],
        on_event: OnEvent = silent,
        learner: LearnerOf = FlatLearner,
        store: Store = STORE,
        crew: Crew = ALONE,
    ) -> None:
        self.plan, self.corpus, self.run_dir, self.execution = plan, corpus, run_dir, execution
        self.terms, self.on_event, self.store, self.crew = terms, on_event, store, crew
        self.learner = learner(plan, execution, terms)
        token_bytes = np.asarray(corpus.token_bytes, dtype=np.int64)
        self.books = Books(plan, token_bytes, run_dir, tuple(term.name for term in terms))
        self.step = self.first_step = 0
        self.inexact = False
        self.registry_head = ""
        self._read_from(())

    def _read_from(self, skipped: tuple[tuple[int, int], ...]) -> None:
        plan = self.plan
        self.rows = TrainRows(
            self.corpus.tokens("train"), plan.shape.context, plan.order_seed, plan.batch_rows, skipped
        )

    @property
    def seen_tokens(self) -> int:
        return self.step * self.plan.batch_tokens

    # One step

    def take_step(self) -> Verdict:
        """Rows, gradient, and what the guards let become of it. DIVERGED leaves the weights as they were."""
        rows = self.next_rows()
        shown = self.learner.gradient(rows)
        return self.absorb(rows, shown.tolist(), self.learner.norm())

    def next_rows(self) -> NDArray[np.int64]:
        """What the next step reads: int64 [B, T + 1]."""
        return self.rows.batch(self.step)

    def absorb(self, rows: NDArray[np.int64], shown: list[float], norm: float) -> Verdict:
        """Judge the gradient that the learner has taken of the next rows, and use it, leave it, or go back."""
        plan, books = self.plan, self.books
        verdict = books.guard.judge(self.step, sum(shown), norm)
        if verdict is Verdict.LEARN:
            self.learner.update(schedule.multiplier(self.step, plan.steps, plan.optimisation), norm)
            books.add(self.step, rows)
            books.learned(shown, norm)
            self.step += 1
            return verdict
        books.guard.explain(self.step, shown, norm, lambda: self.crew.report(first_bad_module(self.learner, rows)))
        if verdict is Verdict.SKIP:
            books.add(self.step, rows)
            books.left_out(rows)
            self.step += 1
        elif verdict is Verdict.ROLL_BACK:
            self._roll_back()
        return verdict

    def _roll_back(self) -> None:
        """Return to the state of an earlier step, and leave out the data between there and here.

        The target is a function of the plan; the checkpoint it is reached from is not, and need not be: what lies
        between checkpoint and target is done again, bit for bit.
        """
        books, guard = self.books, self.books.guard
        target, here = guard.rollback_step(), self.step
        lost = (self.rows.data_step(target), self.rows.data_step(here) + 1)
        skipped, seconds, notes = (*self.rows.skipped, lost), books.seconds, books.notes
        if self.crew.leader:
            self.store.forget_after(self.run_dir, target)
        self.crew.meet()
        found, _ = self.store.newest(self.run_dir)
        books.guard = Guard(guard.plan, guard.first_step)
        if found is None:
            self._begin()
            books.begin()
        else:
            self._take_up(found)
            books.resume(found.step, found.state)
        guard.rolled_back(books.guard, here, target, lost)
        books.guard, books.notes = guard, notes
        books.start_clock(seconds)
        self._read_from(skipped)
        self.on_event("rolled back", self.step)

    def close_window(self) -> dict[str, float]:
        """A row of the metrics for the steps since the last one; a new window begins."""
        return self.books.close(self.step)

    # Storing and restoring

    def save(self, final: bool = False) -> None:
        """Metrics, then a checkpoint. The last one of a run has no moments, unless a branch may start from it."""
        state = self.state()
        if self.crew.leader:
            self.books.flush()
        moments: dict[str, Tensor] = {}
        if not final or self.step in self.execution.keep_steps:
            moments = self.learner.moments()
        self.store.save(
            self.run_dir,
            Checkpoint(self.step, self.learner.weights(), moments, state),
            {*self.execution.keep_steps, *self.books.guard.needed_steps(self.step, self.store.steps(self.run_dir))},
            lambda phase: self.on_event(f"checkpoint {phase}", self.step),
        )

    def close(self) -> None:
        """Let go of weights and states. Nothing can be asked of the learner after this."""
        del self.learner

    def state(self) -> dict[str, Any]:
        """All else that a checkpoint holds, as plain values."""
        return {
            "tokens": self.seen_tokens,
            "first_step": self.first_step,
            "updates": self.learner.updates,
            "skipped": plain(self.rows.skipped),
            "registry_head": self.registry_head,
            "plan": plain(self.plan),
            "corpus": self.corpus.hash,
            "terms": [repr(term) for term in self.terms],
            "inexact": self.inexact,
            "mesh": self.crew.mesh,
            **self.books.state(self.step),
        }

    def restore(self) -> None:
        """Take up the newest whole checkpoint, or the parent's for a branch, or begin.

        Raises GnomonError when a checkpoint belongs to another plan, corpus or set of terms, or none is whole.
        """
        found, notes = self.store.newest(self.run_dir)
        self.books.notes += [f"passed over a damaged checkpoint: {note}" for note in notes]
        if found is None:
            if self.plan.parent or self.plan.init:
                self._begin()
            self.books.start_clock(0.0)
            self.books.open()
            return
        checkpoints.require_same_plan(self.plan, found.state, self.run_dir)
        self._require_same_terms(found.state["terms"])
        self._take_up(found)
        self.first_step = self.books.guard.first_step = found.state["first_step"]
        self.inexact = found.state["inexact"]
        self.books.resume(self.step, found.state)
        self.books.start_clock(found.state["seconds"])
        before, now = (mesh or "one process" for mesh in (found.state.get("mesh", ""), self.crew.mesh))
        if before != now:
            self.books.notes.append(
                f"from step {self.step} on: {now} in place of {before}; the same rows, equal within rounding"
            )

    def _begin(self) -> None:
        """The weights that a run without a checkpoint of its own starts from."""
        if self.plan.parent:
            from gnomon.train.branch import parent_checkpoint

            self._take_up(parent_checkpoint(self.plan, self.run_dir.parent))
            self.first_step = self.books.guard.first_step = self.step
        else:
            self.learner.begin()
            if self.plan.init:
                from gnomon.model.interop.store import initial_weights

                self.learner.load(initial_weights(self.plan, self.run_dir.parent.parent), {}, 0)
            self.step = 0

    def _require_same_terms(self, found: list[str]) -> None:
        mine = [repr(term) for term in self.terms]
        if found != mine:
            raise GnomonError(
                f"{self.run_dir}: this run minimises {' + '.join(found)}, not {' + '.join(mine)}; "
                "give it the same terms, or train in another folder"
            )

    def _take_up(self, found: Checkpoint) -> None:
        """Weights, moments and place in the data of a checkpoint."""
        if not found.moments and found.step < self.plan.steps:
            raise GnomonError(f"checkpoint of step {found.step}: it holds no optimiser state; nothing can follow it")
        checkpoints.require_tensors(found, self.learner.weights(), self.learner.moments())
        self.learner.load(found.weights, found.moments, found.state["updates"])
        self.step = found.step
        self._read_from(tuple((a, b) for a, b in found.state["skipped"]))


def peak_rss_bytes() -> int:
    """The most memory this process has held at once (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
