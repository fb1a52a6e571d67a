"""Where a label goes: beside its mark, clear of other labels, of dots and of lines.

A greedy search over a ring of places around the mark. Overlapping another label is forbidden; covering a dot or a line
costs; distance costs a little. Labels that matter most are placed first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gnomon.figures.svg import Drawing, Point
from gnomon.figures.text import ASCENT, DESCENT, Box, text_width

DISTANCES = (7.0, 11.0, 15.0, 20.0, 26.0, 36.0, 48.0, 62.0, 80.0, 100.0, 125.0, 155.0, 190.0)
DIRECTIONS = 24
COVERED = 3.0  # cost of one covered dot or stretch of line
FAR = 0.12  # cost of one unit of distance
TURNED = 6.0  # cost of the direction opposite to the wished one
LEADER = 16.0  # from this distance on a thin line leads from label to mark
GAP = 6.0  # between two labels
SAMPLE = 5.0  # a line counts as a point every so many units


@dataclass
class Placer:
    """Finds places inside bounds; remembers what is taken."""

    bounds: Box
    taken: list[Box] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    marks: list[Box] = field(default_factory=list)  # drawn shapes that no label may touch

    def block(self, box: Box) -> None:
        self.taken.append(box)

    def avoid(self, x: float, y: float, weight: int = 1) -> None:
        self.points.extend([(x, y)] * weight)

    def keep_clear(self, x: float, y: float, radius: float) -> None:
        self.marks.append(Box(x - radius, y - radius, x + radius, y + radius))

    def avoid_line(self, line: Sequence[Point]) -> None:
        for (x1, y1), (x2, y2) in pairwise(line):
            steps = max(1, int(math.hypot(x2 - x1, y2 - y1) / SAMPLE))
            self.points.extend((x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps) for i in range(steps))

    def place(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        towards: float,
        limit: float = math.inf,
        insist: float = TURNED,
    ) -> tuple[Box, float] | None:
        """The cheapest free box of this size around (x, y), with its distance; None when none costs less than limit.

        towards: the wished direction in degrees, 0 to the right, 90 upwards. insist: what the opposite one costs.
        """
        best: tuple[float, Box, float] | None = None
        for distance in DISTANCES:
            for step in range(DIRECTIONS):
                angle = math.tau * step / DIRECTIONS
                away_x, away_y = math.cos(angle), -math.sin(angle)
                centre_x, centre_y = x + away_x * (distance + width / 2), y + away_y * (distance + height / 2)
                box = Box(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
                turn = (1 - math.cos(angle - math.radians(towards))) / 2
                cost = distance * FAR + turn * insist
                if cost >= (limit if best is None else best[0]) or not self._free(box):
                    continue
                if distance >= LEADER and self._crossed(leader((x, y), box)):
                    continue
                cost += COVERED * sum(box.contains(a, b, 2) for a, b in self.points)
                if cost < (limit if best is None else best[0]):
                    best = (cost, box, distance)
        if best is None:
            return None
        self.block(best[1])
        return best[1], best[2]

    def _free(self, box: Box) -> bool:
        if not box.inside(self.bounds) or any(box.overlaps(mark, 1) for mark in self.marks):
            return False
        return not any(box.overlaps(other, GAP) for other in self.taken)

    def _crossed(self, line: tuple[Point, Point]) -> bool:
        """Whether a leader would run through another label."""
        (x1, y1), (x2, y2) = line
        places = [(x1 + (x2 - x1) * i / 24, y1 + (y2 - y1) * i / 24) for i in range(25)]
        return any(other.contains(a, b, 2) for other in self.taken for a, b in places)


def leader(mark: Point, box: Box) -> tuple[Point, Point]:
    """The line from a mark to the nearest place of its label, with a gap at both ends."""
    near_x = min(max(mark[0], box.left), box.right)
    near_y = min(max(mark[1], box.top), box.bottom)
    away_x, away_y = near_x - mark[0], near_y - mark[1]
    length = math.hypot(away_x, away_y) or 1.0
    start = (mark[0] + away_x * 6 / length, mark[1] + away_y * 6 / length)
    return start, (near_x - away_x * 2 / length, near_y - away_y * 2 / length)


def label(
    drawing: Drawing,
    placer: Placer,
    mark: Point,
    lines: Sequence[tuple[str, str]],
    size: float,
    towards: float = 0.0,
    optional: bool = False,
    insist: float = TURNED,
) -> bool:
    """Write lines of (text, kind) near mark, with a leader when they stand far off. False when left out.

    optional: leave the label out rather than cover anything.
    """
    leading = size * 1.3
    width = max(text_width(text, size, "strong" in kind.split()) for text, kind in lines)
    height = leading * (len(lines) - 1) + (ASCENT + DESCENT) * size
    found = placer.place(*mark, width, height, towards, COVERED + 2 if optional else math.inf, insist)
    if found is None:
        return False
    box, distance = found
    if distance >= LEADER:
        start, end = leader(mark, box)
        drawing.line(*start, *end, "leader")
        placer.avoid_line([start, end])
    anchor = "middle" if abs((box.left + box.right) / 2 - mark[0]) < width * 0.3 else "start"
    if anchor == "start" and box.right < mark[0]:
        anchor = "end"
    place = {"start": box.left, "middle": (box.left + box.right) / 2, "end": box.right}[anchor]
    for index, (text, kind) in enumerate(lines):
        drawing.text(place, box.top + ASCENT * size + index * leading, text, size, kind, anchor)
    return True
