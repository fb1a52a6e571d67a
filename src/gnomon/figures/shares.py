"""What the interval is made of: one bar, one part for each cause of doubt, named beside its share."""

from __future__ import annotations

from gnomon.figures.numbers import PER_CENT, percent
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.svg import Drawing
from gnomon.figures.theme import ramp

NAMES = {
    "seed": "luck of the seed",
    "evaluation": "size of the test text",
    "minimum": "finding each best size",
    "form": "which law is true",
    "outcome": "the target's own luck",
}


def interval_shares(shares: dict[str, float]) -> Picture:
    """shares: cause -> part of the variance; they are drawn as parts of their sum. Raises ValueError when it is 0."""
    total = sum(v for v in shares.values() if v > 0)
    if total <= 0:
        raise ValueError("interval_shares: no share is above 0")
    parts = sorted(((NAMES.get(k, k), v / total) for k, v in shares.items() if v > 0), key=lambda p: -p[1])
    alt = "The interval's variance by cause: " + ", ".join(f"{name} {percent(share)}" for name, share in parts) + "."
    return picture("interval-shares", alt, lambda variant: _draw(parts, variant))


def _draw(parts: list[tuple[str, float]], variant: Variant) -> Drawing:
    columns = 1 if variant.narrow else min(3, len(parts))
    rows = -(-len(parts) // columns)
    font, bar, leading = variant.font, 26.0, variant.font * 1.9
    drawing = Drawing(variant.width, bar + 14 + rows * leading)
    left = 0.0
    for index, (name, share) in enumerate(parts):
        width = share * variant.width
        shade = ramp(len(parts) - 1 - index, len(parts))
        drawing.rect(left, 0, max(width - 1.5, 0.8), bar, f"fill-{shade}", f"{name}: {percent(share)}")
        left += width
        column, row = index // rows, index % rows
        x, y = column * variant.width / columns, bar + 14 + (row + 0.7) * leading
        drawing.rect(x, y - font * 0.78, 11, 11, f"fill-{shade}", round_=2)
        number = f"{share * 100:.0f}{PER_CENT}" if share >= 0.01 else f"<1{PER_CENT}"
        drawing.text(x + 19 + font * 3.4, y, number, font, "strong", "end")
        drawing.text(x + 19 + font * 4.2, y, name, font, "label")
    return drawing
