"""Compute drawn to scale: each run a square whose area is its FLOPs, the target a square among them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gnomon.figures.numbers import fraction, percent, power
from gnomon.figures.picture import Picture, Variant, picture
from gnomon.figures.svg import Drawing


@dataclass(frozen=True)
class ComputeShare:
    """The runs' FLOPs. other: spent before registration on anything but these rungs (tuning, failed runs)."""

    rungs: tuple[float, ...]
    target: float
    other: float = 0.0
    trained: bool = True  # False: the target still waits, and its square is drawn dashed


def compute_to_scale(share: ComputeShare) -> Picture:
    """The figure. Raises ValueError without a rung or without a target."""
    if not share.rungs or share.target <= 0:
        raise ValueError("compute_to_scale: rungs and a target's compute are needed")
    total = (sum(share.rungs) + share.other) / share.target
    alt = (
        f"{len(share.rungs)} small models and the target as squares whose area is compute; "
        f"all before the target together cost {percent(total)} of it."
    )
    return picture("compute", alt, lambda variant: _draw(share, variant))


def _pack(sides: list[float], width: float, gap: float) -> list[tuple[float, float, float]]:
    """Squares in rows from the left, each row standing on its ground: (left, ground, side), grounds from 0 upwards."""
    placed: list[tuple[float, float, float]] = []
    row: list[float] = []
    rows: list[list[float]] = []
    for side in sides:
        if row and sum(row) + gap * len(row) + side > width:
            rows.append(row)
            row = []
        row.append(side)
    rows.append(row)
    ground = 0.0
    for row in reversed(rows):
        left = 0.0
        for side in row:
            placed.append((left, ground, side))
            left += side + gap
        ground += max(row) + gap
    return placed


def _draw(share: ComputeShare, variant: Variant) -> Drawing:
    """The target to the right; on the same ground, to its left, every rung in ascending order."""
    font, leading = variant.font, variant.font * 1.45
    big = 170.0 if variant.narrow else 280.0
    scale = big / math.sqrt(max(share.target, max(share.rungs)))
    target_side = scale * math.sqrt(share.target)
    gap = 3.0 if variant.narrow else 5.0
    room = variant.width - big - (14.0 if variant.narrow else 40.0)
    squares = [(max(scale * math.sqrt(c), 1.0), c) for c in sorted(share.rungs)]
    placed = _pack([side for side, _ in squares], room, gap)
    other_side = scale * math.sqrt(share.other) if share.other > 0 else 0.0
    stack = max(ground + side for _, ground, side in placed) + (other_side + gap * 3 + leading if other_side else 0)
    top = max(target_side, stack) + 4
    drawing = Drawing(variant.width, top + leading * 2 + 8)
    _rungs(drawing, share, placed, top, target_side)
    if other_side:
        above = top - max(ground + side for _, ground, side in placed) - gap * 3
        drawing.rect(0, above - other_side, other_side, other_side, "bar-rest", "tuning and failed runs")
        drawing.text(other_side + 6, above - 2, "tuning, failures", font, "soft")
    kind = "bar-target" if share.trained else "bar-target waiting"
    drawing.rect(variant.width - target_side, top - target_side, target_side, target_side, kind, "the target")
    drawing.line(0, top + 0.5, variant.width, top + 0.5, "axis")
    _texts(drawing, share, variant, top, leading)
    return drawing


def _rungs(
    drawing: Drawing, share: ComputeShare, placed: list[tuple[float, float, float]], top: float, target_side: float
) -> None:
    for left, ground, side in placed:
        compute = (side / target_side) ** 2 * share.target
        tip = f"about {power(compute)} FLOPs, {fraction(compute / share.target)} of the target"
        drawing.rect(left, top - ground - side, side, side, "bar-strong", tip)


def _texts(drawing: Drawing, share: ComputeShare, variant: Variant, top: float, leading: float) -> None:
    font = variant.font
    together = f"together {percent(sum(share.rungs) / share.target)}" + ("" if variant.narrow else " of the target")
    first = top + leading + 2
    drawing.text(0, first, f"{len(share.rungs)} small models", font, "strong")
    drawing.text(0, first + leading, together, font, "soft")
    right = variant.width
    drawing.text(right, first, "the target" if share.trained else "the target, to come", font, "accent strong", "end")
    drawing.text(right, first + leading, f"{power(share.target)} FLOPs", font, "soft", "end")
