"""Units of loss: nats or bits per token, bits per byte, perplexity. Laws are fitted to loss, not its exponential."""

from __future__ import annotations

import re

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.table import EVALUATION_PREFIXES, RunTable, kind_of

UNITS = ("nats", "bits", "bits_per_byte", "perplexity")
_LOSS = re.compile(r"(^|[^a-z])(loss|nll|xent|cross_entropy|ce|bpb|perplexity|ppl)([^a-z]|$)")
_NOT_LOSS = re.compile(r"stderr|std_err|(^|[^a-z])(std|min|max|lo95|hi95|lo|hi|aux|z_loss|scale)([^a-z]|$)")


def is_loss(name: str) -> bool:
    """Whether a column's name says that it holds a loss, in whatever unit."""
    if name.startswith("stderr_"):
        return False
    lower = name.lower()
    if name.startswith(tuple(EVALUATION_PREFIXES)):
        return True
    return kind_of(name) == "any" and bool(_LOSS.search(lower)) and not _NOT_LOSS.search(lower)


def named_unit(name: str) -> str:
    """The unit that a column's name says: one of UNITS, or ""."""
    lower = name.lower()
    if lower.startswith("loss_nats_"):
        return "nats"
    if re.search(r"perplexity|(^|[^a-z])ppl([^a-z]|$)", lower):
        return "perplexity"
    if re.search(r"bits_per_byte|(^|[^a-z])bpb([^a-z]|$)", lower):
        return "bits_per_byte"
    if re.search(r"bits_per_token|(^|[^a-z])bits([^a-z]|$)", lower):
        return "bits"
    return "nats" if "nats" in lower else ""


def add_units(table: RunTable, unit: str | None = None) -> RunTable:
    """The table with loss_nats_NAME beside every loss NAME in perplexity or bits a token, and bits_per_byte_NAME beside
    one told to be that.

    unit: of the losses whose name does not say. Raises GnomonError when it is not one of UNITS.
    """
    if unit is not None and unit not in UNITS:
        raise GnomonError(f"unit {unit!r}: a loss is in {', '.join(UNITS)}")
    columns, notes = dict(table.columns), list(table.notes)
    for name, values in table.columns.items():
        if name.startswith(tuple(EVALUATION_PREFIXES)) or not is_loss(name) or values.dtype.kind != "f":
            continue
        told = named_unit(name) or unit or ""
        added, said = _converted(name, values, told)
        if added and added[0] not in columns:
            columns[added[0]] = added[1]
            notes.append(said)
    return RunTable(columns, notes, table.history)


def _converted(name: str, values: np.ndarray, unit: str) -> tuple[tuple[str, np.ndarray] | None, str]:
    end = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    if unit == "perplexity":
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(values > 0, np.log(values), np.nan)
        return (f"loss_nats_{end}", logs), f"loss_nats_{end} = ln({name}), which is a perplexity"
    if unit == "bits":
        return (f"loss_nats_{end}", values * np.log(2.0)), f"loss_nats_{end} = {name} · ln 2, which is bits per token"
    if unit == "bits_per_byte":
        return (f"bits_per_byte_{end}", values), f"bits_per_byte_{end} = {name}"
    if unit == "nats":
        return (f"loss_nats_{end}", values), f"loss_nats_{end} = {name}"
    return None, ""
