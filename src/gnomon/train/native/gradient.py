"""Rows in, gradient added to the flat buffer, sum of nats out: the compiled step behind one small class."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import torch

from gnomon.common.errors import JobFailed
from gnomon.model.transformer import rotary_table
from gnomon.recipe.plan import ModelShape
from gnomon.train.native.build import Library, Unavailable, library
from gnomon.train.optim import FlatWeights
from gnomon.train.term import NextToken, Term

BLOCK_WEIGHTS = ("attention.q", "attention.out", "mlp.gate", "mlp.down", "attention_norm", "mlp_norm",
                 "attention.q_norm", "attention.k_norm")  # fmt: skip
ADJACENT = (("attention.q", "attention.k"), ("attention.k", "attention.v"), ("mlp.gate", "mlp.up"))


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            "vocab",
            "width",
            "depth",
            "heads",
            "key_heads",
            "head_dim",
            "mlp",
            "context",
            "qk_norm",
            "embedding_norm",
        )
    ]
    _fields_ += [("eps", ctypes.c_float), ("branch", ctypes.c_float)]  # fmt: skip


def obstacle(shape: ModelShape, dtype: str, terms: Sequence[Term]) -> str:
    """Why the compiled step cannot train this; "" when it can. What it computes: next tokens, in fp32 or bf16."""
    if dtype not in ("float32", "bfloat16"):
        return f"it computes in float32 or bfloat16, not {dtype}"
    if len(terms) != 1 or type(terms[0]) is not NextToken:
        return "it knows one term, next-token prediction"
    if shape.head_dim % 2:
        return f"it turns pairs of coordinates, and head_dim is {shape.head_dim}"
    try:
        found = library()
    except Unavailable as reason:
        return str(reason)
    if dtype == "bfloat16" and found.short_gemm is None:
        return "its matrix products are not MKL's, and no other multiplies bfloat16"
    return ""


class NativeGradient:
    """gradient of a model's flat weights. rows: the most in one call. threads: parts that rows are split into."""

    def __init__(self, shape: ModelShape, weights: FlatWeights, rows: int, threads: int) -> None:
        """Raises Unavailable when there is no compiled step, or the weights do not lie side by side as it expects."""
        found: Library = library()
        if not side_by_side(weights, shape.depth):
            raise Unavailable("q, k, v or gate, up do not lie side by side in the flat weights")
        self._weights, self._context, self._rows = weights, shape.context, rows
        self._short = not weights.shared
        if self._short:
            torch.cpu._init_amx()  # asks the system for the tile registers, where there are any
        places = {name: at for name, (at, _) in weights.places.items()}
        blocks = np.array([_block_places(places, i) for i in range(shape.depth)], dtype=np.int64)
        table_at = places["embedding.weight"]
        model = np.array([table_at, places.get("head.weight", table_at), places["norm.weight"]], dtype=np.int64)
        table = rotary_table(shape.context, shape.head_dim, shape.rope_base).numpy()
        turns = [np.ascontiguousarray(table[..., i]) for i in (0, 1)]
        given = _Shape(
            shape.vocab, shape.width, shape.depth, shape.heads, shape.key_heads, shape.head_dim, shape.mlp_width,
            shape.context, int(shape.qk_norm), int(shape.embedding_norm), shape.norm_eps, shape.branch_multiplier,
        )  # fmt: skip
        self._close, self._gradient = found.handle.gnomon_close, found.handle.gnomon_gradient
        self._close.argtypes, self._close.restype = [ctypes.c_void_p], None
        self._gradient.argtypes = [*[ctypes.c_void_p] * 5, ctypes.c_int, ctypes.c_float, ctypes.c_float]
        self._gradient.restype = ctypes.c_double
        self._nats = found.handle.gnomon_nats
        self._nats.argtypes, self._nats.restype = [*[ctypes.c_void_p] * 5, ctypes.c_int], ctypes.c_double
        start = found.handle.gnomon_open
        start.argtypes = [*[ctypes.c_void_p] * 8, ctypes.c_long, ctypes.c_int, ctypes.c_int]
        start.restype = ctypes.c_void_p
        self._engine = start(
            ctypes.byref(given), model.ctypes.data, blocks.ctypes.data, *[t.ctypes.data for t in turns], found.sgemm,
            found.short_gemm if self._short else None, found.blas_threads, weights.master.numel(), rows, threads,
        )  # fmt: skip

    def __call__(self, rows: np.ndarray, count: int, z_loss: float) -> float:
        """Add the gradient of (nats + z_loss * squared log-partitions) / count to the weights' gradient.

        rows: int64 [R, context + 1], R at most what was promised. Returns the rows' sum of nats. In bf16 the factors
        of the large products are rounded; sums, gains, the embedding's rows and the gradient are in fp32.
        """
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        assert rows.shape[0] <= self._rows and rows.shape[1] == self._context + 1
        weights = self._weights
        rounded = weights.compute.data_ptr() if self._short else None
        pointers = (weights.master.data_ptr(), rounded, weights.gradient.data_ptr(), rows.ctypes.data)
        return float(self._gradient(self._engine, *pointers, len(rows), 1.0 / count, z_loss))

    def nats(self, rows: np.ndarray) -> np.ndarray:
        """Nats of every target, float32 [R, context], by the forward pass alone. rows: as above."""
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        assert rows.shape[0] <= self._rows and rows.shape[1] == self._context + 1
        weights = self._weights
        out = np.empty((len(rows), self._context), np.float32)
        rounded = weights.compute.data_ptr() if self._short else None
        pointers = (weights.master.data_ptr(), rounded, out.ctypes.data, rows.ctypes.data)
        if self._nats(self._engine, *pointers, len(rows)) != 0:
            raise JobFailed("the compiled step could not start its threads; free some memory and try again")
        return out

    def __del__(self) -> None:
        engine, self._engine = getattr(self, "_engine", None), None
        if engine:
            self._close(engine)


