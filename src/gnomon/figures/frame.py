"""Axes: the plot area of a drawing, its grid, its ticks, and titles that stand level above and below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gnomon.figures.labels import Placer
from gnomon.figures.picture import Variant
from gnomon.figures.scale import Scale, tick_text
from gnomon.figures.svg import Drawing
from gnomon.figures.text import Box, text_width


@dataclass(frozen=True)
class Axis:
    """low..high in data units. lines: one or two functions from a tick to its text ('' for none), the first nearest."""

    low: float
    high: float
    title: str
    log: bool = False
    lines: tuple[Callable[[float], str], ...] = ()
    ticks: tuple[float, ...] = ()  # these, instead of round values


@dataclass(frozen=True)
class Plot:
    """A drawing with axes: where data go, and what labels must keep clear of."""

    drawing: Drawing
    x: Scale
    y: Scale
    area: Box
    placer: Placer


def plot(variant: Variant, height: float, x_axis: Axis, y_axis: Axis, right: float = 12.0) -> Plot:
    """Draw an empty plot. height: of the whole drawing; right: margin for what stands right of the data."""
    font = variant.font
    drawing = Drawing(variant.width, height)
    y_texts = _y_texts(y_axis, 4 if variant.narrow else 6)
    left = max((text_width(text, font) for _, text in y_texts), default=0.0) + 10
    top, leading = font * 2.0, font * 1.4
    rows = max(1, len(x_axis.lines))
    area = Box(left, top, variant.width - right, height - leading * (rows + 1) - 6)
    x = Scale(x_axis.low, x_axis.high, area.left, area.right, x_axis.log)
    y = Scale(y_axis.low, y_axis.high, area.bottom, area.top, y_axis.log)
    for value, text in y_texts:
        drawing.line(area.left, y(value), area.right, y(value), "grid")
        drawing.text(left - 8, y(value) + font * 0.35, text, font, "soft", "end")
    drawing.line(area.left, area.bottom, area.right, area.bottom, "axis")
    drawing.text(0, font, y_axis.title, font, "soft")
    _x_ticks(drawing, variant, x, x_axis, area, leading)
    drawing.text(area.right, area.bottom + 4 + leading * (rows + 1), x_axis.title, font, "soft", "end")
    inner = Box(area.left + 3, area.top + 2, variant.width - 2, area.bottom - 3)
    return Plot(drawing, x, y, area, Placer(inner))


def _y_texts(axis: Axis, wanted: int) -> list[tuple[float, str]]:
    ticks = list(axis.ticks) or Scale(axis.low, axis.high, 0, 1, axis.log).ticks(wanted)
    text = axis.lines[0] if axis.lines else lambda value: tick_text(value, ticks)
    return [(value, text(value)) for value in ticks]


def _x_ticks(drawing: Drawing, variant: Variant, x: Scale, axis: Axis, area: Box, leading: float) -> None:
    """As many ticks as have room for their texts, the last one first: at the right end stands what matters."""
    ticks = [v for v in (axis.ticks or x.ticks(4 if variant.narrow else 7)) if x.holds(v)]
    lines = axis.lines or (lambda value: tick_text(value, ticks),)
    taken = variant.width + 8.0
    for value in reversed(ticks):
        texts = [line(value) for line in lines]
        half = max(text_width(text, variant.font) for text in texts) / 2
        place = x(value)
        middle = min(max(place, half), variant.width - half)
        if middle + half + 8 > taken:
            continue
        taken = middle - half
        drawing.line(place, area.bottom, place, area.bottom + 4, "axis")
        for row, text in enumerate(texts):
            if text:
                baseline = area.bottom + 4 + leading * (row + 0.9)
                drawing.text(middle, baseline, text, variant.font, "label" if row == 0 else "soft", "middle")
