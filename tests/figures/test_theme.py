"""Both palettes are legible, complete, and the only place where a colour is written."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from gnomon.figures.text import text_width
from gnomon.figures.theme import DARK, LIGHT, contrast, stylesheet

TEXT = ("ink", "ink-soft", "accent")
MARKS = ("mark", "accent", "ramp-1", "ramp-2", "ramp-3", "ramp-4", "ramp-5", "ramp-6", "mark-faint")


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "panel", "accent-soft"])
def test_text_has_contrast(palette: dict[str, str], ground: str) -> None:
    for name in TEXT:
        assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_are_seen(palette: dict[str, str]) -> None:
    for name in MARKS:
        assert contrast(palette[name], palette["paper"]) >= 3, name


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_colours_are_written_in_the_palettes_alone() -> None:
    assert set(LIGHT) == set(DARK)
    for room, sheet in (("gnomon.figures", "figures.css"), ("gnomon.report", "page.css")):
        css = (files(room) / sheet).read_text()
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b|\brgb|\bhsl", css.split("*/", 1)[1]), sheet
        assert set(re.findall(r"var\(--([\w-]+)\)", css)) <= set(LIGHT), sheet


def test_every_class_of_a_mark_has_its_style() -> None:
    source = "".join(p.read_text() for p in files("gnomon.figures").iterdir() if p.name.endswith(".py"))
    used = set(re.findall(r'"((?:band|bar|dot|sealed|outcome|rule)-[-\w]+|grid|axis|leader|curve)"', source))
    assert len(used) > 8
    assert [name for name in used if not re.search(rf"\.{name}\b", stylesheet())] == []


def test_widths_are_those_of_the_widest_system_font() -> None:
    """The table against DejaVu Sans itself, which matplotlib brings."""
    from pathlib import Path

    import matplotlib
    from fontTools.ttLib import TTFont

    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    for name, bold in (("DejaVuSans.ttf", False), ("DejaVuSans-Bold.ttf", True)):
        font = TTFont(folder / name)
        glyphs, advances, unit = font.getBestCmap(), font["hmtx"], font["head"].unitsPerEm
        for text in ("sealed forecast", "2.2×10¹³ FLOPs", "90 %: 1.939–2.029", "share of the target's compute"):
            true = sum(advances[glyphs[ord(letter)]][0] for letter in text) / unit
            assert 0.99 * true <= text_width(text, 1.0, bold) <= 1.08 * true, text
