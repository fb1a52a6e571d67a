"""What the same method would have said earlier: forecasts from parts of the table against what those runs then reached.

To the right runs how far each forecast looked ahead, upwards how far off it was; the line at zero is what came. The
target stands at its own distance, which is usually farther than the table can test itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.frame import Axis, Plot, plot
from gnomon.figures.labels import label
from gnomon.figures.numbers import PER_CENT, power
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import padded
from gnomon.figures.svg import Drawing
from gnomon.figures.theme import ramp

TAIL = 60.0  # per cent; an interval that is wider than this is cut at the paper's edge


@dataclass(frozen=True)
class Look:
    """One forecast of a run that came later. ratio: its compute over the largest seen; error, low, high: the forecast
    and its 90 % interval against what came, in per cent; name: the run."""

    ratio: float
    error: float
    low: float
    high: float
    name: str


@dataclass(frozen=True)
class Cut:
    """All forecasts from the runs of at most this compute."""

    compute: float
    runs: int
    looks: tuple[Look, ...]


def forecast_history(cuts: tuple[Cut, ...], target_ratio: float | None = None) -> Picture:
    """The figure. Raises ValueError when nothing could be forecast."""
    drawn = tuple(sorted((c for c in cuts if c.looks), key=lambda c: c.compute))
    if not drawn:
        raise ValueError("forecast_history: no earlier forecast to draw")
    looks = [look for cut in drawn for look in cut.looks]
    held = sum(look.low <= 0 <= look.high for look in looks)
    worst = max(looks, key=lambda look: abs(look.error))
    alt = (
        f"{len(looks)} forecasts from {len(drawn)} parts of the table against what came: {held} of {len(looks)} 90 % "
        f"intervals held; the worst was {abs(worst.error):.1f}{PER_CENT} off at {worst.ratio:.3g} times the compute."
    )
    return picture("history", alt, lambda variant: _draw(drawn, target_ratio, variant))


def _draw(cuts: tuple[Cut, ...], target_ratio: float | None, variant: Variant) -> Drawing:
    looks = [look for cut in cuts for look in cut.looks]
    far = [target_ratio] if target_ratio is not None and target_ratio > 1 else []
    high = max([look.ratio for look in looks] + far) * 1.6
    ends = [min(max(v, -TAIL), TAIL) for look in looks for v in (look.low, look.high, look.error)]
    bottom, top = padded([*ends, 0.0], 0.16, 0.16)
    x_title = (
        "times the largest run seen" if variant.narrow else "compute, as a multiple of the largest run it had seen"
    )
    x_axis = Axis(1.0, high, x_title, log=True, lines=(lambda v: f"{power(v)}×",), ticks=_ratios(high))
    y_title = f"forecast against what came (the line at 0), {PER_CENT.strip()}"
    frame = plot(variant, 360 if variant.narrow else 400, x_axis, Axis(bottom, top, y_title, lines=(_signed,)))
    zero = frame.y(0.0)
    frame.drawing.line(frame.area.left, zero, frame.area.right, zero, "outcome-line")
    frame.placer.avoid_line([(frame.area.left, zero), (frame.area.right, zero)])
    if far:
        x = frame.x(far[0])
        frame.drawing.line(x, frame.area.top, x, frame.area.bottom, "rule-target")
        frame.placer.avoid_line([(x, frame.area.top), (x, frame.area.bottom)])
    marks = [_cut(frame, cut, index, len(cuts)) for index, cut in enumerate(cuts)]
    if far:
        lines = [("the target,", "accent strong"), (f"{power(far[0])} times out", "accent strong")]
        label(frame.drawing, frame.placer, (frame.x(far[0]), frame.area.top + 14), lines, variant.font, 180)
    for (mark, cut), index in zip(marks, range(len(cuts)), strict=True):
        text = (
            f"seen up to {power(cut.compute)}" if variant.narrow else f"from {cut.runs} runs up to {power(cut.compute)}"
        )
        last = index in (0, len(cuts) - 1)
        label(frame.drawing, frame.placer, mark, [(text, "label")], variant.font, 20, optional=not last)
    return frame.drawing


def _ratios(high: float) -> tuple[float, ...]:
    """1, 2, 5, 10 … up to high; powers of ten alone when that is far."""
    steps = (1, 2, 5) if high < 300 else (1,)
    return tuple(m * 10.0**e for e in range(9) for m in steps if m * 10.0**e <= high)


def _signed(value: float) -> str:
    text = f"{abs(value):.6g}"
    return text if value == 0 else ("+" if value > 0 else "−") + text


def _cut(frame: Plot, cut: Cut, index: int, of: int) -> tuple[tuple[float, float], Cut]:
    """Draw the looks of one cut, a little aside from those of others; returns where its label belongs."""
    shade, aside = ramp(index, of), (index - (of - 1) / 2) * 5.0
    places = []
    for look in sorted(cut.looks, key=lambda k: k.ratio):
        x = min(max(frame.x(look.ratio) + aside, frame.area.left + 4), frame.area.right - 2)
        low, high = (frame.y(min(max(v, frame.y.low), frame.y.high)) for v in (look.low, look.high))
        y = frame.y(min(max(look.error, frame.y.low), frame.y.high))
        frame.drawing.line(x, low, x, high, f"line-{shade}")
        for end in (low, high):
            frame.drawing.line(x - 4, end, x + 4, end, f"line-{shade}")
        held = "inside" if look.low <= 0 <= look.high else "outside"
        error, bounds = (
            _signed(round(look.error, 2)),
            f"{_signed(round(look.low, 1))} to {_signed(round(look.high, 1))}",
        )
        tip = f"{look.name}, {look.ratio:.3g} times the {power(cut.compute)} FLOPs seen: "
        tip += f"{error} % (90 %: {bounds}), what came lies {held}"
        frame.drawing.dot(x, y, 4.2, f"fill-{shade}", tip)
        for _ in range(3):  # a label across a bar is worse than one across a curve
            frame.placer.avoid_line([(x, high), (x, low)])
        frame.placer.keep_clear(x, y, 5)
        places.append((x, y))
    return places[-1], cut
