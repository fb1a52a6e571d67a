"""Chains of pieces, and which of them are trained on.

A chain is known by what it does, not by how it is written: two chains that answer a fixed set of inputs alike count as
one, and the shorter stays. A third of the longer chains, chosen by a hash of their name, is never trained on; single
pieces always are, so a held-out chain asks for nothing but putting known things together.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from dataclasses import dataclass
from types import CodeType

from gnomon.corpus.tasks.pieces import INPUTS, TESTED_NUMBERS, TRAINED_NUMBERS, Kind, Piece, draw_input, pieces

LONGEST = 3
PER_LENGTH = {2: 300, 3: 700}  # chains kept of each length: what a small model can meet often enough
HELD_OUT_SHARE = 3  # one in so many
PROBES = 24
LONGEST_LIST = 40


@dataclass(frozen=True)
class Chain:
    """Pieces applied one after another, the first to the argument."""

    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        return ".".join(piece.name for piece in self.pieces)

    @property
    def takes(self) -> Kind:
        return self.pieces[0].takes

    @property
    def held_out(self) -> bool:
        """Never trained on. Chains of one piece are not held out."""
        return len(self.pieces) > 1 and _order(self.name, "held out") % HELD_OUT_SHARE == 0

    def expression(self, argument: str, numbers: tuple[int, ...], letters: tuple[str, ...]) -> str:
        """The chain as one Python expression. numbers, letters: one a piece, used where the piece has such a place."""
        text, loose = argument, False
        for piece, number, letter in zip(self.pieces, numbers, letters, strict=True):
            inner = f"({text})" if loose and _binds(piece.expression) else text
            text = piece.expression.replace("{v}", inner).replace("{k}", str(number)).replace("{c}", letter)
            loose = piece.loose
        return text

    def phrase(
        self, argument: str, numbers: tuple[int, ...], letters: tuple[str, ...], wording: tuple[int, ...]
    ) -> str:
        """The chain as a noun phrase. wording: which phrasing of each piece."""
        text = argument
        for piece, number, letter, which in zip(self.pieces, numbers, letters, wording, strict=True):
            text = piece.phrasings[which].replace("{v}", text).replace("{k}", str(number)).replace("{c}", letter)
        return text


def _binds(expression: str) -> bool:
    """Whether {v} stands where an operator would tear a sum apart."""
    return "({v}" not in expression and "in {v} if" not in expression and "in {v}]" not in expression


def _order(name: str, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"graded tasks/{what}/{name}".encode()).digest()[:8], "big")


def evaluate(expression: str, argument: str, value: object) -> object:
    """What an expression of pieces gives; None where it fails. Only for text made in this module."""
    try:
        return eval(_compiled(expression), {"__builtins__": _BUILTINS}, {argument: value})
    except (ValueError, IndexError, ZeroDivisionError, TypeError):
        return None


@functools.lru_cache(maxsize=8)
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<chain>", "eval")


def _short_range(stop: int) -> range:
    """range(stop) where its list is short enough to be an answer."""
    if stop > LONGEST_LIST:
        raise ValueError(f"a list of {stop} numbers")
    return range(stop)


_BUILTINS = {f.__name__: f for f in (abs, len, list, max, min, set, sorted, str, sum)} | {"range": _short_range}


def behaviour(chain: Chain) -> str:
    """What a chain does on fixed inputs and constants, as text."""
    count = len(chain.pieces)
    expressions = [chain.expression("v", (k,) * count, ("b",) * count) for k in (TRAINED_NUMBERS[0], TESTED_NUMBERS[1])]
    return _answers(expressions, chain.takes)


def _answers(expressions: list[str], kind: Kind) -> str:
    out = []
    for expression in expressions:
        out += [repr(evaluate(expression, "v", value)) for value in _probes(kind)]
    return "|".join(out)


@functools.cache
def _probes(kind: Kind) -> list[object]:
    rng = random.Random(0)
    return [draw_input(kind, rng) for _ in range(PROBES)]


@functools.cache
def chains() -> tuple[Chain, ...]:
    """All chains, shorter ones first, in a fixed order; no two do the same, none is constant or does nothing."""
    found: dict[str, Chain] = {}
    nothing = {_answers(["v", "v"], kind) for kind in INPUTS}
    for length in range(1, LONGEST + 1):
        made = (Chain(pieces) for pieces in itertools.product(pieces(), repeat=length))
        fitting = [c for c in made if c.takes in INPUTS and _fits(c.pieces)]
        fitting.sort(key=lambda chain: _order(chain.name, "choice"))
        room = PER_LENGTH.get(length, len(fitting))
        for chain in fitting:
            if room == 0:
                break
            does = behaviour(chain)
            if does not in found and does not in nothing and _varied(does):
                found[does] = chain
                room -= 1
    return tuple(found.values())


def _fits(pieces: tuple[Piece, ...]) -> bool:
    return all(a.gives == b.takes for a, b in itertools.pairwise(pieces))


def _varied(does: str) -> bool:
    """Whether it gives at least three answers (both, for yes and no) with either constant, and seldom fails."""
    every = does.split("|")
    return all(_told_apart(answers) for answers in (every[:PROBES], every[PROBES:]))


def _told_apart(answers: list[str]) -> bool:
    kinds = set(answers) - {"None"}
    both = kinds == {"True", "False"} and min(answers.count(k) for k in kinds) >= PROBES // 8
    return (both or len(kinds) >= 3) and answers.count("None") <= PROBES // 2
