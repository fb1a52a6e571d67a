"""Models that can be examined: an engine with its tokenizer here, a server that speaks the OpenAI API elsewhere.

A context and its continuation are encoded together and cut where the context's own tokens end, a space at the context's
end moving over to the continuation, so that a score does not hang on which side a blank stands. What does not fit into
the model's context is refused, never cut.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gnomon.common.errors import JobFailed
from gnomon.common.hashing import content_hash
from gnomon.engine.protocol import Engine, Finished, GenerateRequest, SamplingOptions, ScoreRequest, Token
from gnomon.evals.task import Choice, ChoiceReply, Generate, Refusal, Reply, Request, TextReply

RETRIES, PATIENCE_S = 3, 120.0


@dataclass(frozen=True)
class EngineModel:
    """An engine here. encode: text to tokens. begins: tokens that every sequence starts with."""

    engine: Engine
    encode: Callable[[str], Sequence[int]]
    begins: tuple[int, ...]
    identity: str

    def reply(self, requests: Sequence[Request], seeds: Sequence[int]) -> list[Reply]:
        """See gnomon.evals.examine.Model."""
        out: list[Reply | None] = [None] * len(requests)
        choices = [i for i, r in enumerate(requests) if isinstance(r, Choice)]
        for i, reply in zip(choices, self._choices([requests[i] for i in choices]), strict=True):  # type: ignore[misc]
            out[i] = reply
        texts = [i for i, r in enumerate(requests) if isinstance(r, Generate)]
        found = self._texts([requests[i] for i in texts], [seeds[i] for i in texts])  # type: ignore[misc]
        for i, reply in zip(texts, found, strict=True):
            out[i] = reply
        return [reply for reply in out if reply is not None]

    def split(self, context: str, continuation: str) -> tuple[tuple[int, ...], int]:
        """(tokens of both, where the continuation's begin)."""
        blank = len(context) - len(context.rstrip())
        if blank:
            context, continuation = context[:-blank], context[-blank:] + continuation
        before = len(self.encode(context)) if context else 0
        whole = tuple(self.encode(context + continuation))
        start = len(self.begins) + min(before, len(whole) - 1)
        return (*self.begins, *whole), max(start, 1)

    def _refused(self, tokens: int) -> Refusal | None:
        if tokens <= self.engine.context:
            return None
        return Refusal(f"longer than the model's context of {self.engine.context} tokens; it has {tokens}")

    def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        asked: list[ScoreRequest] = []
        places: list[list[int] | Refusal] = []
        for request in requests:
            pairs = [self.split(context, choice) for context, choice in request.pairs]
            refusal = self._refused(max(len(tokens) - 1 for tokens, _ in pairs))
            if refusal is not None:
                places.append(refusal)
                continue
            places.append(list(range(len(asked), len(asked) + len(pairs))))
            asked += [ScoreRequest(tokens, start) for tokens, start in pairs]
        found = self.engine.score(asked) if asked else []
        out: list[Reply] = []
        for place in places:
            if isinstance(place, Refusal):
                out.append(place)
                continue
            mine = [found[i] for i in place]
            counts = tuple(len(score.log_probabilities) for score in mine)
            out.append(ChoiceReply(tuple(s.total for s in mine), counts, tuple(all(s.greedy) for s in mine)))
        return out

    def _texts(self, requests: Sequence[Generate], seeds: Sequence[int]) -> list[Reply]:
        asked: list[GenerateRequest] = []
        places: list[list[int] | Refusal] = []
        for request, seed in zip(requests, seeds, strict=True):
            tokens = (*self.begins, *self.encode(request.context))
            refusal = self._refused(len(tokens) + request.max_tokens)
            if refusal is not None:
                places.append(refusal)
                continue
            places.append(list(range(len(asked), len(asked) + request.samples)))
            asked += [
                GenerateRequest(tokens, SamplingOptions(
                    request.max_tokens, request.temperature, stop=request.stop, seed=seed + i
                )) for i in range(request.samples)
            ]  # fmt: skip
        texts = [""] * len(asked)
        for event in self.engine.generate(asked) if asked else ():
            if isinstance(event, Token | Finished):
                texts[event.request] += event.text
        return [p if isinstance(p, Refusal) else TextReply(tuple(texts[i] for i in p)) for p in places]


class RemoteModel:
    """A server that speaks the OpenAI API. Choices need one that gives a prompt's log-probabilities ("echo")."""

    def __init__(self, url: str, model: str, key: str = "", patience_s: float = PATIENCE_S) -> None:
        """url: up to and with /v1. model: the name it serves. patience_s: for one answer; three tries each."""
        self.url, self.model, self.key, self.patience_s = url.rstrip("/"), model, key, patience_s
        self.identity = f"remote-{content_hash([self.url, model])[:12]}"

    def reply(self, requests: Sequence[Request], seeds: Sequence[int]) -> list[Reply]:
        """See gnomon.evals.examine.Model. Raises JobFailed when the server stays silent."""
        return [
            self._choice(r) if isinstance(r, Choice) else self._text(r, seed)
            for r, seed in zip(requests, seeds, strict=True)
        ]

    def _choice(self, request: Choice) -> Reply:
        logs, counts, greedy = [], [], []
        for context, choice in request.pairs:
            text = context + choice
            body = self._post({"prompt": text, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0})
            if isinstance(body, Refusal):
                return body
            told = body.get("logprobs") or {}
            offsets, values = told.get("text_offset"), told.get("token_logprobs")
            if not offsets or not values or len(offsets) != len(values):
                return Refusal("this server gives no log-probabilities of a prompt; choice tasks need them")
            cut = len(context.rstrip())
            own = [i for i, offset in enumerate(offsets) if offset >= cut and values[i] is not None]
            if not own:
                return Refusal("this server's log-probabilities do not cover the choice")
            tops, tokens = told.get("top_logprobs") or [], told.get("tokens") or []
            logs.append(float(sum(values[i] for i in own)))
            counts.append(len(own))
            known = len(tops) == len(values) == len(tokens)
            greedy.append(known and all(tops[i] and max(tops[i], key=tops[i].get) == tokens[i] for i in own))
        return ChoiceReply(tuple(logs), tuple(counts), tuple(greedy))

    def _text(self, request: Generate, seed: int) -> Reply:
        texts = []
        for i in range(request.samples):
            body = self._post({
                "prompt": request.context, "max_tokens": request.max_tokens, "temperature": request.temperature,
                "stop": list(request.stop) or None, "seed": seed + i,
            })  # fmt: skip
            if isinstance(body, Refusal):
                return body
            texts.append(str(body.get("text", "")))
        return TextReply(tuple(texts))

    def _post(self, body: dict[str, Any]) -> dict[str, Any] | Refusal:
        """The first choice of a completion; a refusal where the server says that the request is wrong."""
        headers = {"Content-Type": "application/json", "User-Agent": "gnomon"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = json.dumps({"model": self.model, **{k: v for k, v in body.items() if v is not None}}).encode()
        request = urllib.request.Request(f"{self.url}/completions", data, headers)
        why = ""
        for attempt in range(RETRIES):
            if attempt:
                time.sleep(2.0**attempt / 4)
            try:
                with urllib.request.urlopen(request, timeout=self.patience_s) as answer:
                    value = json.loads(answer.read())
                    return dict(value["choices"][0])
            except urllib.error.HTTPError as error:
                why = f"status {error.code}: {_message(error)}"
                if error.code < 500 and error.code not in (408, 429):
                    return Refusal(f"the server refused: {why}")
            except (OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            except (ValueError, KeyError, IndexError, TypeError):
                why = "its answer is no completion"
        raise JobFailed(
            f"{self.url}: {why}, {RETRIES} times; what was asked so far is kept, give the same command again"
        )


def _message(error: urllib.error.HTTPError) -> str:
    """What a server says of its refusal, in a line."""
    try:
        body = json.loads(error.read())
        return str(body["error"]["message"] if isinstance(body.get("error"), dict) else body)[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(error.reason)
