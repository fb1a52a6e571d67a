"""Reading a drawing back: its texts and boxes, as a browser would lay them out."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from gnomon.figures import Picture
from gnomon.figures.picture import SHORTEST_SIDE
from gnomon.figures.text import Box, text_box

SVG = "{http://www.w3.org/2000/svg}"
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|oklch)a?\(")


def texts(drawing: str) -> list[tuple[str, float, Box]]:
    """(text, font size, box) of every text element of an SVG."""
    found = []
    for element in ET.fromstring(drawing).iter(f"{SVG}text"):
        size, kind = float(element.attrib["font-size"]), element.attrib["class"]
        x, y, anchor = float(element.attrib["x"]), float(element.attrib["y"]), element.attrib["text-anchor"]
        found.append((element.text or "", size, text_box(x, y, element.text or "", size, anchor, "strong" in kind)))
    return found


def flaws(picture: Picture) -> list[str]:
    """Everything that would look wrong: overlapping, cut off or tiny texts, colours that no theme can change."""
    found = []
    for name, drawing in (("wide", picture.wide), ("narrow", picture.narrow)):
        root = ET.fromstring(drawing)
        width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
        paper, scale = Box(0, 0, width, height), SHORTEST_SIDE[name] / width
        if COLOUR.search(drawing) or "style=" in drawing or "fill=" in drawing or "stroke=" in drawing:
            found.append(f"{name}: a colour or style of its own")
        if not root.attrib.get("aria-label"):
            found.append(f"{name}: nothing for those who cannot see it")
        drawn = texts(drawing)
        found += [f"{name}: {text!r} is {size * scale:.1f} px" for text, size, _ in drawn if size * scale < 12]
        found += [f"{name}: {text!r} leaves the paper" for text, _, box in drawn if not box.inside(paper, 1.5)]
        for (one, _, a), (other, _, b) in itertools.combinations(drawn, 2):
            if a.overlaps(b):
                found.append(f"{name}: {one!r} overlaps {other!r}")
    return found


@pytest.fixture(scope="session")
def flaws_of() -> Callable[[Picture], list[str]]:
    return flaws


@pytest.fixture(scope="session")
def texts_of() -> Callable[[str], list[tuple[str, float, Box]]]:
    return texts
