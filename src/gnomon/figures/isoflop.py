"""IsoFLOP curves (arXiv:2203.15556, approach 2): the same compute spent on different sizes, one curve a budget."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.frame import Axis, Plot, plot
from gnomon.figures.labels import label
from gnomon.figures.numbers import count, power
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.scale import log_ticks, padded, padded_log
from gnomon.figures.svg import Drawing, Point
from gnomon.figures.theme import ramp


@dataclass(frozen=True)
class IsoflopBudget:
    """One budget. compute: FLOPs; points and curve: (parameters, loss); minimum: where the curve is lowest.

    bracketed: sizes on both sides of the minimum were trained; else the minimum is not believed and drawn hollow.
    """

    compute: float
    points: tuple[tuple[float, float], ...]
    minimum: tuple[float, float] | None = None
    curve: tuple[tuple[float, float], ...] = ()
    bracketed: bool = True


def isoflop(budgets: tuple[IsoflopBudget, ...], unit: str = "bits per byte") -> Picture:
    """The figure. Raises ValueError when no budget has a point."""
    ordered = tuple(sorted((b for b in budgets if b.points), key=lambda b: b.compute))
    if not ordered:
        raise ValueError("isoflop: no budget has a point to draw")
    alt = f"{unit} against parameters for {len(ordered)} compute budgets; each curve has a lowest point, the best size."
    return picture("isoflop", alt, lambda variant: _draw(ordered, unit, variant))


def _draw(budgets: tuple[IsoflopBudget, ...], unit: str, variant: Variant) -> Drawing:
    everything = [p for b in budgets for p in (*b.points, *([b.minimum] if b.minimum else []))]
    low, high = padded_log([n for n, _ in everything], 0.06, 0.3 if variant.narrow else 0.2)
    bottom, top = padded([loss for _, loss in everything], 0.08, 0.06)
    ticks = _size_ticks(low, high)
    x_axis = Axis(low, high, "parameters", log=True, lines=(count,), ticks=ticks)
    frame = plot(variant, 380 if variant.narrow else 430, x_axis, Axis(bottom, top, f"{unit} (lower is better)"))
    ends = [_budget(frame, budget, ramp(i, len(budgets)), unit) for i, budget in enumerate(budgets)]
    for index in reversed(range(len(budgets))):
        text = f"{power(budgets[index].compute)} FLOPs"
        last = index in (0, len(budgets) - 1)
        label(frame.drawing, frame.placer, ends[index], [(text, "label")], variant.font, 0, optional=not last)
    marked = [b for b in budgets if b.minimum and b.bracketed]
    if marked and marked[-1].minimum:
        mark = (frame.x(marked[-1].minimum[0]), frame.y(marked[-1].minimum[1]))
        label(frame.drawing, frame.placer, mark, [("best size for this budget", "soft")], variant.font, 250, True)
    return frame.drawing


def _size_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2, 5 within one or two decades, where powers of ten alone say too little."""
    decades = (high / low) < 1e3
    if not decades:
        return tuple(log_ticks(low, high, 7))
    ticks = [m * 10.0**e for e in range(16) for m in (1, 2, 5)]
    return tuple(t for t in ticks if low <= t <= high)


def _budget(frame: Plot, budget: IsoflopBudget, shade: str, unit: str) -> Point:
    """Draw one budget; returns the right end of its curve, where its label belongs."""
    points = sorted(budget.points)
    line = [(frame.x(n), frame.y(loss)) for n, loss in (budget.curve or points)]
    line = [(a, b) for a, b in line if frame.area.top <= b <= frame.area.bottom]
    if len(line) > 1:
        frame.drawing.polyline(line, f"line-{shade}")
        frame.placer.avoid_line(line)
    for parameters, loss in points:
        x, y = frame.x(parameters), frame.y(loss)
        tip = f"{count(parameters)} parameters, {power(budget.compute)} FLOPs: {loss:.3f} {unit}"
        frame.drawing.dot(x, y, 3.2, f"fill-{shade}", tip)
        frame.placer.avoid(x, y, 2)
    if budget.minimum is not None:
        x, y = frame.x(budget.minimum[0]), frame.y(budget.minimum[1])
        words = "best size" if budget.bracketed else "lowest, but not bracketed"
        tip = f"{words}: {count(budget.minimum[0])} parameters, {budget.minimum[1]:.3f} {unit}"
        frame.drawing.dot(x, y, 5.5, "dot-strong" if budget.bracketed else "dot-hollow", tip)
        frame.placer.avoid(x, y, 3)
    return max([(frame.x(n), frame.y(loss)) for n, loss in points] + line[-1:])
