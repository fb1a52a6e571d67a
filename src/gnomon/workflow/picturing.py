"""Pictures of a forecast from anybody's table: four SVG files, and one page that answers when pointed at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_text
from gnomon.figures import (
    Cut,
    FormRow,
    Interval,
    Look,
    LossPoint,
    LossTable,
    Picture,
    ResidualPanel,
    forecast_history,
    forms,
    loss_forecast,
    residuals,
    standalone,
)
from gnomon.figures.numbers import power

if TYPE_CHECKING:
    from gnomon.forecast import Fit, Forecast, RunTable, Target

CURVE_POINTS = 48
MOST_DOTS = 500  # of a table with more runs, the frontier and an even choice of the others are drawn
MOST_CUTS, MOST_LOOKS = 5, 6
HISTORY_DRAWS = 60  # bootstrap refits of an earlier forecast: its interval is drawn, not registered
HISTORY_RUNS = 5000  # in a table of more runs the history would take minutes
SAME_SIZE = 0.1  # of log size: nearer to the best size than this, the curve follows the best sizes


@dataclass(frozen=True)
class Drawn:
    """A forecast with its pictures by name: forecast, residuals, history, forms; history may be missing."""

    forecast: Forecast
    fit: Fit
    pictures: dict[str, Picture]
    history: tuple[Cut, ...]


def draw(
    table: RunTable,
    compute: float,
    metric: str | None = None,
    parameters: float | None = None,
    tokens: float | None = None,
) -> Drawn:
    """Fit the table, forecast the target and draw both. Raises GnomonError as fit does."""
    from gnomon.forecast import fit, metric_of, target_of

    fitted = fit(table, metric_of(table, metric))
    target = target_of(fitted, compute, parameters, tokens)
    forecast = fitted.predict(target)
    cuts = history(table, fitted)
    pictures = {
        "forecast": loss_forecast(loss_table(fitted, target, forecast)),
        "residuals": residuals(panels(fitted, forecast)),
        "forms": forms(rows(forecast), interval(forecast.quantiles), forecast.unit),
    }
    if any(cut.looks for cut in cuts):
        pictures["history"] = forecast_history(cuts, compute / float(fitted.runs.compute.max()))
    return Drawn(forecast, fitted, pictures, cuts)


def plot(
    table: RunTable,
    source: str,
    compute: float,
    out: Path,
    metric: str | None = None,
    parameters: float | None = None,
    tokens: float | None = None,
) -> Iterator[str]:
    """Write the pictures and the page into out; a line a file. source: what the table is called."""
    from gnomon.report.forecast_page import render_forecast
    from gnomon.workflow.forecasting import forecast_lines

    drawn = draw(table, compute, metric, parameters, tokens)
    yield forecast_lines(drawn.forecast)[0]
    if drawn.forecast.flag:
        yield f"this is noise: {drawn.forecast.flag_reason}"
    for name, picture in drawn.pictures.items():
        write_text(out / f"{name}.svg", standalone(picture.wide))
        yield f"{out / name}.svg: {picture.alt}"
    if "history" not in drawn.pictures:
        many = f"{len(drawn.fit.runs)} runs are too many to fit again and again"
        why = many if len(drawn.fit.runs) > HISTORY_RUNS else "no part of the table is enough for a law of its own"
        yield f"no history: {why}"
    write_text(out / "forecast.html", render_forecast(source, drawn.forecast, drawn.fit.runs, drawn.pictures))
    yield f"{out / 'forecast.html'}: all of them on one page; point at a run to see its name"


def interval(quantiles: dict[str, float]) -> Interval:
    q = quantiles
    return Interval(q["0.5"], q["0.25"], q["0.75"], q["0.05"], q["0.95"])


def loss_table(fitted: Fit, target: Target, forecast: Forecast) -> LossTable:
    """The runs, and the forecast at every compute from the smallest run to the target."""
    runs = fitted.runs
    best = frontier(fitted)
    chosen = np.unique(np.concatenate([np.flatnonzero(best), _even(len(runs), MOST_DOTS)]))
    points = tuple(
        LossPoint(
            float(runs.compute[i]),
            float(runs.loss[i]),
            bool(best[i]),
            float(runs.size[i]),
            float(runs.tokens[i]),
            str(runs.ids[i]),
        )
        for i in chosen
    )
    computes = np.geomspace(float(runs.compute.min()), target.compute, CURVE_POINTS)
    law = tuple(
        (float(c), interval(fitted.predict(at).quantiles))
        for c, at in zip(computes, _path(fitted, target, computes), strict=True)
    )
    grouped = bool((runs.budget >= 0).any())
    highest, lowest = float(runs.loss[best].max()), min(float(runs.loss.min()), forecast.quantiles["0.05"])
    return LossTable(
        points,
        law,
        target.compute,
        interval(forecast.quantiles),
        unit=forecast.unit or forecast.metric,
        sealed=False,
        best="best of its budget" if grouped else "best so far",
        other="a run",
        top=highest + 0.4 * (highest - lowest),
    )


def _path(fitted: Fit, target: Target, computes: np.ndarray) -> list[Target]:
    """Runs like the target at other computes: of the best size where the target is, else as many tokens a parameter."""
    from gnomon.forecast import Target

    try:
        near = abs(np.log(fitted.best_size(target.compute) / target.parameters)) < SAME_SIZE
    except GnomonError:
        near = False
    if near:
        return [fitted.target(float(c)) for c in computes[:-1]] + [target]
    scale = np.sqrt(computes / target.compute)
    return [
        Target(float(c), target.parameters * float(s), target.tokens * float(s))
        for c, s in zip(computes, scale, strict=True)
    ]


def frontier(fitted: Fit) -> np.ndarray:
    """Mask of the best run of each budget, or, in a table without budgets, of the runs that no cheaper run beats."""
    runs = fitted.runs
    mask = np.zeros(len(runs), dtype=bool)
    if (runs.budget >= 0).any():
        for number in range(runs.budgets):
            inside = np.flatnonzero(runs.budget == number)
            mask[inside[np.argmin(runs.loss[inside])]] = True
        return mask
    order = np.lexsort((runs.loss, runs.compute))
    best = np.minimum.accumulate(runs.loss[order])
    mask[order] = runs.loss[order] <= best
    return mask


def panels(fitted: Fit, forecast: Forecast) -> tuple[ResidualPanel, ...]:
    """What is left over of each law: of the runs for a law of size and tokens, of the minima for a law of compute."""
    runs = fitted.runs
    weight = {c["name"]: float(c["weight"]) for c in forecast.components}
    chosen = _even(len(runs), MOST_DOTS)
    made = []
    for member in fitted.members:
        if member.family == "minima":
            computes = np.array([m.compute for m in fitted.minima])
            losses = np.array([m.loss for m in fitted.minima])
            inputs = {
                "compute": computes,
                "parameters": np.array([m.size for m in fitted.minima]),
                "tokens": np.array([m.tokens for m in fitted.minima]),
            }
            names = [f"the best of {power(c)} FLOPs" for c in computes]
        else:
            computes, losses = runs.compute[chosen], runs.loss[chosen]
            inputs = {name: values[chosen] for name, values in runs.inputs().items()}
            names = [str(name) for name in runs.ids[chosen]]
        off = 100 * (losses / member.point.predict(inputs)[0] - 1)
        points = tuple((float(c), float(o), n) for c, o, n in zip(computes, off, names, strict=True) if np.isfinite(o))
        made.append(ResidualPanel(member.law.name, weight.get(member.law.name, 0.0), points))
    return tuple(made)


def rows(forecast: Forecast) -> tuple[FormRow, ...]:
    return tuple(
        FormRow(str(c["name"]), float(c["median"]), float(c["weight"]), c.get("rolling_error_pct"))
        for c in forecast.components
    )


def history(table: RunTable, fitted: Fit) -> tuple[Cut, ...]:
    """Forecasts of the table's later best runs from its earlier runs alone, by the same method.

    A part that is too small for a law is passed over, so a small table may have no history; neither has a vast one.
    """
    from gnomon.forecast import Target, fit

    runs, best = fitted.runs, frontier(fitted)
    if len(runs) > HISTORY_RUNS:
        return ()
    later = np.flatnonzero(best)[np.argsort(runs.compute[best], kind="stable")]
    later = later[_even(len(later), MOST_CUTS + MOST_LOOKS)]
    made: list[Cut] = []
    for cut in runs.compute[later][::-1][1:]:
        if len(made) == MOST_CUTS:
            break
        kept = table["flops"] <= 1.1 * cut
        try:
            earlier = fit(table.select(kept), fitted.metric, draws=HISTORY_DRAWS)
        except GnomonError:
            break
        seen = float(earlier.runs.compute.max())
        ahead = [i for i in later if runs.compute[i] > 1.2 * seen]
        looks = []
        for i in np.array(ahead, dtype=int)[_even(len(ahead), MOST_LOOKS)]:
            at = Target(float(runs.compute[i]), float(runs.size[i]), float(runs.tokens[i]))
            q, came = earlier.predict(at).quantiles, float(runs.loss[i])
            error, low, high = (100 * (q[level] / came - 1) for level in ("0.5", "0.05", "0.95"))
            looks.append(Look(at.compute / seen, error, low, high, str(runs.ids[i])))
        if looks:
            made.append(Cut(seen, len(earlier.runs), tuple(looks)))
    return tuple(made)


def _even(count: int, most: int) -> np.ndarray:
    """At most `most` indices out of count, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.zeros(0, int)
