"""A small SVG writer: shapes with a class each, and texts whose boxes it remembers.

gnomon draws its own SVG instead of asking matplotlib (whose SVG backend ARCHITECTURE names): matplotlib turns colours
into literals and text into paths or absolute sizes, so its pictures can neither follow a page from light to dark nor
be read on a phone, and it loads in a second where this loads in milliseconds. What is needed here is small: lines,
dots, texts. Colours are never written: each shape has a class, and figures.css gives the class its CSS variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from gnomon.figures.text import Box, text_box

Point = tuple[float, float]


def number(value: float) -> str:
    """A coordinate with at most one decimal: half a tenth of a pixel is not seen."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text not in ("-0.0", "-0") else "0"


class Drawing:
    """An SVG image in the making; `boxes` are the texts drawn so far."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.boxes: list[Box] = []
        self._parts: list[str] = []

    def _shape(self, tag: str, kind: str, attributes: dict[str, str], tip: str = "") -> None:
        body = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
        end = f"><title>{escape(tip)}</title></{tag}>" if tip else "/>"
        self._parts.append(f'<{tag} class="{escape(kind)}"{body}{end}')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self._shape("line", kind, {"x1": number(x1), "y1": number(y1), "x2": number(x2), "y2": number(y2)})

    def polyline(self, points: Sequence[Point], kind: str, tip: str = "") -> None:
        self._shape("polyline", kind, {"points": " ".join(f"{number(x)},{number(y)}" for x, y in points)}, tip)

    def area(self, upper: Sequence[Point], lower: Sequence[Point], kind: str) -> None:
        """The band between two lines given from left to right."""
        points = [*upper, *reversed(lower)]
        self._shape("polygon", kind, {"points": " ".join(f"{number(x)},{number(y)}" for x, y in points)})

    def dot(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        self._shape("circle", kind, {"cx": number(x), "cy": number(y), "r": number(radius)}, tip)

    def diamond(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
        self._shape("polygon", kind, {"points": " ".join(f"{number(a)},{number(b)}" for a, b in corners)}, tip)

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, tip: str = "", round_: float = 0
    ) -> None:
        attributes = {"x": number(x), "y": number(y), "width": number(max(width, 0)), "height": number(max(height, 0))}
        if round_:
            attributes["rx"] = number(round_)
        self._shape("rect", kind, attributes, tip)

    def text(self, x: float, y: float, text: str, size: float, kind: str = "label", anchor: str = "start") -> Box:
        """Draw text with its baseline at y; a kind that holds the word 'strong' is bold. Returns its box."""
        bold = "strong" in kind.split()
        box = text_box(x, y, text, size, anchor, bold)
        self.boxes.append(box)
        attributes = {"x": number(x), "y": number(y), "font-size": number(size), "text-anchor": anchor}
        body = "".join(f' {name}="{value}"' for name, value in attributes.items())
        self._parts.append(f'<text class="{escape(kind)}"{body}>{escape(text)}</text>')
        return box

    def render(self, alt: str, kinds: Iterable[str] = ()) -> str:
        """The whole image. alt: what a person who cannot see it should hear. kinds: classes of the svg element."""
        classes = " ".join(("figure", *kinds))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{escape(classes)}" role="img" aria-label="{escape(alt)}" '
            f'viewBox="0 0 {number(self.width)} {number(self.height)}">'
        )
        return head + "".join(self._parts) + "</svg>"
