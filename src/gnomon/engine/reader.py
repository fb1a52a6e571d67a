"""The seam between an engine, which decides what is read when, and what reads it: torch, or the compiled pass.

M pieces whose next token is wanted, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """tokens to be read into a slot, from position start on; what the slot holds before that they can see.

    wanted: the logits after the last of them. targets: the tokens that follow the last len(targets) of them, to be
    scored. drawn: it is one token that was drawn, not a part of a prompt.
    """

    slot: int
    start: int
    tokens: Sequence[int]
    wanted: bool = False
    targets: Sequence[int] = ()
    drawn: bool = False


@dataclass(frozen=True)
class Logits:
    """values [M, V] float32; log_z [M]: the log-sum-exp of each; best [M]: the likeliest token, the first of equals."""

    values: Tensor
    log_z: Sequence[float]
    best: Sequence[int]


class Room(Protocol):
    """Slots of keys and values."""

    def copy(self, source: int, target: int, positions: int) -> None:
        """The first positions of one slot, as they are in another."""


class Reader(Protocol):
    """Reads pieces into a room that it made.

    rows: the most tokens in one call. grain: what is reused of a prompt, and where it is cut, are multiples of this;
    then reuse moves no bit. repeats: whether a drawn token leaves the same keys and values as one of a prompt, so that
    what was generated may be reused as well. spare: slots beyond those under way that are worth keeping.
    """

    vocab: int
    context: int
    rows: int
    grain: int
    repeats: bool

    def room(self, slots: int) -> Room: ...

    def spare(self, slots: int) -> int: ...

    def read(self, room: Room, pieces: Sequence[Piece]) -> Logits:
        """Logits after every wanted piece, in their order."""

    def score(self, room: Room, pieces: Sequence[Piece]) -> tuple[list[float], list[bool]]:
        """Log-probability in nats of every target, piece after piece, and whether it was the likeliest token."""