def _block_places(places: dict[str, int], block: int) -> list[int]:
    """Where a block's weights begin, in the order of BlockAt; places that a shape lacks are 0 and never read."""
    return [places.get(f"blocks.{block}.{name}.weight", 0) for name in BLOCK_WEIGHTS]


def side_by_side(weights: FlatWeights, depth: int) -> bool:
    """Whether q, k, v and gate, up follow each other without a gap, so that one product serves all of them."""
    for block in range(depth):
        for first, second in ADJACENT:
            at, shape = weights.places[f"blocks.{block}.{first}.weight"]
            if weights.places[f"blocks.{block}.{second}.weight"][0] != at + torch.Size(shape).numel():
                return False
    return True


def short_product(left: torch.Tensor, right: torch.Tensor) -> Callable[[], None] | None:
    """One product of two contiguous bfloat16 matrices with an fp32 result, by the BLAS of the compiled step.

    left [n, k], right [k, m]. On torch's number of threads. None where there is no such product.
    """
    try:
        found = library()
    except Unavailable:
        return None
    if found.short_gemm is None or found.blas_threads is None:
        return None
    torch.cpu._init_amx()
    (n, k), m = left.shape, right.shape[1]
    into = torch.empty(n, m)
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(found.blas_threads.value or 0)(torch.get_num_threads())
    kinds = [ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_void_p] * 11]
    product = ctypes.CFUNCTYPE(None, *kinds)(found.short_gemm.value or 0)
    sizes = {size: ctypes.byref(ctypes.c_int(size)) for size in (n, k, m)}
    one, zero = (ctypes.byref(ctypes.c_float(x)) for x in (1.0, 0.0))

    def multiply() -> None:  # column by column as Fortran reads it, this is the product of the transposes
        product(
            b"N", b"N", sizes[m], sizes[n], sizes[k], one, right.data_ptr(), sizes[m], left.data_ptr(), sizes[k], zero,
            into.data_ptr(), sizes[m],
        )  # fmt: skip

    return multiply
