"""The ladder as a whole: enough rungs, enough span, minima that are bracketed, a line that does not bend.

A fatal finding here means that no law can be trusted, not that no number is given: see judge.py.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.isoflop import Minimum
from gnomon.forecast.members import SURFACE_LENGTHS, SURFACE_RUNS, SURFACE_SIZES, shape_of
from gnomon.forecast.noise import seed_noise
from gnomon.forecast.runs import Runs
from gnomon.forecast.values import Finding

FEWEST_BUDGETS = 3
MOST_NAMED = 4  # budgets that get a line each


def enough(runs: Runs, metric: str, nominal: bool) -> list[Finding]:
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
    message = f"{metric}: a ladder with too few rungs for a law: {what}"
    effect = "the forecast is the best run continued by what other ladders do: good for its order of magnitude"
    return [Finding("too_few", "fatal", tuple(runs.ids), message, effect)]


def span(runs: Runs) -> list[Finding]:
    """Too little compute between the smallest and the largest run, or loss that rises with it."""
    reach = float(runs.compute.max() / runs.compute.min())
    findings = []
    if reach < 10:
        message = f"compute spans only a factor of {reach:.2g}; laws that differ far out look alike over less than 10"
        effect = "exponent and floor are not told apart: the forecast may be off either way, more with every decade"
        findings.append(Finding("narrow_span", "warning", (), message, effect))
    upward = rising(runs)
    if upward * np.sqrt(max(len(runs) - 2, 0)) > 2.5 * np.sqrt(1 - min(upward**2, 1.0)):
        message = "loss rises with compute; check the columns, or the rate at the larger sizes"
        effect = "no law rises: the forecast is flat at about the table's mean and too low if the rise is real"
        findings.append(Finding("rising_loss", "warning", (), message, effect))
    return findings


def rising(runs: Runs) -> float:
    """Correlation of log loss and log compute; 0 where either does not vary."""
    if len(runs) < 2 or np.ptp(np.log(runs.compute)) < 1e-9 or np.ptp(np.log(runs.loss)) < 1e-9:
        return 0.0
    return float(np.corrcoef(np.log(runs.compute), np.log(runs.loss))[0, 1])


def shape_findings(runs: Runs) -> list[Finding]:
    """Unbracketed budgets, unknown seed noise, a bent line."""
    seeds = seed_noise(runs)
    shape = shape_of(runs, seeds)
    findings = []
    effect = "its best size is unknown; a minimum taken at its edge would be too high, and the forecast with it"
    refused = [(np.flatnonzero(runs.budget == budget), why) for budget, why in shape.refused]
    if len(refused) > MOST_NAMED:
        rows = np.concatenate([inside for inside, _ in refused])
        message = f"{len(refused)} of {runs.budgets} budgets do not count: {refused[0][1]}, and the like"
        refused = []
        findings.append(Finding("unbracketed", "warning", tuple(runs.ids[rows]), message, effect))
    for inside, why in refused:
        message = f"budget {np.median(runs.compute[inside]):.3g} FLOPs does not count: {why}"
        findings.append(Finding("unbracketed", "warning", tuple(runs.ids[inside]), message, effect))
    if runs.budgets and len(shape.minima) < FEWEST_BUDGETS:
        message = (
            f"{len(shape.minima)} budgets bracket their minimum; with fewer than {FEWEST_BUDGETS} "
            "only laws of size and tokens can be fitted"
        )
        effect = "the law of the lowest loss a budget reaches is missing: the interval is wider"
        findings.append(Finding("few_minima", "warning", (), message, effect))
    if not seeds.degrees:
        message = "no setting was run with two seeds: the seed noise is an assumption"
        effect = "the interval's seed part is taken from other ladders"
        findings.append(Finding("no_seeds", "note", (), message, effect))
    bend = slope_break(shape.minima)
    if bend is not None:
        top = shape.minima[-bend[1] :]
        rows = runs.ids[runs.compute >= 0.7 * top[0].compute]
        effect = "laws go on as below the bend: too low a forecast where the line goes flat, too high where it steepens"
        findings.append(Finding("slope_break", "warning", tuple(rows), bend[0], effect))
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
    y = np.log(np.maximum([m.loss for m in minima], 1e-12))
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
