"""Which column is the loss, where nobody said: the likeliest one, and a sentence that says so."""

from __future__ import annotations

import re

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers.units import is_loss, named_unit
from gnomon.forecast.table import RunTable

HOUSE_METRIC = "bits_per_byte_codebase"  # what gnomon's own ladders forecast first
FEWEST_FINITE = 0.5  # of the rows


def choose_metric(table: RunTable, metric: str | None = None) -> tuple[str, str]:
    """The metric to forecast, and why it was taken ("" when it was asked for).

    Order: the one asked for; gnomon's own; losses in bits per byte; in nats; of held-out text; any other; of training
    text last. A perplexity is never taken: its logarithm is, which the reader adds.
    Raises GnomonError when no column is a loss.
    """
    if metric is not None:
        return metric, ""
    if HOUSE_METRIC in table:
        return HOUSE_METRIC, ""
    numbers = [n for n, c in table.columns.items() if is_loss(n) and c.dtype.kind == "f"]
    losses = [n for n in numbers if named_unit(n) != "perplexity"]
    losses = [n for n in losses if len(table) and np.isfinite(table[n]).mean() >= FEWEST_FINITE] or losses
    if not losses:
        text = [n for n, c in table.columns.items() if is_loss(n) and c.dtype.kind == "U"]
        if text:
            return text[0], ""  # losses_of() then names the cell that is no number
        raise GnomonError(
            f"run table: no column is recognisably a loss; it has {', '.join(table.columns) or 'no columns'}: "
            "name one with --metric"
        )
    best = min(losses, key=lambda n: (_rank(n), losses.index(n)))
    others = [n for n in losses if n != best and not best.endswith(re.sub(r"[^A-Za-z0-9]+", "_", n).strip("_"))]
    instead = f", not {', '.join(others[:4])} (--metric NAME overrules)" if others else ""
    return best, f"{best} is taken as the loss{instead}"


def _rank(name: str) -> int:
    lower = name.lower()
    if "train" in lower:
        return 9
    if name.startswith("bits_per_byte") or named_unit(name) == "bits_per_byte":
        return 1 if name.startswith("bits_per_byte_") else 2
    if name.startswith("loss_nats"):
        return 3
    if re.search(r"(^|[^a-z])(val|valid|validation|eval|test|heldout|held_out|dev)([^a-z]|$)", lower):
        return 4
    return 5 if "final" in lower else 6 if "smooth" not in lower else 7
