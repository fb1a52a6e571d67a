"""The engine of this process: a static key/value cache in slots, one batched step for all samples under way.

What the next call reads is put together from everything that waits: pieces of prompts and the newest tokens of samples
(chunked prefill and continuous batching, arXiv:2403.02310). A result does not depend on its neighbours: the reader's
numbers do not (see torch_reader.py and native/reader.py for what each promises), and every sample draws from a
random.Random of its own, one number a token.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gnomon.common.errors import GnomonError
from gnomon.engine.protocol import (
    Event,
    Finished,
    GenerateRequest,
    Reason,
    Score,
    ScoreRequest,
    Started,
    Token,
    Vocabulary,
)
from gnomon.engine.reader import Logits, Reader
from gnomon.engine.sampling import choose
from gnomon.engine.slots import Desk, Job
from gnomon.engine.text import TextStream


@dataclass(frozen=True)
class Window:
    """tokens[begin:end] as a row; the tokens from first on are scored."""

    request: int
    begin: int
    first: int
    end: int


@dataclass(eq=False)
class Sample:
    """One request under way: job.tokens is what it has read and drawn."""

    index: int
    request: GenerateRequest
    job: Job
    uniform: random.Random
    text: TextStream
    drawn: int = 0


class LocalEngine:
    """Implements gnomon.engine.protocol.Engine on a reader.

    slots: rows under way at once; further requests wait for a free slot. A prompt longer than the context keeps its
    last tokens (Started.dropped says how many were lost). A sample that fills the context goes on: its last half is
    read again from position 0, since the model knows no position beyond the ones it was trained on. notes: how it
    was set up and why, a line each.
    """

    def __init__(self, reader: Reader, vocabulary: Vocabulary, slots: int = 8, notes: Sequence[str] = ()) -> None:
        if slots < 1:
            raise GnomonError(f"an engine of {slots} slots samples nothing; at least 1")
        pieces = list(vocabulary.byte_strings())
        unused = reader.vocab - len(pieces)  # a model's vocabulary may be rounded up
        if unused < 0:
            raise GnomonError(
                f"a tokenizer of {len(pieces)} tokens and a model of {reader.vocab}; "
                "give the tokenizer that the model was trained with"
            )
        self.reader, self.slots, self.context, self.notes = reader, slots, reader.context, tuple(notes)
        self.end_id, self.pieces = vocabulary.end_id, pieces + [b""] * unused
        self._desks: list[Desk] = []

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        """Slots for one call, with what earlier ones left in them; calls that overlap have slots of their own."""
        desk = self._desks.pop() if self._desks else Desk(self.reader, self.slots)
        try:
            yield desk
        finally:
            desk.release_all()
            self._desks[:] = [desk]

    # score

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities in nats of each request's tokens[start:], and whether each was the likeliest.

        Tokens that fit into the context see all before them. A longer sequence is read in windows, so that every scored
        token sees at least half a context. What several requests of an owner begin with is read once.
        Raises GnomonError for a token the vocabulary does not have.
        """
        for request in requests:
            self._check(request.tokens)
        values = [([0.0] * (len(r.tokens) - r.start), [False] * (len(r.tokens) - r.start)) for r in requests]
        windows = [w for index, r in enumerate(requests) for w in _windows(index, r, self.context)]
        # Those that begin alike follow each other, so that what they share is still in a slot.
        windows.sort(key=lambda w: (requests[w.request].owner, requests[w.request].tokens[w.begin : w.end]))
        windows.reverse()  # taken from the end
        with self._desk() as desk:
            under_way: dict[Job, Window] = {}
            while windows or under_way:
                while windows and desk.free:
                    window = windows.pop()
                    request = requests[window.request]
                    row = request.tokens[window.begin : window.end - 1]
                    job = desk.place(row, request.owner, window.first - 1 - window.begin)
                    under_way[job] = window
                for job, logs, greedy in self._score(desk, under_way, requests):
                    window = under_way[job]
                    at = job.read - len(logs) + 1 + window.begin - requests[window.request].start
                    values[window.request][0][at : at + len(logs)] = logs
                    values[window.request][1][at : at + len(logs)] = greedy
                    if not job.left:
                        desk.release(job)
                        del under_way[job]
        return [Score(tuple(logs), tuple(greedy)) for logs, greedy in values]

    def _score(
        self, desk: Desk, under_way: dict[Job, Window], requests: Sequence[ScoreRequest]
    ) -> Iterator[tuple[Job, list[float], list[bool]]]:
        """One call: every job that was read on, with the scores of the tokens after its newest ones."""
        planned = []
        for job, piece in desk.plan(list(under_way)):
            window, end = under_way[job], piece.start + len(piece.tokens)
            first = max(window.first, window.begin + piece.start + 1)
            targets = requests[window.request].tokens[first : window.begin + end + 1]
            planned.append((job, replace(piece, targets=targets, wanted=False)))
        logs, greedy = self.reader.score(desk.room, [piece for _, piece in planned])
        desk.done(planned)
        at = 0
        for job, piece in planned:
            count = len(piece.targets)
            yield job, logs[at : at + count], greedy[at : at + count]
            at += count

    # generate

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Event]:
        """Started, Tokens and Finished of every request as they happen; close the iterator to stop early.

        Raises GnomonError for a token the vocabulary does not have.
        """
        waiting = enumerate(requests)
        samples: dict[Job, Sample] = {}
        with self._desk() as desk:
            while True:
                while desk.free and (following := next(waiting, None)) is not None:
                    sample, started = self._admit(desk, *following)
                    samples[sample.job] = sample
                    yield started
                if not samples:
                    return
                planned = desk.plan(list(samples))
                logits = self.reader.read(desk.room, [piece for _, piece in planned])
                desk.done(planned)
                due = [samples[job] for job, piece in planned if piece.wanted]
                for sample, event in self._draw(due, logits):
                    yield event
                    if isinstance(event, Finished):
                        desk.release(sample.job)
                        del samples[sample.job]
                for sample in due:
                    if sample.job in samples and len(sample.job.tokens) > self.context:
                        del samples[sample.job]
                        sample.job = desk.restart(sample.job, sample.job.tokens[-max(1, self.context // 2) :])
                        samples[sample.job] = sample

    def _admit(self, desk: Desk, index: int, request: GenerateRequest) -> tuple[Sample, Started]:
        self._check(request.tokens)
        kept = request.tokens[-self.context :] or (self.end_id,)
        job = desk.place(kept, request.owner)
        dropped = max(0, len(request.tokens) - self.context)
        sample = Sample(index, request, job, random.Random(request.options.seed), TextStream(request.options.stop))
        return sample, Started(index, len(request.tokens) - dropped, dropped, job.cached)

    def _draw(self, samples: Sequence[Sample], logits: Logits) -> Iterator[tuple[Sample, Event]]:
        """The next token of every sample, and the end of those that end with it."""
        if not samples:
            return
        tokens = choose(logits, [s.request.options for s in samples], [s.uniform.random() for s in samples])
        for row, (sample, token) in enumerate(zip(samples, tokens, strict=True)):
            log_probability = float(logits.values[row, token]) - logits.log_z[row]
            for event in self._take(sample, token, log_probability):
                yield sample, event

    def _take(self, sample: Sample, token: int, log_probability: float) -> list[Event]:
        """Append a drawn token to its sample: the events that follow."""
        options, index = sample.request.options, sample.index
        sample.job.grow(token)
        sample.drawn += 1
        ended = token == self.end_id or token in options.stop_ids
        text = "" if ended else sample.text.push(self.pieces[token])
        events: list[Event] = [Token(index, token, log_probability, text)]
        if ended or sample.text.stopped or sample.drawn == options.max_tokens:
            reason: Reason = "end" if ended else "stop" if sample.text.stopped else "length"
            events.append(Finished(index, reason, sample.drawn, sample.text.push(b"", final=True)))
        return events

    def _check(self, tokens: Sequence[int]) -> None:
        vocab = self.reader.vocab
        wrong = next((t for t in tokens if not 0 <= t < vocab), None)
        if wrong is not None:
            raise GnomonError(
                f"token {wrong} is not in a vocabulary of {vocab}; was the text encoded by another tokenizer?"
            )


def _windows(index: int, request: ScoreRequest, context: int) -> list[Window]:
    """Rows of at most `context` inputs that together score tokens[start:] once; a function of the request alone."""
    windows, at, end = [], request.start, len(request.tokens)
    while at < end:
        begin = max(0, min(at - context // 2, end - 1 - context))
        stop = min(end, begin + context + 1)
        windows.append(Window(index, begin, at, stop))
        at = stop
    return windows
