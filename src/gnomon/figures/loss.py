"""The loss forecast, drawn as the GPT-4 report draws it (arXiv:2303.08774, Figure 1).

Compute relative to the target runs to the right, the target stands at 1. The rungs that were trained are dots, the law
fitted to them a dashed line with its interval, and at 1 stand the sealed forecast and, once known, the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.frame import Axis, Plot, plot
from gnomon.figures.labels import label
from gnomon.figures.numbers import PER_CENT, count, fraction, power
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import padded, padded_log
from gnomon.figures.svg import Drawing

INSIST = 16.0  # the outcome's label above, the forecast's below, or the other way: as they stand to each other
CLEAR = 12.0  # around the marks at the target, caps of the interval included


@dataclass(frozen=True)
class LossPoint:
    """One trained rung. compute: FLOPs; loss: in the table's unit; minimum: the best of its budget; name: the run."""

    compute: float
    loss: float
    minimum: bool = False
    parameters: float | None = None
    tokens: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Interval:
    """Quantiles of a forecast at one compute: the median, the middle half, and the middle 90 %."""

    median: float
    low50: float
    high50: float
    low90: float
    high90: float

    def holds(self, value: float) -> bool:
        """Whether value lies in the middle 90 %, ends included."""
        return self.low90 <= value <= self.high90


@dataclass(frozen=True)
class LossTable:
    """What the figure draws. law: the fitted curve as (compute in FLOPs, interval), ascending."""

    points: tuple[LossPoint, ...]
    law: tuple[tuple[float, Interval], ...]
    target_compute: float
    forecast: Interval | None = None
    outcome: float | None = None
    unit: str = "bits per byte"
    sealed: bool = True  # False: the forecast was never registered, and is called a fit
    best: str = "best of its budget"  # what a minimum is called, and what the other dots are
    other: str = "a small model"
    top: float | None = None  # dots above this loss are drawn hollow at the upper edge, so that the rest has room


def loss_forecast(table: LossTable) -> Picture:
    """The figure. Raises ValueError without a point to draw."""
    if not table.points:
        raise ValueError("loss_forecast: no rung to draw")
    return picture("loss-forecast", _alt(table), lambda variant: _draw(table, variant))


def _alt(table: LossTable) -> str:
    noun = "small model" if table.other == LossTable.other else "run"
    many = f"{len(table.points)} {noun}{'s' if len(table.points) > 1 else ''}"
    words = [f"{table.unit} against compute for {many} and the law fitted to them."]
    if table.forecast is not None:
        f = table.forecast
        kind = "Sealed forecast" if table.sealed else "Fit"
        words.append(f"{kind} for the target: {f.median:.3f}, 90 % interval {f.low90:.3f} to {f.high90:.3f}.")
    if table.outcome is not None:
        words.append(f"Outcome: {table.outcome:.3f}.")
    return " ".join(words)


def _axes(table: LossTable, variant: Variant) -> tuple[Axis, Axis]:
    target = table.target_compute
    computes = [p.compute / target for p in table.points] + [1.0]
    losses = [p.loss for p in table.points if table.top is None or p.loss <= table.top]
    if table.forecast is not None:
        losses += [table.forecast.low90, table.forecast.high90]
    if table.outcome is not None:
        losses.append(table.outcome)
    title = "compute, as a share of the target's, and in FLOPs"
    low, high = padded_log(computes, 0.05, 0.14)
    bottom, top = padded(losses, 0.36 if variant.narrow else 0.2, 0.06)
    x_axis = Axis(
        low,
        high,
        "share of the target's compute; FLOPs" if variant.narrow else title,
        log=True,
        lines=(fraction, lambda share: power(share * target)),
    )
    return x_axis, Axis(bottom, top, f"{table.unit} (lower is better)")


def _draw(table: LossTable, variant: Variant) -> Drawing:
    x_axis, y_axis = _axes(table, variant)
    frame = plot(variant, 400 if variant.narrow else 460, x_axis, y_axis)
    _law(frame, table)
    _rungs(frame, table)
    _target(frame, table)
    _labels(frame, table, variant)
    return frame.drawing


def _law(frame: Plot, table: LossTable) -> None:
    """The curve and its fan, clipped to the plot's range of loss."""

    def place(compute: float, loss: float) -> tuple[float, float]:
        return frame.x(compute / table.target_compute), min(max(frame.y(loss), frame.area.top), frame.area.bottom)

    inside = [(c, i) for c, i in table.law if frame.x.holds(c / table.target_compute)]
    if len(inside) < 2:
        return
    for low, high, kind in (("low90", "high90", "band-outer"), ("low50", "high50", "band-inner")):
        upper = [place(c, getattr(i, high)) for c, i in inside]
        lower = [place(c, getattr(i, low)) for c, i in inside]
        frame.drawing.area(upper, lower, kind)
    curve = [place(c, i.median) for c, i in inside if frame.y.holds(i.median)]
    frame.drawing.polyline(curve, "curve")
    frame.placer.avoid_line(curve)
    for compute, i in inside:  # unseen marks that tell their place on the curve to who points at them
        text = f"the law at {power(compute)} FLOPs: {i.median:.3f}, 90 % between {i.low90:.3f} and {i.high90:.3f}"
        frame.drawing.dot(*place(compute, i.median), 4, "reader", text)


