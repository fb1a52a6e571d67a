"""The pieces that graded tasks are chained from: each turns one kind of value into another, in code and in words.

A piece has an expression, where {v} is what it is applied to, and phrasings of the same thing as a noun phrase; the
last phrasing is never trained on. {k} stands for a small number, {c} for a letter, drawn from one set for training and
from another for tests.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["int", "ints", "text", "bool"]
TRAINED_NUMBERS, TESTED_NUMBERS = (2, 3, 5, 7, 8), (4, 6, 9)
TRAINED_LETTERS, TESTED_LETTERS = ("a", "c", "d"), ("b", "e")
ALPHABET = "abcde"


@dataclass(frozen=True)
class Piece:
    """takes, gives: kinds of value. phrasings: the last is for tests alone. loose: the expression needs brackets when
    something is applied to it."""

    name: str
    takes: Kind
    gives: Kind
    expression: str
    phrasings: tuple[str, ...]
    loose: bool = False


@functools.cache
def pieces() -> tuple[Piece, ...]:
    """All pieces, as pieces.tsv has them: a row each, so that the wordings stand side by side."""
    lines = Path(__file__).with_name("pieces.tsv").read_text().splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    return tuple(
        Piece(name, takes, gives, expression, tuple(phrasings), brackets == "yes")  # type: ignore[arg-type]  # text
        for name, takes, gives, brackets, expression, *phrasings in rows
    )


INPUTS: tuple[Kind, ...] = ("int", "ints", "text")
TRAINED_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "int": ("n", "a", "num"), "ints": ("xs", "items", "nums"), "text": ("s", "word", "line")
}  # fmt: skip
TESTED_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "int": ("m", "q"), "ints": ("ys", "values"), "text": ("t", "name")
}  # fmt: skip
TRAINED_LEADS, TESTED_LEADS = ("Return", "Give", "Compute"), ("Work out",)


def draw_input(kind: Kind, rng: random.Random) -> int | list[int] | str:
    """A small argument of a kind."""
    if kind == "int":
        return rng.randint(0, 30)
    if kind == "ints":
        return [rng.randint(0, 12) for _ in range(rng.randint(2, 6))]
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randint(2, 7)))
