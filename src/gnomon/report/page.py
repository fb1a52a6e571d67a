"""The report as one HTML page that asks nobody for anything: styles, figures and a script of ten lines are inside it.

Text from outside (samples, file names, licences, findings) stays data: jinja2 escapes it, and the page's own
Content-Security-Policy allows no script but the one whose hash it names, and no request at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnomon.common.files import write_text
from gnomon.figures import (
    ComputeShare,
    EnvelopeRow,
    LossPoint,
    LossTable,
    PackedText,
    bits_bars,
    compute_to_scale,
    envelope,
    interval_shares,
    isoflop,
    learning_curves,
    loss_forecast,
    motif,
    numbers,
)
from gnomon.report import words
from gnomon.report.corpus import corpus_view
from gnomon.report.data import ReportData
from gnomon.report.sheet import sheet


def loss_table(data: ReportData) -> LossTable:
    """What the loss figure draws of a report."""
    f = data.headline
    points = tuple(LossPoint(r.compute, r.loss, r.minimum, r.parameters) for r in data.rungs if r.loss is not None)
    sealed = not data.registry.unregistered
    return LossTable(points, data.law, data.target.compute, f.interval, f.outcome, f.unit, sealed)


def packed_texts(data: ReportData) -> tuple[PackedText, ...]:
    """xz, the models, and the target or its forecast, on the headline's text; () without a yardstick."""
    if data.yardstick is None:
        return ()
    f = data.headline
    smallest = data.trained_rungs[0] if data.trained_rungs else None
    rows = [PackedText("packed by xz -9", data.yardstick.xz_bits_per_byte)]
    if smallest is not None and smallest.loss is not None:
        rows.append(PackedText("the smallest model", smallest.loss))
    rows.append(PackedText("the largest small model", f.last_point))
    target = ("the target", f.outcome) if f.outcome is not None else ("the target (forecast)", f.interval.median)
    return (*rows, PackedText(*target, target=True))


def figures(data: ReportData) -> dict[str, Any]:
    """Name -> (picture, caption); figures without data are absent."""
    made: dict[str, Any] = {}
    if any(r.loss is not None for r in data.rungs):
        made["loss"] = (loss_forecast(loss_table(data)), words.loss_caption(data))
    rows = tuple(EnvelopeRow(f.name, f.interval, f.outcome, f.last_point) for f in data.forecasts)
    made["envelope"] = (envelope(rows), words.envelope_caption(data))
    if any(v > 0 for v in data.shares.values()):
        made["shares"] = (interval_shares(data.shares), words.shares_caption(data))
    if any(b.points for b in data.isoflop):
        made["isoflop"] = (isoflop(data.isoflop, data.headline.unit), words.isoflop_caption(data))
    if any(len(c.compute) > 1 for c in data.learning):
        made["learning"] = (learning_curves(data.learning, data.headline.unit), words.learning_caption(data))
    share = ComputeShare(
        tuple(r.compute for r in data.rungs), data.target.compute, data.other_compute, data.target.trained
    )
    made["compute"] = (compute_to_scale(share), words.compute_caption(data))
    if data.yardstick is not None:
        made["bits"] = (bits_bars(packed_texts(data)), words.bits_caption(data))
    return made


def tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """The four numbers that sum the report up: (name, value, note)."""
    f, t = data.headline, data.target
    i = f.interval
    half = (i.high90 - i.low90) / 2 / i.median
    name = "fit" if data.registry.unregistered else "sealed forecast"
    made = [(name, f"{i.median:.3f}", f"{f.unit}, 90{numbers.PER_CENT} within ±{numbers.percent(half)}")]
    if f.outcome is not None:
        note = f"{f.unit}, standard error {f.outcome_stderr:.3f}" if f.outcome_stderr else f.unit
        made.append(("outcome", f"{f.outcome:.3f}", note))
    else:
        waiting = "not yet trained" if data.registry.unregistered else "still in the envelope"
        made.append(("outcome", "–", "the target diverged" if t.status == "diverged" else waiting))
    made.append(("target over largest rung", f"{words.times(data)}×", f"{numbers.count(t.parameters)} parameters"))
    if f.last_point_error_pct is not None:
        off = f"{abs(f.last_point_error_pct):.1f}{numbers.PER_CENT}"
        made.append(("guess without a law", off, "off, by the largest rung's number"))
    else:
        spent = (sum(r.compute for r in data.rungs) + data.other_compute) / t.compute
        made.append(("price of knowing", numbers.percent(spent), "of the target's compute"))
    return made


def render(data: ReportData, theme: str = "") -> str:
    """The page. theme: '' follows the reader's system; 'light' or 'dark' fixes it, as for a screenshot.

    Raises ValueError for another theme.
    """
    from markupsafe import Markup

    values = {
        "data": data,
        "figures": {name: (Markup(p.html()), caption) for name, (p, caption) in figures(data).items()},
        "verdict": words.verdict(data),
        "words": words,
        "tiles": tiles(data),
        "corpus": corpus_view(data.corpus),
        "samples_caption": words.samples_caption(data),
        "motif_row": Markup(motif.row(data.target.trained)),
    }
    return sheet("page.html", values, theme)


def write_report(data: ReportData, path: Path) -> None:
    """The page at path, whole or not at all, and beside it the JSON (same name) from which it can be built again."""
    from gnomon.report.data import save_report

    save_report(data, path.with_suffix(".json"))
    write_text(path, render(data))
