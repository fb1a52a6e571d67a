"""Learning curves: bits per byte while training, over the FLOPs spent, one line a run, labelled at its end."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.frame import Axis, Plot, plot
from gnomon.figures.labels import label
from gnomon.figures.numbers import power
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import log_ticks, padded, padded_log
from gnomon.figures.svg import Drawing, Point
from gnomon.figures.theme import ramp

MOST_POINTS = 160  # a line of more points looks the same and weighs more


@dataclass(frozen=True)
class LearningCurve:
    """One run. compute: FLOPs spent so far, ascending; loss: bits per byte, the same length."""

    label: str
    compute: tuple[float, ...]
    loss: tuple[float, ...]
    target: bool = False


def learning_curves(curves: tuple[LearningCurve, ...], unit: str = "bits per byte") -> Picture:
    """The figure. Raises ValueError when no run has two points."""
    drawn = tuple(c for c in curves if len(_points(c)) > 1)
    if not drawn:
        raise ValueError("learning_curves: no run has two points to draw")
    target = " and the target" if any(c.target for c in drawn) else ""
    alt = f"{unit} while training, over compute spent, for {sum(not c.target for c in drawn)} small models{target}."
    return picture("learning-curves", alt, lambda variant: _draw(drawn, unit, variant))


def _points(curve: LearningCurve) -> list[Point]:
    points = [(c, y) for c, y in zip(curve.compute, curve.loss, strict=True) if c > 0]
    if len(points) <= MOST_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]


def _draw(curves: tuple[LearningCurve, ...], unit: str, variant: Variant) -> Drawing:
    points = {id(c): _points(c) for c in curves}
    everything = [p for ps in points.values() for p in ps]
    low, high = padded_log([c for c, _ in everything], 0.02, 0.22 if variant.narrow else 0.14)
    bottom, top = padded([loss for _, loss in everything], 0.12, 0.04)
    ticks = tuple(log_ticks(low, high, 4 if variant.narrow else 7))
    x_axis = Axis(low, high, "FLOPs spent so far", True, (power,), ticks)
    frame = plot(variant, 380 if variant.narrow else 430, x_axis, Axis(bottom, top, f"{unit} (lower is better)"))
    rungs = sorted((c for c in curves if not c.target), key=lambda c: c.compute[-1])
    ends: list[tuple[Point, LearningCurve]] = []
    for index, curve in enumerate(rungs):
        ends.append((_line(frame, points[id(curve)], f"line-{ramp(index, len(rungs))}", curve.label), curve))
    targets = [c for c in curves if c.target]
    for curve in targets:
        end = _line(frame, points[id(curve)], "outcome-line", curve.label)
        frame.drawing.diamond(*end, 7, "outcome")
        label(frame.drawing, frame.placer, end, [(curve.label, "accent strong")], variant.font, 270)
    _label_rungs(frame, ends, variant)
    return frame.drawing


def _line(frame: Plot, points: list[Point], kind: str, name: str) -> Point:
    line = [(frame.x(c), frame.y(loss)) for c, loss in points]
    frame.drawing.polyline(line, kind, name)
    frame.placer.avoid_line(line)
    frame.placer.avoid(*line[-1], 2)
    return line[-1]


def _label_rungs(frame: Plot, ends: list[tuple[Point, LearningCurve]], variant: Variant) -> None:
    """The last and the first run always, those between where there is room."""
    if not ends:
        return
    order = [len(ends) - 1, 0, *range(len(ends) - 2, 0, -1)] if len(ends) > 1 else [0]
    for rank, index in enumerate(order):
        end, curve = ends[index]
        label(frame.drawing, frame.placer, end, [(curve.label, "soft")], variant.font, 225, optional=rank > 1)
