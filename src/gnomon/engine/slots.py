"""Who reads what into which slot, and what need not be read again: plain bookkeeping, without a model.

A job is a row of tokens on its way into a slot. If another slot holds, or is just reading, tokens that begin like
those of the job and are of the same owner, the common prefix is taken from there instead of being read: where it lies,
if that slot is free, else as a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gnomon.engine.reader import Piece, Reader

WORTH_A_COPY = 16  # tokens; fewer are read as fast as they are copied, and without waiting for the one that reads them


@dataclass(eq=False)
class Job:
    """tokens: what the slot shall hold. read: how many of them it does. stable: those that may be reused.

    grown: the prompt is read, and what now comes, a token at a time, was drawn.
    """

    slot: int
    owner: str
    tokens: list[int]
    read: int = 0
    stable: int = 0
    source: Job | None = None  # whose first `cached` tokens are copied as soon as it has read them
    cached: int = 0
    grown: bool = False

    @property
    def left(self) -> int:
        return len(self.tokens) - self.read

    def grow(self, token: int) -> None:
        """A token was drawn behind those that are read."""
        self.tokens.append(token)
        self.grown = True


@dataclass(eq=False)
class _Slot:
    """held: the job that fills it or has filled it last. used: when, for the choice of the one to give up."""

    held: Job
    live: bool = False
    used: int = 0


@dataclass
class Desk:
    """The slots of one room. live: how many jobs may be under way at once; further slots keep prefixes."""

    reader: Reader
    live: int
    _clock: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        count = self.live + self.reader.spare(self.live)
        self.room = self.reader.room(count)
        self._slots = [_Slot(Job(slot, "", [])) for slot in range(count)]

    @property
    def free(self) -> bool:
        return sum(slot.live for slot in self._slots) < self.live

    def place(self, tokens: Sequence[int], owner: str, reusable: int | None = None) -> Job:
        """Give a row of tokens a slot. reusable: at most that many need not be read, all but the last by default.

        There is a free slot. Job.cached says how many tokens are not read.
        """
        for slot in self._slots:
            self._settle(slot.held)
        most = len(tokens) - 1 if reusable is None else reusable
        job = Job(-1, owner, list(tokens))
        shared = [self._shared(slot, job, most) for slot in self._slots]
        best = max(range(len(self._slots)), key=lambda i: (shared[i], not self._slots[i].live))
        source = self._slots[best]
        free = [i for i, slot in enumerate(self._slots) if not slot.live]
        others = [i for i in free if i != best or not shared[best]]
        # Going on in place costs the slot what lies behind the common prefix: only where that is the smaller part.
        if best in free and shared[best] and (2 * shared[best] >= source.held.stable or not others):
            job.slot, job.cached = best, shared[best]
            job.read = job.stable = job.cached
        else:
            job.slot = min(others, key=lambda i: (self._slots[i].used, i))
            if shared[best] >= WORTH_A_COPY:
                job.source, job.cached = source.held, shared[best]
        self._clock += 1
        slot = self._slots[job.slot]
        slot.held, slot.live, slot.used = job, True, self._clock
        self._settle(job)
        return job

    def _shared(self, slot: _Slot, job: Job, most: int) -> int:
        """How many tokens of a job its slot could give it, in whole grains."""
        held, grain = slot.held, self.reader.grain
        if held.owner != job.owner:
            return 0
        # A prompt that is still being read will be there in time.
        limit = min(most, len(held.tokens) if slot.live and not held.grown else held.stable)
        count = 0
        for ours, theirs in zip(job.tokens[: max(0, limit)], held.tokens, strict=False):
            if ours != theirs:
                break
            count += 1
        return count // grain * grain

    def _settle(self, job: Job) -> None:
        """Copy what a job waits for, once it is there."""
        if job.source is not None and job.source.read >= job.cached:
            self.room.copy(job.source.slot, job.slot, job.cached)
            job.read = job.stable = job.cached
            job.source = None

    def plan(self, jobs: Sequence[Job]) -> list[tuple[Job, Piece]]:
        """What is read in the next call: of every job that waits for nobody, as much as there are rows for.

        Drawn tokens come first, then prompts in the order of the jobs.
        """
        for job in jobs:
            self._settle(job)
        pieces: list[tuple[Job, Piece]] = []
        rows = self.reader.rows
        for job in sorted(jobs, key=lambda j: not j.grown):
            if job.source is not None or not job.left:
                continue
            count = min(job.left, rows)
            if count < job.left:
                count -= (job.read + count) % self.reader.grain  # a prompt is cut at whole grains
            if count > 0:
                tokens = job.tokens[job.read : job.read + count]
                piece = Piece(job.slot, job.read, tokens, wanted=count == job.left, drawn=job.grown)
                pieces.append((job, piece))
                rows -= count
        return pieces

    def done(self, pieces: Sequence[tuple[Job, Piece]]) -> None:
        """The planned pieces are read."""
        for job, piece in pieces:
            if self.reader.repeats or (not piece.drawn and job.stable == job.read):
                job.stable = job.read + len(piece.tokens)
            job.read += len(piece.tokens)

    def restart(self, job: Job, tokens: Sequence[int]) -> Job:
        """The same slot reads other tokens from position 0."""
        fresh = Job(job.slot, job.owner, list(tokens))
        self._slots[job.slot].held = fresh
        return fresh

    def release(self, job: Job) -> None:
        """The job is over; its slot keeps what it holds until it is needed."""
        slot = self._slots[job.slot]
        slot.live = False
        job.source = None
        job.grown = True
        job.stable = min(job.stable, job.read, self.reader.context - 1)  # a torch step may write to the last position
        job.tokens = job.tokens[: job.read]
        self._clock += 1
        slot.used = self._clock

    def release_all(self) -> None:
        for slot in self._slots:
            if slot.live:
                self.release(slot.held)
