"""The doctor: what in a table would ruin a forecast, found before any law is fitted.

A fatal finding means no law; a warning means rows were left out, or the forecast deserves less trust than its interval
says; a note costs nothing. Each names its rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.isoflop import Minimum
from gnomon.forecast.members import SURFACE_LENGTHS, SURFACE_RUNS, SURFACE_SIZES, shape_of
from gnomon.forecast.noise import seed_noise
from gnomon.forecast.runs import Runs, admissible, losses_of, masks, size_column
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Finding, Target

FEWEST_BUDGETS = 3
FEWEST_STEPS = 100
LEFT_OUT = {
    "diverged": "diverged and left out",
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


def doctor(table: RunTable, metric: str = "bits_per_byte_codebase", target: Target | None = None) -> list[Finding]:
    """Findings, fatal ones first. target: also look at where it lies.

    Raises GnomonError when the metric or every size column is missing, so that nothing can be examined.
    """
    if not len(table):
        return [Finding("empty", "fatal", (), "run table: no rows; a ladder with too few rungs for a law")]
    losses_of(table, metric)
    size_column(table)
    findings = [*_left_out(table, metric), *_mixed(table), *_steps(table), *_flops(table, metric)]
    runs = admissible(table, metric)
    enough = _enough(runs, metric, bool(np.isfinite(table["budget"]).any()))
    findings += enough
    if not any(f.severity == "fatal" for f in enough):
        findings += _shape(runs)
        findings += _span(runs)
    if target is not None and len(runs):
        findings += about_target(runs, target)
    order = {"fatal": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda f: order[f.severity])


def about_target(runs: Runs, target: Target) -> list[Finding]:
    """Whether the target lies inside the table, or absurdly far outside."""
    ratio = target.compute / float(runs.compute.max())
    if ratio <= 1:
        inside = runs.ids[runs.compute >= target.compute]
        message = (
            f"the target ({target.compute:.3g} FLOPs) lies inside the table (up to {runs.compute.max():.3g}): "
            "this is no forecast; choose one bigger than every run"
        )
        return [Finding("target_inside", "warning", tuple(inside), message)]
    if ratio > 1e4:
        message = f"the target is {ratio:.3g} times the largest run; no law has been tested over 10,000 times"
        return [Finding("target_far", "warning", (), message)]
    return []


def _names(ids: Iterable[str], most: int = 4) -> str:
    names = list(ids)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _left_out(table: RunTable, metric: str) -> list[Finding]:
    findings = []
    ids = table.ids()
    for code, mask in masks(table, metric).items():
        if mask.any():
            rows = tuple(ids[i] for i in np.flatnonzero(mask))
            severity = "note" if code == "registered" else "warning"
            findings.append(
                Finding(code, severity, rows, f"{metric}: {len(rows)} rows {LEFT_OUT[code]}: {_names(rows)}")
            )
    return findings


def _mixed(table: RunTable) -> list[Finding]:
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
            findings.append(
                Finding(f"mixed_{name}", severity, rows, f"{len(values)} values of {name} ({shown}): {why}")
            )
    return findings


def _steps(table: RunTable) -> list[Finding]:
    short = table["steps"] < FEWEST_STEPS
    if not short.any():
        return []
    rows = tuple(np.array(table.ids(), dtype=object)[short])
    least = table["steps"][short].min()
    message = f"runs of {least:.0f} steps; under {FEWEST_STEPS} steps warm-up rules, not the law: {_names(rows)}"
    return [Finding("few_steps", "warning", rows, message)]


def _flops(table: RunTable, metric: str) -> list[Finding]:
    """Operations a parameter and token, which are near 6: another factor betrays a unit, an overflow or a
    convention."""
    runs = admissible(table, metric)
    if len(runs) < 2:
        return []
    ratio = runs.compute / (6 * runs.size * runs.tokens)
    middle = float(np.median(ratio))
    off = np.abs(np.log(ratio / middle)) > np.log(2)
    if off.any():
        rows = tuple(runs.ids[off])
        message = (
            f"FLOPs of {len(rows)} rows are {ratio[off][0] / middle:.2g} times what the others spend a parameter "
            f"and token; check the count, its unit and integer overflow: {_names(rows)}"
        )
        return [Finding("flops_inconsistent", "warning", rows, message)]
    if not 0.3 < middle < 6:
        message = (
            f"FLOPs are {middle:.2g} times 6 · parameters · tokens; check the unit and which parameters are counted"
        )
        return [Finding("flops_inconsistent", "warning", (), message)]
    return []


def _enough(runs: Runs, metric: str, nominal: bool) -> list[Finding]:
    """Whether there is anything to fit. nominal: the table names isoFLOP budgets."""
    sizes, lengths = len(np.unique(runs.size)), len(np.unique(runs.tokens))
    if nominal and runs.budgets < FEWEST_BUDGETS:
        what = f"{runs.budgets} budgets with two or more sizes; a law needs {FEWEST_BUDGETS}"
    elif len(runs) < SURFACE_RUNS:
        what = f"{len(runs)} usable runs; a law needs {SURFACE_RUNS}"
    elif sizes < SURFACE_SIZES or lengths < SURFACE_LENGTHS:
        what = f"{sizes} sizes and {lengths} lengths; a law needs {SURFACE_SIZES} of each"
    elif np.ptp(np.log(runs.loss)) < 1e-9:
        what = "every loss is the same number; there is no signal"
    elif runs.compute.max() < 3 * runs.compute.min():
        what = f"compute spans a factor of {runs.compute.max() / runs.compute.min():.2g}; a law needs 3 at least"
    else:
        return []
    return [Finding("too_few", "fatal", tuple(runs.ids), f"{metric}: a ladder with too few rungs for a law: {what}")]


def _span(runs: Runs) -> list[Finding]:
    span = float(runs.compute.max() / runs.compute.min())
    findings = []
    if span < 10:
        message = f"compute spans only a factor of {span:.2g}; laws that differ far out look alike over less than 10"
        findings.append(Finding("narrow_span", "warning", (), message))
    if np.corrcoef(np.log(runs.compute), np.log(runs.loss))[0, 1] > 0:
        message = "loss rises with compute; check the columns, or the rate at the larger sizes"
        findings.append(Finding("rising_loss", "warning", (), message))
    return findings


def _shape(runs: Runs) -> list[Finding]:
    """Unbracketed budgets, unknown seed noise, a bent line."""
    seeds = seed_noise(runs)
    shape = shape_of(runs, seeds)
    findings = []
    for budget, why in shape.refused:
        inside = runs.budget == budget
        message = f"budget {np.median(runs.compute[inside]):.3g} FLOPs does not count: {why}"
        findings.append(Finding("unbracketed", "warning", tuple(runs.ids[inside]), message))
    if runs.budgets and len(shape.minima) < FEWEST_BUDGETS:
        message = (
            f"{len(shape.minima)} budgets bracket their minimum; with fewer than {FEWEST_BUDGETS} "
            "only laws of size and tokens can be fitted"
        )
        findings.append(Finding("few_minima", "warning", (), message))
    if not seeds.degrees:
        message = "no setting was run with two seeds: the seed noise is an assumption"
        findings.append(Finding("no_seeds", "note", (), message))
    bend = slope_break(shape.minima)
    if bend is not None:
        top = shape.minima[-bend[1] :]
        rows = runs.ids[runs.compute >= 0.7 * top[0].compute]
        findings.append(Finding("slope_break", "warning", tuple(rows), bend[0]))
    return findings


def slope_break(minima: list[Minimum]) -> tuple[str, int] | None:
    """(message, how many top budgets) when the line through the minima bends, else None.

    The slope of log loss over log compute through the top two (and, of five or more, the top three) minima is set
    against the line through those below. Floors flatten a line, nothing lawful steepens it, so steeper by 2.5
    deviations and a twentieth is a break, and flatter only by 3 deviations and two fifths. The deviations are those of
    the minima.
    """
    if len(minima) < 4:
        return None
    x = np.log([m.compute for m in minima])
    y = np.log([m.loss for m in minima])
    deviation = np.array([m.log_loss_deviation for m in minima])
    for top in (2, 3) if len(minima) >= 5 else (2,):
        upper, lower = np.arange(len(x) - top, len(x)), np.arange(len(x) - top + 1)
        contrast = _slope_operator(x, upper, deviation) - _slope_operator(x, lower, deviation)
        change = float(contrast @ y)
        noise = float(np.sqrt((contrast * deviation) @ (contrast * deviation)))
        below = float(_slope_operator(x, lower, deviation) @ y)
        steeper = change < -2.5 * noise and change < -0.05 * abs(below)
        flatter = change > 3 * noise and change > 0.4 * abs(below)
        if steeper or flatter:
            message = (
                f"the line bends: between the top {top} budgets log loss falls by {-(below + change):.4f} per e-fold "
                f"of compute, below them by {-below:.4f} (the noise allows ±{noise:.4f}); no law fitted below a bend "
                "forecasts beyond it: add rungs above, or find what changes there"
            )
            return message, top
    return None


def _slope_operator(x: np.ndarray, rows: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Weights over all minima that give the slope of the line through some of them."""
    weight = np.maximum(deviation[rows], 1e-6) ** -2.0
    centred = x[rows] - (weight @ x[rows]) / weight.sum()
    operator = np.zeros(len(x))
    operator[rows] = weight * centred / (weight @ centred**2)
    return operator


def require_sound(findings: list[Finding]) -> None:
    """Raises GnomonError with the first fatal finding."""
    for finding in findings:
        if finding.severity == "fatal":
            raise GnomonError(finding.message)
