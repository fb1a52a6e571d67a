"""Keys and values of the tokens a model has read, in fixed slots, so that a batch may hold rows of different lengths.

B rows (slots), T new tokens a row, S slots of a row looked at, K heads of keys, E head width, L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import ModelShape

if TYPE_CHECKING:
    from gnomon.model.classic import ClassicShape

# Attention sums over its keys by vector registers, and a cut register rounds differently. Whole blocks of them, where
# what a row may not see adds exact zeros, give a row the same bits however long its neighbours are.
BLOCK = 64


class Cache:
    """Room for `rows` rows of at most `capacity` tokens. Row b has read lengths_B[b] tokens; what is beyond is unseen.

    keys, values: [L, B, K, capacity, E]. Filled by Transformer.forward(tokens, cache=...), which adds T tokens to every
    row. Prompts of different lengths: pad on the right, run once, then truncate to the true lengths.
    """

    def __init__(
        self,
        shape: ModelShape | ClassicShape,
        rows: int,
        capacity: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """capacity: tokens a row can hold, shape.context when None. Raises GnomonError when it is more than that."""
        capacity = shape.context if capacity is None else capacity
        if rows < 1 or not 1 <= capacity <= shape.context:
            raise GnomonError(
                f"a cache of {rows} rows of {capacity} tokens; at least one row, and 1 to {shape.context} tokens"
            )
        size = (shape.depth, rows, shape.key_heads, capacity, shape.head_dim)
        self.keys = torch.zeros(size, dtype=dtype, device=device)
        self.values = torch.zeros(size, dtype=dtype, device=device)
        self.lengths_B = torch.zeros(rows, dtype=torch.long, device=device)

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def slots(self, start: int, stop: int) -> Cache:
        """Rows start to stop as a cache of their own that shares this one's memory: prefill there, decode here."""
        view = object.__new__(Cache)
        view.keys, view.values = self.keys[:, start:stop], self.values[:, start:stop]
        view.lengths_B = self.lengths_B[start:stop]
        return view

    def truncate(self, lengths_B: Tensor) -> None:
        """Forget all but the first lengths_B[b] tokens of each row; 0 empties a row for its next use."""
        if bool((lengths_B < 0).any()) or bool((lengths_B > self.lengths_B).any()):
            raise GnomonError(
                f"truncating rows of {self.lengths_B.tolist()} tokens to {lengths_B.tolist()}; "
                "a new length is between 0 and the old one"
            )
        self.lengths_B.copy_(lengths_B)

    def resume(self, row: int, length: int) -> None:
        """One row goes on behind its first `length` tokens, which the caller knows it to hold."""
        self.lengths_B[row] = length

    def copy(self, source: int, target: int, length: int) -> None:
        """The first `length` tokens of one row, as they are in another."""
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]
        self.resume(target, length)

    def positions(self, steps: int) -> Tensor:
        """Positions [B, T] of the next `steps` tokens. Raises GnomonError when a row has no room for them."""
        longest = int(self.lengths_B.max())
        if longest + steps > self.capacity:
            raise GnomonError(f"{longest} tokens read and {steps} more; this cache holds {self.capacity} a row")
        return self.lengths_B[:, None] + torch.arange(steps, device=self.lengths_B.device)

    def append(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write one layer's new keys and values behind each row's own past.

        Returns keys and values [B, K, S, E] and the mask [B, 1, T, S] of what each new token may see.
        """
        positions_BT = self.positions(k_BKTE.shape[2])
        slots = min(self.capacity, -(-(int(positions_BT.max()) + 1) // BLOCK) * BLOCK)
        row_B1 = torch.arange(k_BKTE.shape[0], device=k_BKTE.device)[:, None]
        self.keys[layer].transpose(1, 2)[row_B1, positions_BT] = k_BKTE.transpose(1, 2).to(self.keys.dtype)
        self.values[layer].transpose(1, 2)[row_B1, positions_BT] = v_BKTE.transpose(1, 2).to(self.values.dtype)
        seen_B1TS = torch.arange(slots, device=k_BKTE.device) <= positions_BT[:, None, :, None]
        keys_BKSE, values_BKSE = self.keys[layer, :, :, :slots], self.values[layer, :, :, :slots]
        return keys_BKSE.to(k_BKTE.dtype), values_BKSE.to(v_BKTE.dtype), seen_B1TS

    def advance(self, steps: int) -> None:
        """All layers have appended `steps` tokens: count them."""
        self.lengths_B += steps
