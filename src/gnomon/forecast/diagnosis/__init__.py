"""The doctor: what would ruin a forecast, found before any law is fitted, and what a target's number is worth.

A fatal finding means that no law can be trusted; a warning means rows were left out, or the forecast deserves less
trust than its interval says; a note costs nothing. Each names its rows and says what it does to the forecast.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.diagnosis import counts, losses
from gnomon.forecast.diagnosis.ladder import FEWEST_BUDGETS, enough, rising, shape_findings, slope_break, span
from gnomon.forecast.diagnosis.rows import few_steps, left_out, mixed, thinned
from gnomon.forecast.diagnosis.survey import Survey
from gnomon.forecast.diagnosis.targets import about_target
from gnomon.forecast.isoflop import parabolas
from gnomon.forecast.runs import Runs, losses_of, size_column
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Finding, Target

__all__ = ["FEWEST_BUDGETS", "about_target", "doctor", "require_sound", "rising", "slope_break", "suspicions"]

# Every fault that the numbers themselves show, by name.
CHECKS: dict[str, Callable[[Survey], counts.Suspicion]] = {
    "overflow": counts.overflow,
    "operations": counts.operations,
    "conventions": counts.conventions,
    "embedding": counts.embedding,
    "repeated": counts.repeated,
    "units": losses.units,
    "strays": losses.strays,
    "unannealed": losses.unannealed,
    "untuned": losses.untuned,
    "crossing": losses.crossing,
    "no_signal": losses.no_signal,
}
ORDER = {"fatal": 0, "warning": 1, "note": 2}
# Another name for the same rows: where the first is found, the second says nothing new.
SAME_CAUSE = (
    ("flops_overflow", "flops_inconsistent"),
    ("mixed_units", "stray"),
    ("mixed_units", "crossing"),
    ("stray", "crossing"),
    ("untuned", "crossing"),
    ("crossing", "looks_unannealed"),
    ("untuned", "looks_unannealed"),
    ("no_signal", "crossing"),
    ("no_signal", "looks_unannealed"),
    ("rising_loss", "no_signal"),
    ("rising_loss", "crossing"),
    ("rising_loss", "looks_unannealed"),
)


def doctor(table: RunTable, metric: str = "bits_per_byte_codebase", target: Target | None = None) -> list[Finding]:
    """Findings, fatal ones first. target: also look at where it lies.

    Raises GnomonError when the metric or every size column is missing, so that nothing can be examined.
    """
    if not len(table):
        return [Finding("empty", "fatal", (), "run table: no rows; a ladder with too few rungs for a law")]
    losses_of(table, metric)
    size_column(table)
    findings = [*left_out(table, metric), *mixed(table), *few_steps(table)]
    survey = Survey.of(table, metric)
    runs = survey.runs
    findings += [found for _, found in (check(survey) for check in CHECKS.values()) if found is not None]
    if not len(runs):
        message = f"{metric}: none of the {len(table)} rows can be used: a ladder with too few rungs for a law"
        return sorted([*findings, Finding("empty", "fatal", (), message)], key=lambda f: ORDER[f.severity])
    findings += thinned(table, metric, len(runs))
    lacking = enough(runs, metric, bool(np.isfinite(table["budget"]).any()))
    findings += lacking
    if len(runs) > 1 and not lacking:
        findings += shape_findings(runs)
    if len(runs) > 1:
        findings += [f for f in span(runs) if not (lacking and f.code == "narrow_span")]
    if target is not None and len(runs):
        findings += about_target(runs, target)
    findings += [Finding("reader", "note", (), note) for note in table.notes]
    codes = {f.code for f in findings}
    hidden = {later for first, later in SAME_CAUSE if first in codes}
    return sorted((f for f in findings if f.code not in hidden), key=lambda f: ORDER[f.severity])


def suspicions(table: RunTable, metric: str) -> dict[str, float]:
    """How strongly each fault shows, as numbers that grow with it: for studies of how well it is found."""
    survey = Survey.of(table, metric)
    runs: Runs = survey.runs
    scores = {name: check(survey)[0] for name, check in CHECKS.items()}
    scores["duplicates"] = float(sum(len(f.rows) for f in left_out(table, metric) if f.code == "duplicate"))
    scores["rising"] = rising(runs)
    scores["narrow_span"] = -float(np.log10(runs.compute.max() / runs.compute.min())) if len(runs) else 0.0
    scores["unbracketed"] = len(parabolas(runs)[1]) / max(1, runs.budgets)
    return scores


def require_sound(findings: list[Finding], codes: tuple[str, ...] = ("empty",)) -> None:
    """Raises GnomonError with the first finding of these codes: where there is no run, there is no number."""
    for finding in findings:
        if finding.code in codes:
            raise GnomonError(finding.message)
