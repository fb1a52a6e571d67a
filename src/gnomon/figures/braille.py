"""Pictures made of letters: a scatter of dots in braille, and an interval as a bar of line-drawing characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gnomon.figures.scale import Scale

BLANK = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within one character


class Canvas:
    """columns x rows characters, each of 2 x 4 dots; marks replace a whole character."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._cells = [[0] * columns for _ in range(rows)]
        self._marks: dict[tuple[int, int], str] = {}

    def dot(self, x: float, y: float) -> None:
        """x and y in 0..1, y upwards; outside is left out."""
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return
        column = min(int(x * self.columns * 2), self.columns * 2 - 1)
        row = min(int((1 - y) * self.rows * 4), self.rows * 4 - 1)
        self._cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]

    def mark(self, x: float, y: float, letter: str) -> None:
        """A whole character at (x, y), over the dots."""
        if 0 <= x <= 1 and 0 <= y <= 1:
            column = min(int(x * self.columns), self.columns - 1)
            self._marks[min(int((1 - y) * self.rows), self.rows - 1), column] = letter

    def lines(self) -> list[str]:
        return [
            "".join(
                self._marks.get((r, c), chr(BLANK + cell) if cell else " ") for c, cell in enumerate(self._cells[r])
            )
            for r in range(self.rows)
        ]


@dataclass(frozen=True)
class ScatterPoint:
    """compute: FLOPs; loss: bits per byte; mark: a character of its own ('' for a dot)."""

    compute: float
    loss: float
    mark: str = ""


def scatter(points: Sequence[ScatterPoint], columns: int = 44, rows: int = 9) -> list[str]:
    """Loss over the logarithm of compute, the loss's ends written at the left. [] for fewer than two places."""
    good = [p for p in points if p.compute > 0 and math.isfinite(p.loss)]
    computes, losses = [p.compute for p in good], [p.loss for p in good]
    if len(good) < 2 or min(computes) == max(computes) or min(losses) == max(losses):
        return []
    x = Scale(min(computes), max(computes), 0.01, 0.97, log=True)
    y = Scale(min(losses), max(losses), 0.06, 0.94)
    canvas = Canvas(columns, rows)
    for point in good:
        if point.mark:
            canvas.mark(x(point.compute), y(point.loss), point.mark)
        else:
            canvas.dot(x(point.compute), y(point.loss))
    margins = [f"{max(losses):5.2f}", *["     "] * (rows - 2), f"{min(losses):5.2f}"]
    return [f"{margin} ▏{line}" for margin, line in zip(margins, canvas.lines(), strict=True)]


def interval_bar(
    outer: tuple[float, float], inner: tuple[float, float], median: float, outcome: float | None, columns: int = 48
) -> list[str]:
    """Two lines: the 90 % interval thin, the middle half thick, the median a bar, the outcome a diamond; its ends."""
    values = [*outer] + ([outcome] if outcome is not None else [])
    reach = max(abs(v - median) for v in values) or 1.0
    scale = Scale(median - 1.1 * reach, median + 1.1 * reach, 0, columns - 1)
    cells = [" "] * columns
    for (low, high), letter in ((outer, "─"), (inner, "━")):
        for column in range(round(scale(low)), round(scale(high)) + 1):
            cells[column] = letter
    cells[round(scale(median))] = "┃"
    if outcome is not None:
        cells[round(scale(outcome))] = "◆"
    first, last = (f"{end:.3f}" for end in outer)
    left, right = round(scale(outer[0])), round(scale(outer[1])) + 1
    ends = " " * left + first + " " * max(2, right - left - len(first) - len(last)) + last
    return ["".join(cells), ends]
