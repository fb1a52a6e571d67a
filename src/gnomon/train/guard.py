"""The guards of a run: what they look at, what they call a fault, what they have seen.

A loss far above the last window's is not learned from: 6 sigma over 128 steps, as OLMo-core's skip-step optimiser has
it, here with median and MAD, which a spike cannot move, and beyond what a few odd rows of a small batch can do. Where
spikes persist the run goes back to before the first and reads on behind the data that led there (PaLM, arXiv:2204.02311
§5.1). A verdict is a function of the plan and the steps so far, never of time, and all that it rests on is in the
checkpoint: so a resumed run judges alike.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnomon.recipe.plan import Plan

EVENTS_FILE, EVENTS_SCHEMA = "guards.json", 1  # in a run's folder, where there are any
WINDOW = 128  # steps that a spike is held against
MAD_TO_SIGMA = 1.4826  # of a normal distribution
ODD_ROWS = 2  # of a batch, which may lie ln(vocabulary) above the others without being called a spike
LEAST_RISE = 0.06  # of the median loss
LEAST_NORM, ODD_NORM = 10, 100  # times the usual: no alarm below; what an odd row's gradient may be
PATIENCE, NEAR = 4, 8  # so many spikes within so many steps persist
BLOCK = 16  # a run goes back to a multiple of this, at least as many steps before the first spike
ROLLBACKS = 2  # per run; after them a high loss is accepted, and a gradient that is no number ends the run
REMEMBERED = 256  # batches that a new one is compared with
CONSTANT_SHARE = 0.5  # from so many of a batch's rows on, rows of one token over and over are a fault
EVENTS_KEPT = 500


class Verdict(Enum):
    """What becomes of a step."""

    LEARN = "learn"
    SKIP = "skip"
    ROLL_BACK = "roll back"
    DIVERGED = "diverged"


class Recent:
    """The last values of a series, and whether a new one stands far above them."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.values = deque(values, WINDOW)
        self.high = max(self.values, default=-math.inf)

    def add(self, value: float) -> None:
        left = self.values[0] if len(self.values) == WINDOW else -math.inf
        self.values.append(value)
        if value >= self.high:
            self.high = value
        elif left == self.high:
            self.high = max(self.values)

    @property
    def usual(self) -> float:
        return statistics.median(self.values)

    def far_below(self, value: float, sigmas: float, least: float, share: float = 0.0) -> bool:
        """Whether all values lie below this one, and their median by so many robust sigmas; False in a first window.

        The distance is at least `least`, and `share` of the median.
        """
        if value <= self.high or len(self.values) < WINDOW:
            return False
        median = self.usual
        sigma = MAD_TO_SIGMA * statistics.median(abs(v - median) for v in self.values)
        return value - median > max(sigmas * sigma, least, share * abs(median))


