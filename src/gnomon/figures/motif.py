"""The house mark: a stick, its shadow and the ray between; and a row of sticks that grow towards the one to foretell.

The sun's rays are parallel, so a short stick and its shadow tell the height of a tall one: that is all of gnomon.
Decoration only, hidden from screen readers.
"""

from __future__ import annotations

from gnomon.figures.svg import number

SHADOW = 0.66  # length of a shadow, for a stick of height 1
BEFORE = 9.0  # how far a ray is drawn before it meets the tip, in height


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="{kind}" d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"/>'


def _stick(x: float, ground: float, height: float, kind: str = "stick") -> str:
    """Shadow, stick and ray, seen from the side."""
    end = x + SHADOW * height
    ray = _line("ray", x - SHADOW * BEFORE, ground - height - BEFORE, end, ground)
    return _line("shadow", x, ground, end, ground) + _line(kind, x, ground, x, ground - height) + ray


def mark() -> str:
    """The mark beside the name, 28 by 28."""
    sun = '<circle class="sun" cx="4.5" cy="4" r="3"/>'
    shapes = _line("shadow", 12, 25, 25, 25) + _line("stick", 12, 25, 12, 11) + _line("ray", 7, 6.6, 25, 25)
    return f'<svg class="motif" viewBox="0 0 28 28" aria-hidden="true">{shapes}{sun}</svg>'


def row(trained: bool) -> str:
    """Five growing sticks and the tall one, dashed while it is only foretold."""
    x, shapes = 10.0, _line("ground", 0, 112, 200, 112)
    for height in (9.0, 13.0, 18.0, 25.0, 34.0):
        shapes += _stick(x, 112, height)
        x += SHADOW * height + 8
    shapes += _stick(x + 2, 112, 96, "stick target" if trained else "stick target waiting")
    return f'<svg class="motif-row" viewBox="0 0 200 116" aria-hidden="true">{shapes}</svg>'
