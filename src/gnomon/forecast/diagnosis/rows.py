"""Rows that cannot be fitted, and columns that should be the same in every row and are not."""

from __future__ import annotations

import numpy as np

from gnomon.forecast.diagnosis.survey import names
from gnomon.forecast.runs import masks
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Finding

FEWEST_STEPS = 100
LEFT_OUT = {
    "diverged": "diverged and left out",
    "unfinished": "not finished (crashed, killed or still running) and left out",
    "missing": "without a loss, size, tokens or compute, and left out",
    "not_positive": "with a loss, size, tokens or compute that is not positive, and left out",
    "unannealed": "read before the rate's decay and left out: they lie above the law of finished runs",
    "trunk": "branched from a trunk whose rates belong to a longer horizon, and left out",
    "registered": "registered targets and left out: a forecast must not see outcomes",
    "duplicate": "repetitions of an earlier row and left out",
}
SAME_THROUGHOUT = {
    "corpus": ("fatal", "loss on different training text follows different laws; select one"),
    "tokenizer": ("fatal", "select one tokenizer"),
    "numerics": ("warning", "runs of different numerics may differ"),
    "dtype": ("warning", "runs of different precision may differ"),
    "vocab": ("warning", "a vocabulary is part of the recipe and should not change along the ladder"),
    "context": ("warning", "a context is part of the recipe and should not change along the ladder"),
}
EFFECT = {
    "diverged": "left in, they would lift the law where they stand",
    "unfinished": "left in, they would lift the law: their rate had not decayed",
    "missing": "fewer runs, a wider interval",
    "not_positive": "fewer runs, a wider interval; a negative count is often an integer that ran over",
    "unannealed": "left in, they would make the law fall too steeply, and the forecast too low",
    "trunk": "left in, they would lift the law at the lengths that the trunk was not made for",
    "registered": "left in, the forecast would know its outcome",
    "duplicate": "left in, one run would count as many, and the interval would be too narrow",
}
MIXED_EFFECT = "the table holds several laws; one drawn through them all is off by about half of what lies between them"


def thinned(table: RunTable, metric: str, used: int) -> list[Finding]:
    """A note where more rows could be used than are looked at."""
    usable = len(table) - int(np.any(list(masks(table, metric).values()), axis=0).sum())
    if used >= usable:
        return []
    message = f"{usable} usable rows; {used} are looked at: the best of their compute and an even sample of the rest"
    return [Finding("thinned", "note", (), message, "none that matters: a law of a few constants learns no more")]


def left_out(table: RunTable, metric: str) -> list[Finding]:
    findings = []
    ids = table.ids()
    for code, mask in masks(table, metric).items():
        if mask.any():
            rows = tuple(ids[i] for i in np.flatnonzero(mask))
            why = LEFT_OUT[code]
            severity = "note" if code == "registered" else "warning"
            findings.append(
                Finding(code, severity, rows, f"{metric}: {len(rows)} rows {why}: {names(rows)}", EFFECT[code])
            )
    return findings


def mixed(table: RunTable) -> list[Finding]:
    """Columns that must be the same in every row and are not."""
    findings = []
    ids = table.ids()
    for name, (severity, why) in SAME_THROUGHOUT.items():
        column = table[name]
        known = column != "" if column.dtype.kind == "U" else np.isfinite(column)
        values, counts = np.unique(column[known], return_counts=True)
        if len(values) > 1:
            few = values[counts.argmin()]
            rows = tuple(ids[i] for i in np.flatnonzero(known & (column == few)))
            shown = ", ".join(str(v)[:16] for v in values[:4])
            message = f"{len(values)} values of {name} ({shown}): {why}"
            findings.append(Finding(f"mixed_{name}", severity, rows, message, MIXED_EFFECT))
    return findings


def few_steps(table: RunTable) -> list[Finding]:
    short = table["steps"] < FEWEST_STEPS
    if not short.any():
        return []
    rows = tuple(np.array(table.ids(), dtype=object)[short])
    least = table["steps"][short].min()
    message = f"runs of {least:.0f} steps; under {FEWEST_STEPS} steps warm-up rules, not the law: {names(rows)}"
    effect = "such runs lie above the law of longer ones: it falls too steeply, and the forecast is too low"
    return [Finding("few_steps", "warning", rows, message, effect)]
