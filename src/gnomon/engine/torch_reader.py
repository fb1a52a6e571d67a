"""The reader in plain torch: what one reads first, and what serves where the compiled pass cannot.

A matrix product may round differently for another number of rows. So prompts are read one at a time, in chunks that
begin at multiples of CHUNK, and a step always runs all slots, also empty ones: then a sample is bit for bit the same
alone and among others, in fp32, for a given number of slots and threads.  B slots, T time, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gnomon.engine.reader import Logits, Piece, Room
from gnomon.engine.sampling import log_probabilities
from gnomon.model.cache import BLOCK, Cache
from gnomon.model.transformer import Transformer

if TYPE_CHECKING:
    from gnomon.model.classic import Classic

CHUNK = BLOCK  # attention looks at whole blocks, so a chunk that ends with one sees the same number of them anywhere


class TorchRoom:
    """A cache whose rows are the slots."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def copy(self, source: int, target: int, positions: int) -> None:
        self.cache.copy(source, target, positions)


class TorchReader:
    """Implements gnomon.engine.reader.Reader on a model, on any device and in any dtype of its weights."""

    rows, grain, repeats = 4 * CHUNK, CHUNK, False

    def __init__(self, model: Transformer | Classic, context: int) -> None:
        self.model, self.context = model.eval(), context
        self.vocab = model.shape.vocab
        self._device, self._dtype = model.head.weight.device, model.head.weight.dtype

    def room(self, slots: int) -> TorchRoom:
        return TorchRoom(Cache(self.model.shape, slots, self.context, self._dtype, self._device))

    def spare(self, slots: int) -> int:
        return 0  # every slot takes part in every step

    @torch.inference_mode()
    def read(self, room: Room, pieces: Sequence[Piece]) -> Logits:
        assert isinstance(room, TorchRoom)
        drawn = [piece for piece in pieces if piece.drawn]
        logits_of = self._step(room.cache, drawn) if drawn else {}
        for piece in pieces:
            if not piece.drawn:
                hidden_TD = self._hidden(room.cache, piece)
                if piece.wanted:
                    logits_of[piece.slot] = self.model.head(hidden_TD[-1:]).float()[0]
        rows = [logits_of[piece.slot] for piece in pieces if piece.wanted]
        values_MV = torch.stack(rows) if rows else torch.empty(0, self.vocab)
        return Logits(values_MV, values_MV.logsumexp(-1).tolist(), values_MV.argmax(-1).tolist())

    @torch.inference_mode()
    def score(self, room: Room, pieces: Sequence[Piece]) -> tuple[list[float], list[bool]]:
        assert isinstance(room, TorchRoom)
        logs: list[float] = []
        greedy: list[bool] = []
        for piece in pieces:
            hidden_TD = self._hidden(room.cache, piece)
            if piece.targets:
                target_T = torch.tensor(piece.targets, device=self._device)
                logs_TV = log_probabilities(self.model.head(hidden_TD[-len(target_T) :]))
                logs += logs_TV.gather(-1, target_T[:, None])[:, 0].tolist()
                greedy += (logs_TV.argmax(-1) == target_T).tolist()
        return logs, greedy

    def _hidden(self, cache: Cache, piece: Piece) -> torch.Tensor:
        """What the head reads after each token of a piece, [T, D]: chunk by chunk, alone in its slot."""
        own = cache.slots(piece.slot, piece.slot + 1)
        own.resume(0, piece.start)
        tokens_T = torch.tensor(piece.tokens, device=self._device)
        first = min(len(tokens_T), CHUNK - piece.start % CHUNK)
        sizes = [first, *[CHUNK] * ((len(tokens_T) - first) // CHUNK), (len(tokens_T) - first) % CHUNK]
        return torch.cat([self.model.hidden(part[None], own)[0] for part in tokens_T.split(sizes) if len(part)])

    def _step(self, cache: Cache, drawn: Sequence[Piece]) -> dict[int, torch.Tensor]:
        """One token for all slots. A slot that has none reads a dummy behind what it holds, and forgets it."""
        tokens = [0] * len(cache.lengths_B)
        for piece in drawn:
            tokens[piece.slot] = piece.tokens[0]
            cache.resume(piece.slot, piece.start)
        before_B = cache.lengths_B.clone()
        cache.truncate(before_B.clamp(max=cache.capacity - 1))  # a full one loses its last
        logits_BV = self.model.head(self.model.hidden(torch.tensor(tokens, device=self._device)[:, None], cache)[:, 0])
        due_B = torch.zeros_like(before_B).index_fill(0, torch.tensor([p.slot for p in drawn]).to(self._device), 1)
        cache.truncate(torch.minimum(before_B + due_B, cache.lengths_B))
        return {piece.slot: logits_BV[piece.slot].float() for piece in drawn}
