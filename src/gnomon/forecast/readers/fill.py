"""Counts that a table leaves out and that follow from what it has: tokens from steps, operations from 6 N D."""

from __future__ import annotations

import numpy as np

from gnomon.forecast.table import RunTable

# In the order of what 6 N D means: parameters that a token is multiplied with.
SIZES = ("parameters_matmul", "parameters_active", "parameters_no_embedding", "parameters_total")


def fill_counts(table: RunTable) -> RunTable:
    """The table with tokens and flops where they were missing and can be known; each is noted.

    Operations are 6 · parameters · tokens (arXiv:2001.08361 §2.1), in floating point: 6 N D overflows 64-bit integers
    at the sizes of today.
    """
    columns, notes = dict(table.columns), list(table.notes)
    if "tokens" not in table and {"steps", "batch_tokens"} <= set(table.columns):
        in_rows = any("counts rows of text" in note for note in notes)
        factor = table["context"] if in_rows else np.ones(len(table))
        if not in_rows or "context" in table:
            columns["tokens"] = table["steps"] * table["batch_tokens"] * factor
            notes.append(f"tokens = steps · batch{' · context' if in_rows else ''}, as no column holds them")
    size = next((name for name in SIZES if name in columns), None)
    if size is not None and "tokens" in columns and not _known(columns.get("flops")):
        columns["flops"] = 6.0 * columns[size] * columns["tokens"]
        notes.append(f"flops = 6 · {size} · tokens, as no column holds a count")
    if "tokens" not in columns and size is not None and _known(columns.get("flops")):
        columns["tokens"] = columns["flops"] / (6.0 * columns[size])
        notes.append(f"tokens = flops / (6 · {size}), as no column holds them")
    return RunTable(columns, notes, table.history)


def _known(column: np.ndarray | None) -> bool:
    return column is not None and column.dtype.kind == "f" and bool(np.isfinite(column).any())