def fingerprints(batches: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for the rows of each batch [n, B, T + 1], whatever their order: uint64 [n]."""
    keys = np.arange(1, 2 * batches.shape[-1], 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    rows = batches.view(np.uint64) @ keys
    return ((rows ^ (rows >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)).sum(-1)


def constant_batches(batches: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of which batches [n, B, T + 1] so large a share of rows is one token throughout: bool [n]."""
    first = batches[..., 0]
    rows = (first == batches[..., 1]) & (first == batches[..., -1])  # spares the rest of the row nearly always
    if rows.any():
        rows[rows] = (batches[rows] == first[rows][:, None]).all(-1)
    return rows.mean(-1) >= CONSTANT_SHARE


class Guard:
    """The guards of one run. first_step: where it begins, 0 unless it is a branch."""

    def __init__(self, plan: Plan, first_step: int = 0) -> None:
        """The plan's spike_sigmas of 0 switch off what would change numbers; a gradient that is none then ends it."""
        self.plan, self.first_step = plan, first_step
        self.sigmas = plan.optimisation.spike_sigmas
        self.odd_rows_rise = ODD_ROWS * math.log(plan.shape.vocab) / plan.batch_rows
        self.least_norm_rise = math.log(LEAST_NORM + ODD_NORM / plan.batch_rows)
        self.alarmed = False  # by the gradient's norm, at the step judged last
        self.rollbacks = 0
        self.counts: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        self._heard = -1  # events up to this step are on record: a run that went back passes them again
        self._restart()

    def _restart(self) -> None:
        self._losses, self._norms = Recent(), Recent()
        self._spikes: list[int] = []
        self._seen: dict[int, int] = {}  # step by fingerprint, oldest first

    # Judging

    def judge(self, step: int, loss: float, norm: float) -> Verdict:
        """What becomes of step, whose gradient is taken and not yet used. loss in nats; norm of the whole gradient."""
        finite = math.isfinite(loss) and math.isfinite(norm)
        self.alarmed = False
        if not self.sigmas:
            return Verdict.LEARN if math.isfinite(norm) else Verdict.DIVERGED
        if finite and not self._losses.far_below(loss, self.sigmas, self.odd_rows_rise, LEAST_RISE):
            size = math.log(max(norm, 1e-300))
            if self._norms.far_below(size, self.sigmas, self.least_norm_rise):
                usual, self.alarmed = math.exp(self._norms.usual), True
                self.note(step, "norm", f"the gradient's norm is {norm:.3g}; {usual:.3g} is usual")
            self._losses.add(loss)
            self._norms.add(size)
            return Verdict.LEARN
        return self._spiked(step, loss, finite)

    def _spiked(self, step: int, loss: float, finite: bool) -> Verdict:
        if finite:
            usual = self._losses.usual
            self.note(step, "spike", f"a loss of {loss:.4g} nats; {usual:.4g} is usual; nothing was learned from it")
        self._spikes = [s for s in self._spikes if s > step - NEAR] + [step]
        if len(self._spikes) < PATIENCE:
            return Verdict.SKIP
        if self.rollbacks < ROLLBACKS:
            return Verdict.ROLL_BACK
        if not finite:
            return Verdict.DIVERGED
        self.note(step, "gave way", f"the loss stays at {loss:.4g} nats after {self.rollbacks} roll-backs; it is taken")
        self._restart()
        self._losses.add(loss)
        return Verdict.LEARN

    def explain(self, step: int, shown: list[float], norm: float, find: Callable[[], str]) -> None:
        """Put on record why a step was not learned from, where it is a number that is none. find: where it arose."""
        if math.isfinite(sum(shown)) and math.isfinite(norm):
            return
        new = len(self._spikes) <= 1 and step >= self._heard
        self.note(step, "not a number", find() if new else "again")

    # Going back

    def rollback_step(self) -> int:
        """Where a run goes back to now: a whole block before the first of the spikes that persist."""
        return self._block_before(self._spikes[0])

    def _block_before(self, spike: int) -> int:
        return max(self.first_step, BLOCK * ((spike - 1) // BLOCK - 1))

    def needed_steps(self, step: int, stored: Iterable[int]) -> set[int]:
        """Of the stored checkpoints those that a roll-back soon after step would start from."""
        if not self.sigmas or self.rollbacks >= ROLLBACKS:
            return set()
        kept = sorted(stored)
        points = {self._block_before(max(1, step - NEAR)), self._block_before(step + 1)}
        return {s for point in points for s in [s for s in kept if s <= point][-1:]}

    def rolled_back(self, earlier: Guard, step: int, target: int, lost: tuple[int, int]) -> None:
        """Become the guard of a checkpoint, remembering what was seen since. lost: data steps that are left out."""
        self.note(step, "roll back", f"back to step {target}; data steps {lost[0]} to {lost[1] - 1} are left out")
        self._losses, self._norms, self._seen = earlier._losses, earlier._norms, earlier._seen
        self._spikes = earlier._spikes
        self.rollbacks += 1
        self._heard = target

    # Data

    def look_at(self, first: int, batches: NDArray[np.int64]) -> int:
        """Look for dead data in the batches [n, B, T + 1] of steps `first`, `first` + 1, …; in how many there is some.

        Each batch is judged alone, so it does not matter how many come at once.
        """
        dead = 0
        prints, constant = fingerprints(batches).tolist(), constant_batches(batches).tolist()
        for step, (found, is_constant) in enumerate(zip(prints, constant, strict=True), first):
            before = self._seen.pop(found, None)
            self._seen[found] = step
            if is_constant:
                self.note(step, "constant rows", "half of the rows or more are one token throughout")
            elif before is not None:
                self.note(step, "repeated batch", f"the very rows of step {before}")
            dead += is_constant or before is not None
            if len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return dead

    # The record

    def note(self, step: int, kind: str, what: str) -> None:
        """Put an event on record. step: updates before it."""
        if step < self._heard:
            return
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(self.events) < EVENTS_KEPT:
            self.events.append({"step": step, "kind": kind, "what": what})

    def state(self) -> dict[str, Any]:
        """All of it as plain values, for a checkpoint."""
        return {
            "losses": list(self._losses.values),
            "norms": list(self._norms.values),
            "spikes": self._spikes,
            "seen": list(self._seen.items()),
            "rollbacks": self.rollbacks,
            "counts": self.counts,
            "events": self.events,
            "heard": self._heard,
        }

    def load(self, state: dict[str, Any]) -> None:
        self._losses, self._norms = Recent(state["losses"]), Recent(state["norms"])
        self._spikes = list(state["spikes"])
        self._seen = dict(state["seen"])
        self.rollbacks, self._heard = state["rollbacks"], state["heard"]
        self.counts, self.events = dict(state["counts"]), list(state["events"])
