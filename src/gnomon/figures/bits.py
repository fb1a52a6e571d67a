"""Bits per byte beside what everybody knows: the same text raw, packed by `xz -9`, and predicted by the models."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.svg import Drawing
from gnomon.figures.text import text_width

RAW = 8.0  # a byte is eight bits


@dataclass(frozen=True)
class PackedText:
    """One way to store the same text, in bits per byte of it."""

    name: str
    bits_per_byte: float
    target: bool = False


def bits_bars(rows: tuple[PackedText, ...]) -> Picture:
    """The figure: the raw text first, then rows as given. Raises ValueError without rows."""
    if not rows:
        raise ValueError("bits_bars: nothing to compare")
    everything = (PackedText("the text as it is", RAW), *rows)
    alt = "Bits per byte: " + ", ".join(f"{r.name} {r.bits_per_byte:.2f}" for r in everything) + "."
    return picture("bits-per-byte", alt, lambda variant: _draw(everything, variant))


def _draw(rows: tuple[PackedText, ...], variant: Variant) -> Drawing:
    """Names beside the bars where there is room, above them on a phone."""
    font = variant.font
    names = 0.0 if variant.narrow else max(text_width(r.name, font, r.target) for r in rows) + 16
    step, bar = (font * 3.1, font * 1.1) if variant.narrow else (font * 2.3, font * 1.35)
    drawing = Drawing(variant.width, step * len(rows))
    numbers = text_width("8.00", font, True) + 8
    unit = (variant.width - names - numbers) / max(r.bits_per_byte for r in rows)
    for index, row in enumerate(rows):
        top = index * step + (font * 1.45 if variant.narrow else (step - bar) / 2)
        kind = "accent strong" if row.target else "label"
        if variant.narrow:
            drawing.text(0, top - font * 0.4, row.name, font, kind)
        else:
            drawing.text(names - 16, top + bar * 0.7, row.name, font, kind, "end")
        width = unit * row.bits_per_byte
        drawing.rect(names, top, width, bar, "bar-accent" if row.target else "bar", round_=2)
        place = names + width + 8
        drawing.text(place, top + bar * 0.7 + (font * 0.1), f"{row.bits_per_byte:.2f}", font, "strong")
    return drawing
