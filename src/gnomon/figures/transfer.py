"""How well a tuned setting carries over: per cent above each size's own best, over the setting, one line a size."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.frame import Axis, Plot, plot
from gnomon.figures.labels import label
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import padded_log
from gnomon.figures.svg import Drawing, Point
from gnomon.figures.theme import ramp

HIGHEST = 6.0  # per cent; what is worse by more is out of the question and out of the picture


@dataclass(frozen=True)
class TransferCurve:
    """One size. points: (setting, per cent above its own best), in order of the setting."""

    label: str
    points: tuple[tuple[float, float], ...]


def transfer_curves(curves: tuple[TransferCurve, ...], setting: str) -> Picture:
    """The figure. Raises ValueError when no size has two points."""
    drawn = tuple(c for c in curves if len(c.points) > 1)
    if not drawn:
        raise ValueError("transfer_curves: no size has two points to draw")
    alt = f"Loss above each size's own best over the {setting}, for {len(drawn)} sizes; valleys at one place transfer."
    return picture("transfer", alt, lambda variant: _draw(drawn, setting, variant))


def _draw(curves: tuple[TransferCurve, ...], setting: str, variant: Variant) -> Drawing:
    settings = sorted({s for curve in curves for s, _ in curve.points})
    low, high = padded_log(settings, 0.04, 0.04)
    top = min(HIGHEST, max(p for curve in curves for _, p in curve.points)) * 1.08
    x_axis = Axis(low, high, setting, log=True, lines=(lambda v: f"{v:.2g}",), ticks=tuple(settings))
    y_axis = Axis(-0.04 * top, max(top, 0.1), "loss above its own best, %")
    frame = plot(variant, 380 if variant.narrow else 430, x_axis, y_axis)
    ends = [_line(frame, curve, f"{ramp(i, len(curves))}") for i, curve in enumerate(curves)]
    for end, curve in zip(ends, curves, strict=True):
        label(frame.drawing, frame.placer, end, [(curve.label, "label")], variant.font, 180)
    return frame.drawing


def _line(frame: Plot, curve: TransferCurve, shade: str) -> Point:
    """Draw one size; returns where its label belongs: its leftmost point in sight."""
    inside = [(s, p) for s, p in curve.points if p <= frame.y.high]
    places = [(frame.x(s), frame.y(p)) for s, p in inside]
    if len(places) > 1:
        frame.drawing.polyline(places, f"line-{shade}")
        frame.placer.avoid_line(places)
    for (setting, above), (x, y) in zip(inside, places, strict=True):
        frame.drawing.dot(x, y, 3.2, f"fill-{shade}", f"{curve.label}, {setting:.3g}: {above:.2f} % above its best")
        frame.placer.avoid(x, y, 2)
    return places[0]
