"""What an engine is: token ids in, log-probabilities or a stream of tokens out. Torch-free.

Every result is a function of its own request: neither neighbours in a batch nor padding move it. Whoever serves,
evaluates or aligns speaks this protocol, so that another engine can stand behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gnomon.common.errors import GnomonError

Reason = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class ScoreRequest:
    """How probable are tokens[start:], each given all tokens before it? Nothing precedes tokens[0], so start >= 1."""

    tokens: tuple[int, ...]
    start: int = 1
    owner: str = ""  # work that was done for one owner is never reused for another

    def __post_init__(self) -> None:
        if not 1 <= self.start <= len(self.tokens):
            raise GnomonError(
                f"score: start is {self.start} in {len(self.tokens)} tokens; it lies between 1 and their number"
            )


@dataclass(frozen=True)
class Score:
    """One number per token of tokens[start:]: natural log of its raw probability, and whether it was the likeliest."""

    log_probabilities: tuple[float, ...]  # nats, from the unscaled logits
    greedy: tuple[bool, ...]

    @property
    def total(self) -> float:
        return sum(self.log_probabilities)


@dataclass(frozen=True)
class SamplingOptions:
    """temperature 0 takes the likeliest token; top_k 0 and top_p 1 keep all. seed names the sample."""

    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()  # the tokenizer's end of document always stops
    stop: tuple[str, ...] = ()  # text at which the sample ends; not part of it
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise GnomonError(f"max_tokens is {self.max_tokens}; a sample has at least 1 token")
        if not 0 <= self.temperature < float("inf"):
            raise GnomonError(
                f"temperature is {self.temperature}; it is 0 (always the likeliest token) or more, often 1"
            )
        if self.top_k < 0:
            raise GnomonError(f"top_k is {self.top_k}; it is 0 (keep every token) or more")
        if not 0 < self.top_p <= 1:
            raise GnomonError(f"top_p is {self.top_p}; it lies above 0 and is at most 1 (keep every token)")
        if "" in self.stop:
            raise GnomonError("stop holds an empty text, which would stop every sample at once; leave it out")


@dataclass(frozen=True)
class GenerateRequest:
    tokens: tuple[int, ...]  # the prompt; empty starts a new document
    options: SamplingOptions = SamplingOptions()
    owner: str = ""  # as in ScoreRequest: how long a prompt takes would tell one owner what another has asked


@dataclass(frozen=True)
class Started:
    """The request has a slot.

    dropped: tokens at the prompt's front that did not fit into the context and were left out. cached: of the
    prompt_tokens, those at its front that need not be read, since a prompt of the same owner began with them.
    """

    request: int  # index into the requests
    prompt_tokens: int
    dropped: int = 0
    cached: int = 0


@dataclass(frozen=True)
class Token:
    """text is what is now certain to belong to the sample; it lags behind a split character or a possible stop text."""

    request: int
    token: int
    log_probability: float  # nats, from the unscaled logits, before temperature and filters
    text: str


@dataclass(frozen=True)
class Finished:
    """text: what was still held back. reason: 'end' of document or a stop id, 'stop' text, 'length' (max_tokens)."""

    request: int
    reason: Reason
    tokens: int
    text: str = ""


Event = Started | Token | Finished


class Vocabulary(Protocol):
    """What an engine needs of a tokenizer: the end of a document, and the bytes of each token, b"" for special ones."""

    end_id: int

    def byte_strings(self) -> Sequence[bytes]: ...


class Engine(Protocol):
    context: int  # tokens the model can see

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]: ...

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Event]: ...
