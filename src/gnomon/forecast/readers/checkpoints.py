"""Tables with several rows a run: checkpoints along a curve, of which only the last may be a final point.

The rows stay, marked as not annealed, so that the doctor names them; the curve is kept as the run's history.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.table import RunTable


def mark_finals(table: RunTable) -> RunTable:
    """The table with annealed=False on rows that are not the last of their run, and on runs whose rate never fell.

    Only where the table does not say itself which rows are annealed.
    """
    if "annealed" in table or not len(table):
        return table
    annealed = np.ones(len(table), dtype=bool)
    notes = list(table.notes)
    inside = _before_the_last(table)
    if inside.any():
        annealed &= ~inside
        notes.append(f"{int(inside.sum())} rows are checkpoints before the last of their run: taken as not annealed")
    if "rate" in table and "last_rate" in table:
        constant = table["last_rate"] > 0.5 * table["rate"]  # a missing rate compares false
        annealed &= ~constant
        if constant.any():
            notes.append(f"{int(constant.sum())} rows end above half of their peak rate: taken as not annealed")
    if annealed.all():
        return table
    return RunTable({**table.columns, "annealed": annealed}, notes, table.history)


def _before_the_last(table: RunTable) -> np.ndarray:
    """Rows whose run has another row with more tokens (or steps)."""
    none = np.zeros(len(table), dtype=bool)
    along = next((n for n in ("tokens", "steps") if n in table and bool(np.isfinite(table[n]).all())), None)
    if along is None or "run_id" not in table:
        return none
    names, run = np.unique(table["run_id"], return_inverse=True)
    if len(names) == len(table) or (len(names) == 1 and names[0] == ""):
        return none
    last = np.full(len(names), -np.inf)
    np.maximum.at(last, run, table[along])
    return (table[along] < last[run]) & (table["run_id"] != "")
