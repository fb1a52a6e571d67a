"""The engine in plain torch: a static key/value cache in slots, one batched step for all samples that are under way.

A sample does not depend on its neighbours. Prompts are read one at a time; a decode step always runs all slots, also
empty ones, because a matrix product may round differently for another number of rows; and every sample draws from a
random.Random of its own, one number a token. So in fp32 an engine of n slots gives a request bit for bit the same
sample alone and among others. Fewer slots are faster for a single user and promise the same within themselves.

B rows (slots), T time, D width, V vocabulary, N scored tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

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
from gnomon.engine.sampling import draw, log_probabilities, probabilities
from gnomon.engine.text import TextStream
from gnomon.model.cache import Cache
from gnomon.model.transformer import Transformer

LOGITS_AT_ONCE = 1 << 23  # numbers in the largest block of logits that scoring makes: 32 MiB in fp32


@dataclass(frozen=True)
class Window:
    """tokens[begin:end] as a row; the tokens from first on are scored."""

    request: int
    begin: int
    first: int
    end: int


@dataclass
class Sample:
    """One request under way: everything it has read and drawn, in its own slot."""

    index: int
    request: GenerateRequest
    tokens: list[int]
    drawn: int = 0
    uniform: random.Random = field(default_factory=random.Random)
    text: TextStream = field(default_factory=TextStream)


class TorchEngine:
    """Implements gnomon.engine.protocol.Engine on a Transformer.

    slots: samples decoded at once; further requests wait for a free slot. A prompt longer than the context keeps its
    last tokens (Started.dropped says how many were lost). A sample that fills the context goes on: its last half is
    read again from position 0, since the model knows no position beyond the ones it was trained on.
    """

    def __init__(self, model: Transformer, vocabulary: Vocabulary, slots: int = 8) -> None:
        if slots < 1:
            raise GnomonError(f"an engine of {slots} slots samples nothing; at least 1")
        pieces = list(vocabulary.byte_strings())
        unused = model.shape.vocab - len(pieces)  # a model's vocabulary may be rounded up
        if unused < 0:
            raise GnomonError(
                f"a tokenizer of {len(pieces)} tokens and a model of {model.shape.vocab}; "
                "give the tokenizer that the model was trained with"
            )
        self.model, self.slots, self.context = model.eval(), slots, model.shape.context
        self.end_id, self.pieces = vocabulary.end_id, pieces + [b""] * unused
        self.device, self.dtype = model.head.weight.device, model.head.weight.dtype

    # score

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities in nats of each request's tokens[start:], and whether each was the likeliest.

        Tokens that fit into the context see all before them. A longer sequence is read in windows, so that every scored
        token sees at least half a context. Raises GnomonError for a token the vocabulary does not have.
        """
        for request in requests:
            self._check(request.tokens)
        values = [([0.0] * (len(r.tokens) - r.start), [False] * (len(r.tokens) - r.start)) for r in requests]
        windows = [w for index, r in enumerate(requests) for w in _windows(index, r, self.context)]
        windows.sort(key=lambda w: w.end - w.begin)  # rows of like length share a batch: little padding
        rows = max(1, LOGITS_AT_ONCE // (self.context * self.model.shape.width))
        for at in range(0, len(windows), rows):
            batch = windows[at : at + rows]
            logs_N, greedy_N = self._score_rows(batch, requests)
            done = 0
            for window in batch:
                count, offset = window.end - window.first, window.first - requests[window.request].start
                logs, greedy = values[window.request]
                logs[offset : offset + count] = logs_N[done : done + count]
                greedy[offset : offset + count] = greedy_N[done : done + count]
                done += count
        return [Score(tuple(logs), tuple(greedy)) for logs, greedy in values]

    @torch.inference_mode()
    def _score_rows(self, batch: list[Window], requests: Sequence[ScoreRequest]) -> tuple[list[float], list[bool]]:
        """Scores of one batch of windows, in order. Padding stands on the right, where a causal model cannot see it."""
        rows = [requests[w.request].tokens[w.begin : w.end] for w in batch]
        longest = max(len(row) for row in rows) - 1
        tokens_BT = torch.tensor([row[:-1] + (0,) * (longest + 1 - len(row)) for row in rows], device=self.device)
        hidden_BTD = self.model.hidden(tokens_BT)
        picked = [hidden_BTD[b, w.first - w.begin - 1 : w.end - w.begin - 1] for b, w in enumerate(batch)]
        hidden_ND = torch.cat(picked)
        target_N = torch.tensor([t for w in batch for t in requests[w.request].tokens[w.first : w.end]]).to(self.device)
        logs: list[float] = []
        greedy: list[bool] = []
        chunk = max(1, LOGITS_AT_ONCE // self.model.shape.vocab)
        for hidden, target in zip(hidden_ND.split(chunk), target_N.split(chunk), strict=True):
            logs_NV = log_probabilities(self.model.head(hidden))
            logs += logs_NV.gather(-1, target[:, None])[:, 0].tolist()
            greedy += (logs_NV.argmax(-1) == target).tolist()
        return logs, greedy

    # generate

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Event]:
        """Started, Tokens and Finished of every request as they happen; close the iterator to stop early.

        Raises GnomonError for a token the vocabulary does not have.
        """
        waiting = enumerate(requests)
        cache = Cache(self.model.shape, self.slots, dtype=self.dtype, device=self.device)
        logits_BV = torch.zeros(self.slots, self.model.shape.vocab, device=self.device)
        samples: list[Sample | None] = [None] * self.slots
        while True:
            for slot in (s for s in range(self.slots) if samples[s] is None):
                following = next(waiting, None)
                if following is None:
                    break
                samples[slot], started = self._admit(*following)
                yield started
                self._prefill(samples[slot], slot, cache, logits_BV)
            if not any(samples):
                return
            for slot, event in self._draw(samples, logits_BV):
                yield event
                if isinstance(event, Finished):
                    samples[slot] = None
            self._decode(samples, cache, logits_BV)

    def _admit(self, index: int, request: GenerateRequest) -> tuple[Sample, Started]:
        self._check(request.tokens)
        kept = list(request.tokens[-self.context :]) or [self.end_id]
        sample = Sample(index, request, kept, 0, random.Random(request.options.seed), TextStream(request.options.stop))
        dropped = max(0, len(request.tokens) - self.context)
        return sample, Started(index, len(request.tokens) - dropped, dropped)

    @torch.inference_mode()
    def _prefill(self, sample: Sample | None, slot: int, cache: Cache, logits_BV: torch.Tensor) -> None:
        """Read a sample's tokens from position 0 into its slot, alone, and leave the logits of the next token."""
        assert sample is not None
        own = cache.slots(slot, slot + 1)
        own.truncate(torch.zeros_like(own.lengths_B))
        hidden_BTD = self.model.hidden(torch.tensor([sample.tokens], device=self.device), own)
        logits_BV[slot] = self.model.head(hidden_BTD[:, -1]).float()[0]

    @torch.inference_mode()
    def _decode(self, samples: list[Sample | None], cache: Cache, logits_BV: torch.Tensor) -> None:
        """One step of all slots: each sample's newest token is read at its own position, behind what its slot holds."""
        due = [sample is not None for sample in samples]
        for slot, sample in enumerate(samples):
            if sample is not None and len(sample.tokens) > self.context:
                sample.tokens = sample.tokens[-max(1, self.context // 2) :]
                self._prefill(sample, slot, cache, logits_BV)
                due[slot] = False
        if not any(due):
            return
        # Slots that are not due read a dummy: an empty one at position 0, one just read again behind its last token.
        live_B = torch.tensor([sample is not None for sample in samples], device=self.device)
        due_B = torch.tensor(due, device=self.device)
        lengths_B = torch.where(live_B, cache.lengths_B, 0)
        cache.truncate(lengths_B)
        newest = [sample.tokens[-1] if sample is not None else 0 for sample in samples]
        stepped_BV = self.model(torch.tensor(newest, device=self.device)[:, None], cache)[:, 0].float()
        logits_BV[due_B] = stepped_BV[due_B]
        cache.truncate(lengths_B + due_B)

    @torch.inference_mode()
    def _draw(self, samples: list[Sample | None], logits_BV: torch.Tensor) -> list[tuple[int, Event]]:
        """The next token of every sample under way, and the end of those that end with it."""
        live = [slot for slot, sample in enumerate(samples) if sample is not None]
        under_way = [sample for sample in samples if sample is not None]
        weights_BV = probabilities(logits_BV[live], [s.request.options for s in under_way])
        tokens = draw(weights_BV, [s.uniform.random() for s in under_way])
        logs_BV = log_probabilities(logits_BV[live])
        events: list[tuple[int, Event]] = []
        for row, (slot, sample, token) in enumerate(zip(live, under_way, tokens, strict=True)):
            events += [(slot, event) for event in self._take(sample, token, float(logs_BV[row, token]))]
        return events

    def _take(self, sample: Sample, token: int, log_probability: float) -> list[Event]:
        """Append a drawn token to its sample: the events that follow."""
        options, index = sample.request.options, sample.index
        sample.tokens.append(token)
        sample.drawn += 1
        ended = token == self.end_id or token in options.stop_ids
        text = "" if ended else sample.text.push(self.pieces[token])
        events: list[Event] = [Token(index, token, log_probability, text)]
        if ended or sample.text.stopped or sample.drawn == options.max_tokens:
            reason: Reason = "end" if ended else "stop" if sample.text.stopped else "length"
            events.append(Finished(index, reason, sample.drawn, sample.text.push(b"", final=True)))
        return events

    def _check(self, tokens: Sequence[int]) -> None:
        vocab = self.model.shape.vocab
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
