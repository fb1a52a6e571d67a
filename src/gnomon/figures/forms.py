"""Which law said what, and how much it counts: each law's own forecast on one ruler, before the combined interval."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.loss import Interval
from gnomon.figures.numbers import PER_CENT, percent, weight
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import Scale, linear_ticks, tick_text
from gnomon.figures.svg import Drawing
from gnomon.figures.text import text_width

MOST_ROWS = 10
RULER = 0.68  # on narrow paper a row's ruler stands this far down, below its name
REACH = 2.2  # the ruler goes this many half-widths to either side, when a law lies that far out


@dataclass(frozen=True)
class FormRow:
    """One law. tried: its error in per cent when the table's own top was hidden from it; None: it was not tried."""

    name: str
    median: float
    weight: float
    tried: float | None = None


def forms(rows: tuple[FormRow, ...], combined: Interval, unit: str = "") -> Picture:
    """The figure, laws by weight. Raises ValueError without a law."""
    ordered = sorted(rows, key=lambda row: -row.weight)
    if not ordered:
        raise ValueError("forms: no law to draw")
    first = ordered[0]
    alt = (
        f"{first.name} counts most, with weight {percent(first.weight)}; it says {first.median:.3f}. "
        f"All together ({len(rows)}) say {combined.median:.3f}{' ' + unit if unit else ''}, "
        f"90 % between {combined.low90:.3f} and {combined.high90:.3f}."
    )
    rest = ordered[MOST_ROWS:]
    return picture("forms", alt, lambda variant: _draw(ordered[:MOST_ROWS], rest, combined, unit, variant))


def _draw(rows: list[FormRow], rest: list[FormRow], combined: Interval, unit: str, variant: Variant) -> Drawing:
    font = variant.font
    block = font * (4.4 if variant.narrow else 3.1)
    top, ground = font * 3.2, font * 3.2 + block * len(rows)
    drawing = Drawing(variant.width, ground + font * (4.6 if rest else 3.1))
    column = 0.0 if variant.narrow else min(variant.width * 0.42, _column(rows, font))
    low, high = _range(rows, combined)
    ticks = linear_ticks(low, high, 4 if variant.narrow else 6)
    edge = max(text_width(tick_text(t, ticks), font) for t in ticks) / 2
    x = Scale(low, high, column + edge, variant.width - edge)
    for low, high, kind in (
        (combined.low90, combined.high90, "band-outer"),
        (combined.low50, combined.high50, "band-inner"),
    ):
        for start, end in _bands(len(rows), top, ground, block, variant):
            drawing.rect(x(low), start, x(high) - x(low), end - start, kind)
    for tick in ticks:
        drawing.line(x(tick), ground, x(tick), ground + 4, "axis")
        drawing.text(x(tick), ground + 4 + font * 0.95, tick_text(tick, ticks), font, "soft", "middle")
    drawing.line(x.start, ground, x.end, ground, "axis")
    for start, end in _bands(len(rows), top, ground, block, variant):
        drawing.line(x(combined.median), start, x(combined.median), end, "curve")
    text = f"all together: {combined.median:.3f} {unit}".strip()
    half = text_width(text, font, True) / 2
    middle = min(max(x(combined.median), half), variant.width - half)
    drawing.text(middle, font, text, font, "strong", "middle")
    _band_words(drawing, combined, x, top, font, variant.width)
    for index, row in enumerate(rows):
        _row(drawing, row, x, top + index * block, block, font, index == 0, variant, combined.median)
    if rest:
        share = percent(sum(row.weight for row in rest))
        drawing.text(0, ground + font * 3.9, f"{len(rest)} more laws, {share} of the weight together", font, "soft")
    return drawing


def _bands(rows: int, top: float, ground: float, block: float, variant: Variant) -> list[tuple[float, float]]:
    """Where the interval is drawn: behind all rows, or, where names stand above the rulers, behind each ruler."""
    if not variant.narrow:
        return [(top, ground)]
    middles = [top + (index + RULER) * block for index in range(rows)]
    return [(middle - variant.font * 0.95, middle + variant.font * 0.95) for middle in middles]


def _band_words(drawing: Drawing, combined: Interval, x: Scale, top: float, font: float, width: float) -> None:
    text = f"90{PER_CENT}: {combined.low90:.3f}–{combined.high90:.3f}"
    half = text_width(text, font) / 2
    drawing.text(min(max(x(combined.median), half), width - half), top - font * 0.7, text, font, "soft", "middle")


def _range(rows: list[FormRow], combined: Interval) -> tuple[float, float]:
    half = max((combined.high90 - combined.low90) / 2, abs(combined.median) * 1e-4)
    far = max([abs(row.median - combined.median) for row in rows] + [half]) * 1.12
    reach = min(far, REACH * half)
    return combined.median - max(reach, half * 1.12), combined.median + max(reach, half * 1.12)


def _column(rows: list[FormRow], font: float) -> float:
    names = max(text_width(row.name, font, row is rows[0]) for row in rows)
    return max(names, max(text_width(_words(row), font) for row in rows)) + 20


def _words(row: FormRow) -> str:
    tried = f", {row.tried:.1f}{PER_CENT} off when tried" if row.tried is not None else ", not tried"
    return f"weight {weight(row.weight)}{tried}"


def _row(
    drawing: Drawing,
    row: FormRow,
    x: Scale,
    top: float,
    block: float,
    font: float,
    best: bool,
    variant: Variant,
    median: float,
) -> None:
    """One law on its ruler; its number stands where the line of the combined median does not run through it."""
    drawing.text(0, top + font * 1.25, row.name, font, "strong" if best else "label")
    if variant.narrow:
        drawing.text(variant.width, top + font * 1.25, f"weight {weight(row.weight)}", font, "soft", "end")
    else:
        drawing.text(0, top + font * 2.45, _words(row), font, "soft")
    y = top + block * (RULER if variant.narrow else 0.5)
    drawing.line(x.start, y, x.end, y, "grid")
    inside = x.holds(row.median)
    place = min(max(x(row.median), x.start), x.end)
    radius = 3.0 + 6.0 * row.weight**0.5
    tip = f"{row.name} says {row.median:.4f}, {_words(row)}"
    drawing.dot(place, y, radius, "dot-strong" if inside else "dot-hollow", tip)
    text = f"{row.median:.3f}"
    if not inside:
        text = f"{text} →" if row.median > x.high else f"← {text}"
    right = place + radius + 6
    end = right + text_width(text, font)
    crossed = right - 3 < x(median) < end + 3 and place - radius - 9 - (end - right) > x.start
    if end <= variant.width - 2 and not crossed:
        drawing.text(right, y + font * 0.35, text, font, "label")
    else:
        drawing.text(place - radius - 6, y + font * 0.35, text, font, "label", "end")
