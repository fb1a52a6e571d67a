"""The compiled forward pass behind two small classes: packed weights that read rows, and slots of keys and values.

N rows of a call, each one token at one position of one slot; M of them wanted; V vocabulary.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.model.transformer import Transformer, rotary_table
from gnomon.train.native.build import Unavailable, compiled

SOURCES = ("decode.c", "model.h", "products.h", "attention.h", "../../train/native/kernels.h")
KINDS = {"float32": 0, "bfloat16": 1, "int8": 2}
ROWS = 256  # of one call: beyond it a product is no faster, and others wait longer
PARTS = {"qkv": 0, "out": 1, "gate_up": 2, "down": 3, "head": 4, "attention_norm": 5, "mlp_norm": 6,
         "q_norm": 7, "k_norm": 8, "norm": 9}  # fmt: skip
# Where each weight of a block goes: the packed matrix, and what lies before it there.
BLOCK = {"attention.q": ("qkv", ()), "attention.k": ("qkv", ("attention.q",)),
         "attention.v": ("qkv", ("attention.q", "attention.k")), "attention.out": ("out", ()),
         "mlp.gate": ("gate_up", ()), "mlp.up": ("gate_up", ("mlp.gate",)), "mlp.down": ("down", ()),
         "attention_norm": ("attention_norm", ()), "mlp_norm": ("mlp_norm", ()),
         "attention.q_norm": ("q_norm", ()), "attention.k_norm": ("k_norm", ())}  # fmt: skip

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in ("vocab", "width", "depth", "heads", "kv_heads", "head_dim", "mlp", "context", "qk_norm",
                     "embedding_norm", "kind", "rows")
    ]  # fmt: skip
    _fields_ += [("eps", ctypes.c_float), ("branch", ctypes.c_float)]


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled pass, built now if need be. Raises Unavailable when there is no compiler, or it fails."""
    return declared(ctypes.CDLL(str(compiled(Path(__file__).parent, SOURCES))))


