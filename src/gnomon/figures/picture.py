"""A picture is one figure drawn twice, wide and narrow; CSS shows the one that fits the page.

The wide drawing is shown between 712 and 800 px (font 14: at least 12.4 px on the screen), the narrow one between 320
and 480 px (font 13: at least 12.6 px). See the last lines of figures.css.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gnomon.figures.svg import Drawing
from gnomon.figures.theme import stylesheet

SHORTEST_SIDE = {"wide": 712.0, "narrow": 320.0}  # CSS px, the smallest width at which a page shows the drawing


@dataclass(frozen=True)
class Variant:
    """One shape of paper. font: the size of all text, in the drawing's units."""

    name: str
    width: float
    font: float

    @property
    def narrow(self) -> bool:
        return self.name == "narrow"


WIDE = Variant("wide", 800.0, 14.0)
NARROW = Variant("narrow", 328.0, 13.0)


@dataclass(frozen=True)
class Picture:
    """name: for file names and anchors. alt: the figure in words. wide, narrow: SVG elements."""

    name: str
    alt: str
    wide: str
    narrow: str

    def html(self) -> str:
        """Both drawings, for a page that has figures.css."""
        return self.wide + self.narrow


def picture(name: str, alt: str, draw: Callable[[Variant], Drawing]) -> Picture:
    """Let draw make each variant."""
    wide, narrow = (draw(variant).render(alt, kinds=(variant.name,)) for variant in (WIDE, NARROW))
    return Picture(name, alt, wide, narrow)


def standalone(drawing: str) -> str:
    """One of a picture's drawings as an SVG file of its own, with its styles, for a README or a slide."""
    css = stylesheet() + ".figure.wide,.figure.narrow{display:block}"
    start = drawing.index(">") + 1
    paper = '<rect class="paper" width="100%" height="100%"/>'
    style = f"<style>{css.replace('<', '&lt;')}.figure .paper{{fill:var(--paper)}}</style>"
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + drawing[:start] + style + paper + drawing[start:] + "\n"
