"""The envelope, opened: each outcome against its sealed interval, in per cent of the forecast, all on one ruler."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.loss import Interval
from gnomon.figures.numbers import PER_CENT
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import Scale, linear_ticks, padded
from gnomon.figures.svg import Drawing
from gnomon.figures.text import text_width


@dataclass(frozen=True)
class EnvelopeRow:
    """One forecast. last_point: what the largest small model reached, the guess without a law."""

    name: str
    forecast: Interval
    outcome: float | None = None
    last_point: float | None = None

    def off(self, value: float) -> float:
        """value against the forecast's median, in per cent of it."""
        return (value / self.forecast.median - 1) * 100

    def error(self, value: float) -> str:
        """How far the forecast was off, in per cent of what was measured: '0.8 %'."""
        return f"{abs(self.forecast.median / value - 1) * 100:.1f}{PER_CENT}"


def signed(percentage: float) -> str:
    """-1.24 as '−1.2 %', 0 as '0 %'."""
    text = f"{abs(percentage):.1f}{PER_CENT}"
    return text if float(f"{percentage:.1f}") == 0 else ("+" if percentage > 0 else "−") + text


def envelope(rows: tuple[EnvelopeRow, ...]) -> Picture:
    """The figure. Raises ValueError without rows."""
    if not rows:
        raise ValueError("envelope: no forecast to draw")
    words = []
    for row in rows:
        inside = ""
        if row.outcome is not None:
            held = "inside" if row.forecast.holds(row.outcome) else "outside"
            inside = f"; outcome {row.outcome:.3f}, {signed(row.off(row.outcome))}, {held}"
        words.append(f"{row.name}: forecast {row.forecast.median:.3f}{inside}.")
    return picture("envelope", " ".join(words), lambda variant: _draw(rows, variant))


def _range(rows: tuple[EnvelopeRow, ...]) -> tuple[float, float]:
    """The ruler: intervals and outcomes always, the last point only when it is near."""
    values = [row.off(v) for row in rows for v in (row.forecast.low90, row.forecast.high90)]
    values += [row.off(row.outcome) for row in rows if row.outcome is not None]
    reach = max(abs(v) for v in values) or 1.0
    return padded([-reach, reach], 0.08, 0.08)


def _draw(rows: tuple[EnvelopeRow, ...], variant: Variant) -> Drawing:
    font = variant.font
    block = font * 6.6
    drawing = Drawing(variant.width, block * len(rows) + font * 2.6)
    low, high = _range(rows)
    edge = text_width("−10 %", font) / 2
    scale = Scale(low, high, edge, variant.width - edge)
    ground = block * len(rows) - font * 0.8
    drawing.line(scale.start, ground, scale.end, ground, "axis")
    ticks = linear_ticks(low, high, 4 if variant.narrow else 8)
    for tick in ticks:
        for index in range(len(rows)):
            middle = index * block + font * 2.9
            drawing.line(scale(tick), middle - 13, scale(tick), middle + 13, "grid")
        drawing.line(scale(tick), ground, scale(tick), ground + 4, "axis")
        text = "forecast" if tick == 0 else f"{tick:+g} %".replace("-", "−")
        drawing.text(scale(tick), ground + font * 1.5, text, font, "soft", "middle")
    drawing.text(variant.width, ground + font * 2.9, "difference from the forecast", font, "soft", "end")
    for index, row in enumerate(rows):
        _row(drawing, row, scale, variant, index * block)
    return drawing


def _row(drawing: Drawing, row: EnvelopeRow, scale: Scale, variant: Variant, top: float) -> None:
    font, f = variant.font, row.forecast
    drawing.text(0, top + font, row.name, font, "strong")
    y = top + font * 2.9
    for low, high, kind, tip in ((f.low90, f.high90, "outer", "90 %"), (f.low50, f.high50, "inner", "50 %")):
        left, right = scale(row.off(low)), scale(row.off(high))
        drawing.rect(left, y - 8, right - left, 16, f"band-{kind}", f"{tip} interval", round_=3)
    drawing.line(scale(0), y - 11, scale(0), y + 11, "sealed-outer")
    if row.outcome is None:
        text = f"sealed: {f.median:.3f}, 90 % between {f.low90:.3f} and {f.high90:.3f}"
        if variant.narrow:
            text = f"sealed: {f.median:.3f} ({f.low90:.3f}–{f.high90:.3f})"
        drawing.text(0, y + font * 2.0, text, font, "soft")
        return
    x = scale(row.off(row.outcome))
    drawing.diamond(x, y, 8, "outcome", f"outcome: {row.outcome:.4f}")
    text = f"{row.outcome:.3f}, {'inside' if f.holds(row.outcome) else 'outside'}"
    half = text_width(text, font, True) / 2
    middle = min(max(x, half), variant.width - half)
    drawing.text(middle, y + font * 2.0, text, font, "accent strong", "middle")
