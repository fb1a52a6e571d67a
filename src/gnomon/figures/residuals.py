"""How far each law misses the runs it was fitted to: a small panel a law, per cent over compute, best weight first."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.numbers import PER_CENT, percent, power, weight
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import Scale, linear_ticks, log_ticks, padded_log, tick_text
from gnomon.figures.svg import Drawing
from gnomon.figures.text import text_width

MOST_PANELS = 6
FEW = 8  # runs; the panel of a law of minima alone says little about what the others need
TAIL = 4.0  # a dot beyond this many times the 90th percentile is drawn hollow at the edge


@dataclass(frozen=True)
class ResidualPanel:
    """One law. weight: its share of the forecast. points: (compute, per cent above the law, what the run is called)."""

    name: str
    weight: float
    points: tuple[tuple[float, float, str], ...]


def residuals(panels: tuple[ResidualPanel, ...]) -> Picture:
    """The figure, of the laws with most weight. Raises ValueError without a point."""
    drawn = tuple(sorted((p for p in panels if p.points), key=lambda p: -p.weight)[:MOST_PANELS])
    if not drawn:
        raise ValueError("residuals: no law with a run to draw")
    first = drawn[0]
    typical = sorted(abs(off) for _, off, _ in first.points)[len(first.points) // 2]
    alt = (
        f"How far the runs lie from a law, in per cent, for {len(drawn)} of them. {first.name}, with weight "
        f"{percent(first.weight)}, is typically {typical:.2f}{PER_CENT} off."
    )
    return picture("residuals", alt, lambda variant: _draw(drawn, variant))


def _reach(panels: tuple[ResidualPanel, ...]) -> float:
    """Per cent from zero to the edge, the same for all panels, so that they can be compared: what the law with most
    weight needs, and a little more where the others do."""
    reaches = []
    for panel in panels:
        offs = sorted(abs(off) for _, off, _ in panel.points)
        reaches.append(min(offs[-1], TAIL * offs[int(0.9 * (len(offs) - 1))]))
    needed = reaches[0] if len(panels[0].points) >= FEW else max(reaches)
    return max(min(max(reaches), 2 * needed) * 1.15, 0.01)


def _draw(panels: tuple[ResidualPanel, ...], variant: Variant) -> Drawing:
    columns = 1 if variant.narrow or len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    font, title = variant.font, variant.font * 2.2
    height, gap = (118.0 if columns == 1 else 140.0), variant.font * 1.3
    reach = _reach(panels)
    ticks = linear_ticks(-reach, reach, 4)
    texts = [f"{tick_text(t, ticks)}{PER_CENT}".replace("-", "−") for t in ticks]
    left = max(text_width(t, font) for t in texts) + 10
    low, high = padded_log([c for p in panels for c, _, _ in p.points], 0.06, 0.06)
    drawing = Drawing(variant.width, rows * (title + height + gap) + font * 3.4)
    drawing.text(0, font, "each run above or below the law, in per cent", font, "soft")
    top, width = font * 1.2, (variant.width - left - 8 - (columns - 1) * 30) / columns
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        x0, y0 = left + column * (width + 30), top + row * (title + height + gap) + title
        x = Scale(low, high, x0, x0 + width, log=True)
        y = Scale(-reach, reach, y0 + height - 5, y0 + 5)
        for tick, text in zip(ticks, texts, strict=True):
            drawing.line(x0, y(tick), x0 + width, y(tick), "axis" if tick == 0 else "grid")
            if column == 0:
                drawing.text(left - 8, y(tick) + font * 0.35, text, font, "soft", "end")
        _panel(drawing, panel, x, y, y0, font)
        if index + columns >= len(panels):
            _computes(drawing, x, y0 + height, font, 3 if columns == 2 or variant.narrow else 5)
    last = top + rows * (title + height + gap) + font * 1.2
    drawing.text(variant.width - 8, last + font * 0.2, "compute in FLOPs", font, "soft", "end")
    return drawing


def _panel(drawing: Drawing, panel: ResidualPanel, x: Scale, y: Scale, top: float, font: float) -> None:
    share = f"weight {weight(panel.weight)}"
    room = x.end - x.start - text_width(share, font) - 12
    drawing.text(x.start, top - font * 0.55, _fitted(panel.name, font, room), font, "strong")
    drawing.text(x.end, top - font * 0.55, share, font, "soft", "end")
    for compute, off, name in panel.points:
        held = y.holds(off)
        place = min(max(off, y.low), y.high)
        sign = "above" if off >= 0 else "below"
        tip = f"{name}: {abs(off):.2f}{PER_CENT} {sign} {panel.name}"
        drawing.dot(x(compute), y(place), 3.4 if held else 4.2, "fill-4" if held else "dot-hollow", tip)


def _fitted(name: str, font: float, room: float) -> str:
    """name, cut where there is no room for it in bold."""
    if text_width(name, font, True) <= room:
        return name
    while name and text_width(name + "…", font, True) > room:
        name = name[:-1]
    return name.rstrip() + "…"


def _computes(drawing: Drawing, x: Scale, bottom: float, font: float, wanted: int) -> None:
    taken = x.start - 20
    for tick in [t for t in log_ticks(x.low, x.high, wanted) if x.holds(t)]:
        text = power(tick)
        half = text_width(text, font) / 2
        middle = min(max(x(tick), x.start + half), x.end - half)
        if middle - half < taken + 10:
            continue
        taken = middle + half
        drawing.line(x(tick), bottom, x(tick), bottom + 4, "axis")
        drawing.text(middle, bottom + 4 + font * 0.95, text, font, "label", "middle")
