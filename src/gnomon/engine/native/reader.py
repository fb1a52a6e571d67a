"""The compiled pass as an engine's reader. What it gives for a token is a function of the tokens before it alone.

So a prompt may be cut anywhere, any prefix may be reused, also one that was generated, and prompts and drawn tokens
share a call: not a bit moves with the batch, the cuts, the slots or the threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gnomon.engine.native.model import Integers, NativeModel, NativeRoom
from gnomon.engine.reader import Logits, Piece, Room


class NativeReader:
    """Implements gnomon.engine.reader.Reader on packed weights. threads: of one call."""

    grain, repeats = 1, True

    def __init__(self, model: NativeModel, context: int, threads: int = 1) -> None:
        self.model, self.context, self.threads = model, context, threads
        self.vocab, self.rows = model.shape.vocab, model.rows

    def room(self, slots: int) -> NativeRoom:
        return NativeRoom(self.model, slots, self.context)

    def spare(self, slots: int) -> int:
        return max(1, slots // 2)  # memory is taken only where something is kept

    def read(self, room: Room, pieces: Sequence[Piece]) -> Logits:
        assert isinstance(room, NativeRoom)
        ends = np.cumsum([len(piece.tokens) for piece in pieces]) - 1
        wanted = ends[[piece.wanted for piece in pieces]]
        found = self.model.read(room, *_rows(pieces), wanted, self.threads)
        return Logits(torch.from_numpy(found.values), found.log_z.tolist(), found.best.tolist())

    def score(self, room: Room, pieces: Sequence[Piece]) -> tuple[list[float], list[bool]]:
        assert isinstance(room, NativeRoom)
        ends = np.cumsum([len(piece.tokens) for piece in pieces])
        wanted = np.concatenate(
            [np.arange(end - len(piece.targets), end) for end, piece in zip(ends, pieces, strict=True)]
        )
        targets = np.array([t for piece in pieces for t in piece.targets], dtype=np.int32)
        logs, best = self.model.score(room, *_rows(pieces), wanted, self.threads, targets)
        return logs.tolist(), (best == targets).tolist()


def _rows(pieces: Sequence[Piece]) -> tuple[Integers, Integers, Integers]:
    """Tokens, slots and positions of all rows, piece after piece."""
    sizes = [len(piece.tokens) for piece in pieces]
    tokens = np.array([t for piece in pieces for t in piece.tokens], dtype=np.int32)
    slots = np.repeat(np.array([piece.slot for piece in pieces], dtype=np.int32), sizes)
    positions = np.concatenate([np.arange(p.start, p.start + len(p.tokens), dtype=np.int32) for p in pieces])
    return tokens, slots, positions