def _rungs(frame: Plot, table: LossTable) -> None:
    for point in sorted(table.points, key=lambda p: p.minimum):
        x, y = frame.x(point.compute / table.target_compute), frame.y(point.loss)
        above = y < frame.area.top
        name = f"{point.name}: " if point.name else ""
        size = f"{count(point.parameters)} parameters, " if point.parameters else ""
        size += f"{count(point.tokens)} tokens, " if point.tokens else ""
        tip = f"{name}{size}{power(point.compute)} FLOPs: {point.loss:.3f} {table.unit}"
        y = max(y, frame.area.top)
        kind = "dot-hollow" if above else "dot-strong" if point.minimum else "dot-faint"
        frame.drawing.dot(x, y, 5 if point.minimum else 3.6, kind, tip)
        frame.placer.avoid(x, y, 2)


def _target(frame: Plot, table: LossTable) -> None:
    """At compute 1: the interval as a bar, the sealed median as a ring, the outcome as a diamond on top."""
    x, drawing = frame.x(1.0), frame.drawing
    drawing.line(x, frame.area.top, x, frame.area.bottom, "rule-target")
    frame.placer.avoid_line([(x, frame.area.top), (x, frame.area.bottom)])
    if table.forecast is not None:
        f = table.forecast
        drawing.line(x, frame.y(f.low90), x, frame.y(f.high90), "sealed-outer")
        drawing.line(x, frame.y(f.low50), x, frame.y(f.high50), "sealed-inner")
        for end in (f.low90, f.high90):
            drawing.line(x - 9, frame.y(end), x + 9, frame.y(end), "sealed-outer")
            frame.placer.avoid(x, frame.y(end), 2)
        drawing.dot(x, frame.y(f.median), 6, "sealed", f"{f.median:.4f} {table.unit}")
        frame.placer.avoid_line([(x, frame.y(f.high90)), (x, frame.y(f.low90))])
        frame.placer.keep_clear(x, frame.y(f.median), CLEAR)
    if table.outcome is not None:
        drawing.diamond(x, frame.y(table.outcome), 7.5, "outcome", f"outcome: {table.outcome:.4f} {table.unit}")
        frame.placer.keep_clear(x, frame.y(table.outcome), CLEAR)


def _labels(frame: Plot, table: LossTable, variant: Variant) -> None:
    size, share = variant.font, table.target_compute
    x = frame.x(1.0)
    above = table.forecast is None or table.outcome is None or table.outcome > table.forecast.median
    if table.outcome is not None:
        mark = (x, frame.y(table.outcome))
        lines = [("outcome", "accent strong"), (f"{table.outcome:.3f}", "accent strong")]
        label(frame.drawing, frame.placer, mark, lines, size, 115 if above else 230, insist=INSIST)
    if table.forecast is not None:
        f = table.forecast
        name = "sealed forecast" if table.sealed else "fit, never sealed"
        interval = f"90{PER_CENT}: {f.low90:.3f}–{f.high90:.3f}"
        lines = [(name, "strong"), (f"{f.median:.3f}", "strong"), (interval, "soft")]
        label(frame.drawing, frame.placer, (x, frame.y(f.median)), lines, size, 215 if above else 130, insist=INSIST)
    minima = [p for p in table.points if p.minimum]
    if minima:
        middle = sorted(minima, key=lambda p: p.compute)[len(minima) // 2]
        mark = (frame.x(middle.compute / share), frame.y(middle.loss))
        label(frame.drawing, frame.placer, mark, [(table.best, "label")], size, 225)
    others = [p for p in table.points if not p.minimum and frame.y.holds(p.loss)]
    if others:
        highest = max(others, key=lambda p: p.loss)
        mark = (frame.x(highest.compute / share), frame.y(highest.loss))
        label(frame.drawing, frame.placer, mark, [(table.other, "soft")], size, 10, optional=True)
    if len(table.law) >= 4:
        law = sorted(table.law, key=lambda item: abs(item[0] / share - 0.12))[0]
        mark = (frame.x(law[0] / share), frame.y(law[1].median))
        label(frame.drawing, frame.placer, mark, [("the law, fitted to the dots", "soft")], size, 45, optional=True)
