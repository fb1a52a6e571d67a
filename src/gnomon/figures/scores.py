"""Scores with what is not known of them: a row a task, a dot for the value, a bar for its interval, a tick for chance.

Several models share a row, one above the other, so that what is compared stands together.
"""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.numbers import PER_CENT
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import Scale
from gnomon.figures.svg import Drawing
from gnomon.figures.text import text_width


@dataclass(frozen=True)
class ScoreMark:
    """One model on one task: shares between 0 and 1."""

    model: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScoreRow:
    """chance: what guessing earns; 0 is not drawn."""

    task: str
    chance: float
    marks: tuple[ScoreMark, ...]


def scores(rows: tuple[ScoreRow, ...]) -> Picture:
    """The figure. Raises ValueError without a row."""
    if not rows:
        raise ValueError("scores: no task to draw")
    told = [f"{r.task} {r.marks[0].value * 100:.1f}{PER_CENT}" for r in rows[:12]]
    return picture("scores", "Scores by task with 95 % intervals: " + ", ".join(told) + ".", lambda v: _draw(rows, v))


def _draw(rows: tuple[ScoreRow, ...], variant: Variant) -> Drawing:
    font = variant.font
    models = list(dict.fromkeys(mark.model for row in rows for mark in row.marks))
    leading, pad = font * 1.15, font * 0.9
    name_width = max(text_width(row.task, font, True) for row in rows) + 14
    above = variant.narrow  # names stand above their rows where there is no room beside them
    left = 4.0 if above else name_width
    right = text_width("100.0", font) + 14
    heights = [max(1, len(row.marks)) * leading + pad + (font * 1.3 if above else 0) for row in rows]
    legend = font * 1.6 * len(models) if len(models) > 1 else 0.0
    top = legend + font * 1.6
    drawing = Drawing(variant.width, top + sum(heights) + 4)
    x = Scale(0.0, 1.0, left, variant.width - right)
    for i, model in enumerate(models if len(models) > 1 else []):
        drawing.dot(8, font * 0.7 + i * font * 1.6, 5, _shade(i, len(models)))
        drawing.text(20, font * 1.05 + i * font * 1.6, model, font, "label")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line(x(tick), top - 2, x(tick), top + sum(heights), "grid")
        drawing.text(x(tick), top - 6, f"{tick * 100:.0f}{PER_CENT}", font, "soft", "middle" if tick else "start")
    y = top
    for row, height in zip(rows, heights, strict=True):
        first = y + pad / 2 + (font * 1.3 if above else 0)
        name_y = y + font if above else first + len(row.marks) * leading / 2 + font * 0.35
        drawing.text(0, name_y, row.task, font, "strong")
        if row.chance:
            drawing.line(x(row.chance), first, x(row.chance), first + len(row.marks) * leading, "rule-target")
        for i, mark in enumerate(row.marks):
            _mark(drawing, x, first + (i + 0.5) * leading, mark, _shade(models.index(mark.model), len(models)), variant)
        y += height
    return drawing


def _shade(index: int, count: int) -> str:
    return "dot-strong" if count == 1 else f"fill-{1 + round(5 * index / max(1, count - 1))}"


def _mark(drawing: Drawing, x: Scale, y: float, mark: ScoreMark, shade: str, variant: Variant) -> None:
    tip = f"{mark.model}: {mark.value * 100:.1f}{PER_CENT}, between {mark.low * 100:.1f} and {mark.high * 100:.1f}"
    drawing.line(x(max(0.0, mark.low)), y, x(min(1.0, mark.high)), y, "sealed-outer")
    drawing.dot(x(mark.value), y, 4.5, shade, tip)
    drawing.text(variant.width, y + variant.font * 0.35, f"{mark.value * 100:.1f}", variant.font, "label", "end")
