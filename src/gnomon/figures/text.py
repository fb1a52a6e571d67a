"""How wide a text is, before anybody draws it, and the boxes that texts fill.

A browser chooses the font, so widths are those of DejaVu Sans, the widest of the usual system fonts (advance widths in
hundredths of an em, read from its `hmtx` table): a label that fits here fits anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

WIDTHS = {
    20: "\u2009\u202f",
    27: "'",
    28: "ijl",
    29: "IJ",
    32: " ,.·\u00a0",
    34: "/:;\\|",
    35: "f",
    36: "-",
    39: "()[]t",
    40: "!⁰¹²³⁴⁵⁶⁷⁸⁹",
    41: "r",
    46: '"',
    50: "*_`–",
    52: "sz",
    53: "?⁻",
    55: "c",
    56: "L",
    58: "Fk",
    59: "vxy",
    60: "P",
    61: "TYao",
    62: "e",
    63: "ESbdghnpqu",
    64: "$0123456789{}µ",
    66: "K",
    68: "AV",
    69: "BRXZ",
    70: "C",
    73: "U",
    75: "HN",
    77: "DG",
    78: "&",
    79: "OQ",
    82: "w",
    84: "#+<=>^~×±→≈",
    86: "M",
    95: "%",
    97: "m½¼",
    99: "W",
}
OTHER = 100  # anything else, a whole em
BOLD = 1.15  # DejaVu Sans Bold is 13 % wider over the letters
ASCENT, DESCENT = 0.78, 0.24  # of the font size, above and below the baseline


@cache
def _table() -> dict[str, int]:
    return {letter: width for width, letters in WIDTHS.items() for letter in letters}


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of text in a font of `size` units, in the same units."""
    table = _table()
    return sum(table.get(letter, OTHER) for letter in text) / 100 * size * (BOLD if bold else 1.0)


def wrap(text: str, size: float, width: float) -> list[str]:
    """text in lines no wider than width; a single word that is wider keeps its own line."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@dataclass(frozen=True)
class Box:
    """A rectangle on the paper; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box, gap: float = 0.0) -> bool:
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def inside(self, other: Box, slack: float = 0.0) -> bool:
        return (
            self.left >= other.left - slack
            and self.top >= other.top - slack
            and self.right <= other.right + slack
            and self.bottom <= other.bottom + slack
        )

    def contains(self, x: float, y: float, margin: float = 0.0) -> bool:
        return self.left - margin < x < self.right + margin and self.top - margin < y < self.bottom + margin


def text_box(x: float, y: float, text: str, size: float, anchor: str = "start", bold: bool = False) -> Box:
    """Where text stands when its anchor ('start', 'middle' or 'end') is at x and its baseline at y."""
    width = text_width(text, size, bold)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return Box(left, y - ASCENT * size, left + width, y + DESCENT * size)
