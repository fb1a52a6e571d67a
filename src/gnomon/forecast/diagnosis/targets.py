"""The target against the table: inside it, absurdly far outside it, or another kind of run than the table's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnomon.forecast.runs import Runs
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Finding, Target

FARTHEST = 1e4  # no law has been tested over more

# What a law cannot see, and the deviation of log loss that a change of it brings. Measured where a published source
# has both sides: context (xlstm: 0.5 % from 8k to 16k), corpus (Gadre et al., one validation set, three web corpora:
# medians of 2.5 and 3.3 %), repetition (datablations: 0.4 % at 4 epochs, 1.1 % at 10, 3.6 % at 30, 15 % at 100; tiny
# runs far more). The others are taken from what their sources call usual, and are assumptions.
SHIFTS: dict[str, tuple[float, str]] = {
    "schedule": (0.03, "a run read before its rate's decay is a few percent worse than one read after it"),
    "tokenizer": (0.10, "loss a token of another tokenizer is another quantity; bits per byte would carry over"),
    "corpus": (0.05, "another text has another floor"),
    "anneal_data": (0.05, "better text in the decay lowers the loss by an amount that no ladder without it shows"),
    "context": (0.01, "a longer context lowers the loss of the positions beyond the shorter one"),
    "unique_tokens": (0.004, "repeated tokens are worth less than new ones"),
    "vocab": (0.10, "loss a token of another vocabulary is another quantity; bits per byte would carry over"),
    "optimizer": (0.02, "another optimiser moves the whole curve"),
    "dtype": (0.005, "another precision moves the loss a little"),
}


def about_target(runs: Runs, target: Target) -> list[Finding]:
    """Whether the target lies inside the table, or absurdly far outside."""
    ratio = target.compute / float(runs.compute.max())
    if ratio <= 1:
        inside = runs.ids[runs.compute >= target.compute]
        message = (
            f"the target ({target.compute:.3g} FLOPs) lies inside the table (up to {runs.compute.max():.3g}): "
            "this is no forecast; choose one bigger than every run"
        )
        effect = "the number is an interpolation; its interval is no test of extrapolation"
        return [Finding("target_inside", "warning", tuple(inside), message, effect)]
    if ratio > FARTHEST:
        message = f"the target is {ratio:.3g} times the largest run; no law has been tested over 10,000 times"
        effect = "floor and form decide everything there: the forecast may be off either way by more than its interval"
        return [Finding("target_far", "warning", (), message, effect)]
    return []


def declared(table: RunTable) -> dict[str, Any]:
    """What the table's runs have in common, of the attributes that a law cannot see: name -> value."""
    common: dict[str, Any] = {}
    for name in SHIFTS:
        if name not in table or name == "unique_tokens":
            continue
        column = table[name]
        known = column[column != ""] if column.dtype.kind == "U" else column[np.isfinite(column)]
        if len(known) and len(np.unique(known)) == 1:
            common[name] = known[0].item()
    if "unique_tokens" in table and "tokens" in table:
        with np.errstate(invalid="ignore", divide="ignore"):
            epochs = table["tokens"] / table["unique_tokens"]
        if np.isfinite(epochs).any():
            common["epochs"] = max(1.0, float(np.nanmax(epochs)))
    return common


def shifts(common: Mapping[str, Any], target: Target) -> tuple[list[Finding], float]:
    """Findings on how the target differs from the runs in what a law cannot see, and the deviation of log loss that
    they add together (root of the sum of squares).

    common: from declared(). Only what both sides say is compared.
    """
    findings, variance = [], 0.0
    for name, (deviation, why) in SHIFTS.items():
        if name == "unique_tokens":
            epochs = target.tokens / float(target.attributes.get(name) or np.inf)
            if epochs <= max(1.05, 1.05 * float(common.get("epochs", 1.0))):
                continue
            said = f"the target sees its text {epochs:.3g} times, the runs at most {common.get('epochs', 1.0):.3g}"
            deviation = min(0.3, deviation * epochs**0.75)
        else:
            there, here = target.attributes.get(name), common.get(name)
            if there is None or here is None or _alike(there, here):
                continue
            said = f"{name} of the target is {there}, of the runs {here}"
        variance += deviation**2
        message = f"{said}: {why}"
        effect = f"no law sees this; the interval is widened by {100 * deviation:.2g} % (one deviation)"
        findings.append(Finding(f"shift_{name}", "warning", (), message, effect))
    return findings, float(np.sqrt(variance))


def _alike(one: Any, other: Any) -> bool:
    try:
        return abs(float(one) / float(other) - 1) < 0.01
    except (TypeError, ValueError, ZeroDivisionError):
        return str(one).strip().lower() == str(other).strip().lower()