def declared(handle: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, arguments, result in (
        ("gnomon_open", [pointer] * 3, pointer),
        ("gnomon_close", [pointer], None),
        ("gnomon_stride", [pointer], ctypes.c_long),
        ("gnomon_put", [pointer, *[number] * 4, pointer], None),
        ("gnomon_open_room", [pointer, number, number], pointer),
        ("gnomon_close_room", [pointer], None),
        ("gnomon_copy", [pointer, number, number, number], None),
        ("gnomon_read", [pointer, pointer, number, number, *[pointer] * 3, number, *[pointer] * 6], number),
    ):
        function = getattr(handle, name)
        function.argtypes, function.restype = arguments, result
    return handle


def obstacle(model: Any) -> str:
    """Why the compiled pass cannot serve this model; "" when it can."""
    if not isinstance(model, Transformer):
        return f"it computes gnomon.model.transformer, not {type(model).__name__}"
    if model.embedding.weight.device.type != "cpu":
        return f"it runs on the processor, and the weights lie on {model.embedding.weight.device}"
    if model.shape.head_dim % 2:
        return f"it turns pairs of coordinates, and head_dim is {model.shape.head_dim}"
    try:
        library()
    except Unavailable as reason:
        return str(reason)
    return ""


@dataclass(frozen=True)
class Logits:
    """Of M wanted rows. values [M, V] float32; log_z [M]: log-sum-exp of each; best [M]: the first of the largest."""

    values: Floats
    log_z: Floats
    best: Integers


class NativeRoom:
    """Slots of keys and values. A position is written when its token is read, and may be written again."""

    def __init__(self, model: NativeModel, slots: int, capacity: int) -> None:
        self.model, self.slots, self.capacity = model, slots, capacity
        self._close = library().gnomon_close_room
        self.handle = library().gnomon_open_room(model.handle, slots, capacity)
        if not self.handle:
            raise GnomonError(f"no memory for {slots} slots of {capacity} tokens; ask for fewer or shorter ones")

    def copy(self, source: int, target: int, positions: int) -> None:
        """The first positions of one slot, as they are in another."""
        library().gnomon_copy(self.handle, source, target, positions)

    def __del__(self) -> None:
        handle, self.handle = getattr(self, "handle", None), None
        if handle:
            self._close(handle)


class NativeModel:
    """A transformer's weights, packed: q|k|v and gate|up in one matrix each, in float32, bfloat16 or int8.

    What bfloat16 weights are multiplied with is float32. int8 weights have a scale for 64 inputs of an output; what
    they are multiplied with is rounded to 16 bits, which is finer than they are.
    The embedding table is used where it lies, so a tied head costs its packed copy. rows: the most in one call.
    """

    def __init__(self, model: Transformer, kind: str = "float32", rows: int = ROWS) -> None:
        """Raises Unavailable without a compiler and GnomonError for an unknown kind or without memory."""
        if kind not in KINDS:
            raise GnomonError(f"weights in {kind!r}; they are kept in {', '.join(KINDS)}")
        found, shape = library(), model.shape
        self.shape, self.kind, self.rows = shape, kind, rows
        self._lock = threading.Lock()  # a call's rows are worked on in one place
        self._embedding = model.embedding.weight.detach().float().contiguous()
        self._turns = rotary_table(shape.context, shape.head_dim, shape.rope_base).contiguous()
        given = _Shape(
            shape.vocab, shape.width, shape.depth, shape.heads, shape.key_heads, shape.head_dim, shape.mlp_width,
            shape.context, int(shape.qk_norm), int(shape.embedding_norm), KINDS[kind], rows, shape.norm_eps,
            shape.branch_multiplier,
        )  # fmt: skip
        self.handle = found.gnomon_open(ctypes.byref(given), self._embedding.data_ptr(), self._turns.data_ptr())
        if not self.handle:
            raise GnomonError(f"no memory for the weights in {kind}")
        self._close = found.gnomon_close
        self._stride: int = found.gnomon_stride(self.handle)
        for index, block in enumerate(model.blocks):
            weights = dict(block.named_parameters())
            for name, (part, before) in BLOCK.items():
                if f"{name}.weight" in weights:
                    first = sum(len(weights[f"{earlier}.weight"]) for earlier in before)
                    self._put(part, index, first, weights[f"{name}.weight"])
        self._put("norm", 0, 0, model.norm.weight)
        self._put("head", 0, 0, model.head.weight)

    def _put(self, part: str, layer: int, first: int, weight: torch.Tensor) -> None:
        values = weight.detach().float().contiguous()
        count = len(values) if values.ndim > 1 else 1
        library().gnomon_put(self.handle, PARTS[part], layer, first, count, values.data_ptr())

    def read(
        self, room: NativeRoom, tokens: Integers, slots: Integers, positions: Integers, wanted: Integers, threads: int
    ) -> Logits:
        """Read N <= rows rows into their slots, and give the logits after the wanted ones (indices into the rows).

        A slot's rows stand in the order of their positions, which go on behind what it holds.
        """
        values = np.empty((len(wanted), self._stride), dtype=np.float32)
        log_z, best = np.empty(len(wanted), np.float32), np.empty(len(wanted), np.int32)
        self._read(room, tokens, slots, positions, wanted, threads, None, values, log_z, best, None)
        return Logits(values[:, : self.shape.vocab], log_z, best)

    def score(
        self, room: NativeRoom, tokens: Integers, slots: Integers, positions: Integers, wanted: Integers, threads: int,
        targets: Integers,
    ) -> tuple[Floats, Integers]:  # fmt: skip
        """As read, but the log-probability in nats of one target a wanted row [M], and the likeliest tokens [M]."""
        log_z, best = np.empty(len(wanted), np.float32), np.empty(len(wanted), np.int32)
        logs = np.empty(len(wanted), np.float32)
        self._read(room, tokens, slots, positions, wanted, threads, targets, None, log_z, best, logs)
        return logs, best

    def _read(
        self, room: NativeRoom, tokens: Integers, slots: Integers, positions: Integers, wanted: Integers, threads: int,
        targets: Integers | None, values: Floats | None, log_z: Floats, best: Integers, logs: Floats | None,
    ) -> None:  # fmt: skip
        assert len(tokens) == len(slots) == len(positions) <= self.rows and room.model is self
        given = [_int32(tokens), _int32(slots), _int32(positions)]
        wanted, targets = _int32(wanted), None if targets is None else _int32(targets)
        address = [None if a is None else a.ctypes.data for a in (wanted, targets, values, log_z, best, logs)]
        with self._lock:
            failed = library().gnomon_read(
                self.handle, room.handle, threads, len(tokens), *[g.ctypes.data for g in given], len(wanted), *address
            )
        if failed:
            raise GnomonError(f"no memory to read {len(tokens)} tokens")

    def __del__(self) -> None:
        handle, self.handle = getattr(self, "handle", None), None
        if handle:
            self._close(handle)


def _int32(values: Integers) -> Integers:
    return np.ascontiguousarray(values, dtype=np.int32)
