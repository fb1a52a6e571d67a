"""Is what a model claims what comes true? Claims across, outcomes up; an honest model lies on the line.

After Figure 8 of arXiv:2303.08774. A dot's size follows the number of claims behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gnomon.figures.frame import Axis, plot
from gnomon.figures.numbers import PER_CENT
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.svg import Drawing


@dataclass(frozen=True)
class ReliabilityDot:
    """One bin: the mean claim, the share that came true, how many claims."""

    claimed: float
    right: float
    count: int


@dataclass(frozen=True)
class ReliabilityCurve:
    """name: what was measured. ece: expected calibration error, a share."""

    name: str
    ece: float
    dots: tuple[ReliabilityDot, ...]


def reliability(curves: tuple[ReliabilityCurve, ...]) -> Picture:
    """At most six curves in one square. Raises ValueError without a dot."""
    drawn = tuple(c for c in curves if c.dots)[:6]
    if not drawn:
        raise ValueError("reliability: no bin to draw")
    told = "; ".join(f"{c.name}: calibration error {c.ece * 100:.1f}{PER_CENT}" for c in drawn)
    return picture("reliability", f"How often claims of each size came true. {told}.", lambda v: _draw(drawn, v))


def _draw(curves: tuple[ReliabilityCurve, ...], variant: Variant) -> Drawing:
    font = variant.font
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)

    def share(value: float) -> str:
        return f"{value * 100:.0f}{PER_CENT}"

    x_axis = Axis(0.0, 1.0, "claimed", lines=(share,), ticks=ticks)
    y_axis = Axis(0.0, 1.0, "came true", lines=(share,), ticks=ticks)
    made = plot(variant, 320.0 if variant.narrow else 420.0, x_axis, y_axis)
    drawing, x, y = made.drawing, made.x, made.y
    drawing.polyline([(x(0), y(0)), (x(1), y(1))], "curve")
    most = max(dot.count for curve in curves for dot in curve.dots)
    for i, curve in enumerate(curves):
        shade = 6 if len(curves) == 1 else 1 + round(5 * (len(curves) - 1 - i) / (len(curves) - 1))
        drawing.polyline([(x(d.claimed), y(d.right)) for d in curve.dots], f"line-{shade}")
        for dot in curve.dots:
            radius = 3.0 + 5.0 * math.sqrt(dot.count / most)
            tip = f"{curve.name}: claimed {share(dot.claimed)}, came true {share(dot.right)}, {dot.count} claims"
            drawing.dot(x(dot.claimed), y(dot.right), radius, f"fill-{shade}", tip)
        level = made.area.bottom - font * (0.9 + 1.5 * (len(curves) - 1 - i))  # where few models have claims
        box = drawing.text(made.area.right - 8, level, _told(curve), font, "label", "end")
        drawing.dot(box.left - 12, level - font * 0.35, 5, f"fill-{shade}")
    return drawing


def _told(curve: ReliabilityCurve) -> str:
    return f"{curve.name}, error {curve.ece * 100:.1f}{PER_CENT}"
