"""A model that answers from arithmetic on its own request, and counts what it was asked."""

from __future__ import annotations

import hashlib
import math

import pytest

from gnomon.evals.task import Choice, ChoiceReply, TextReply


class Oracle:
    """Log-probabilities from a hash of (context, choice); texts from a hash of (context, seed)."""

    identity = "oracle"

    def __init__(self, stop_after=math.inf):
        self.asked, self.stop_after = [], stop_after

    def reply(self, requests, seeds):
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += [r.context for r in requests]
        return [self._one(r, s) for r, s in zip(requests, seeds, strict=True)]

    @staticmethod
    def _number(*parts):
        digest = hashlib.sha256(repr(parts).encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def _one(self, request, seed):
        if isinstance(request, Choice):
            logs = tuple(-9 * self._number(request.context, c) - 0.1 for c in request.choices)
            return ChoiceReply(logs, tuple(len(c.split()) for c in request.choices), (False,) * len(logs))
        return TextReply(tuple(f"{self._number(request.context, seed + i):.3f}" for i in range(request.samples)))


@pytest.fixture
def oracle():
    return Oracle
