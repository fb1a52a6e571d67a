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
    line = _cut([(frame.x(s), frame.y(p)) for s, p in curve.points], frame.area.top)
    if len(line) > 1:
        frame.drawing.polyline(line, f"line-{shade}")
        frame.placer.avoid_line(line)
    inside = [(s, p) for s, p in curve.points if p <= frame.y.high]
    for setting, above in inside:
        x, y = frame.x(setting), frame.y(above)
        frame.drawing.dot(x, y, 3.2, f"fill-{shade}", f"{curve.label}, {setting:.3g}: {above:.2f} % above its best")
        frame.placer.avoid(x, y, 2)
    return line[0]


def _cut(places: list[Point], top: float) -> list[Point]:
    """The part of a valley's line below the top of the paper, with the points where it comes in and goes out."""
    inside = [i for i, (_, y) in enumerate(places) if y >= top]
    first, last = inside[0], inside[-1]

    def crossing(within: Point, outside: Point) -> Point:
        share = (within[1] - top) / (within[1] - outside[1])
        return within[0] + share * (outside[0] - within[0]), top

    before = [crossing(places[first], places[first - 1])] if first else []
    after = [crossing(places[last], places[last + 1])] if last + 1 < len(places) else []
    return [*before, *((x, max(y, top)) for x, y in places[first : last + 1]), *after]
