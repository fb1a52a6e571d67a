"""The live picture: everything a newcomer must know, names never read as markup, plain lines without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gnomon.figures import EnvelopeRow, Interval
from gnomon.figures.braille import ScatterPoint, scatter
from gnomon.figures.terminal import (
    EnvelopeView,
    Found,
    LadderView,
    Needs,
    RungState,
    SealView,
    first_screen,
    plan_lines,
    show,
    shown,
)

SEALED = Interval(1.984, 1.969, 1.999, 1.939, 2.029)


def printed(view, width: int = 80, terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    show(console, view)
    return console.file.getvalue()


def screen() -> object:
    found = Found(2825, 47_874_532, (("notes [bold]", 11_000_000),), "networkx", 3, "/data/[red]mine")
    return first_screen(found, plan_lines(24, 34), Needs(14.2, 1.3e9, 2.2e8))


def test_first_screen_tells_what_is_found_planned_and_needed() -> None:
    text = printed(screen())
    for words in ("2 825 documents", "48 MB", "train 24 tiny models", "predict one 34× bigger", "seal the prediction"):
        assert words in text
    for words in ("14 minutes", "1.3 GB of memory", "220 MB of disk", "Ctrl-C is safe", "the same command goes on"):
        assert words in text
    assert "[bold]" in text and "[red]mine" in text, "names from outside are not markup"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_views_keep_to_the_width(width: int) -> None:
    points = tuple(ScatterPoint(10.0 ** (10 + i / 4), 3 - i / 10) for i in range(8))
    ladder = LadderView(3, 24, (RungState("width 48", 0.4, 2.61, 21_000),), points, 131.0)
    seal = SealView("networkx", SEALED, "ab" * 32, times_larger=34, points=points, target_compute=2e13)
    for view in (screen(), ladder, seal, EnvelopeView((EnvelopeRow("networkx", SEALED, 2.0, 2.48),))):
        assert max(len(line.rstrip()) for line in printed(view, width).splitlines()) <= width


def test_without_a_terminal_a_view_is_one_line_and_says_so_once() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with shown(console) as say:
        for share in (0.1, 0.2, 0.9):
            say(LadderView(3, 24, (RungState("a", share),), eta_s=60))
        say(LadderView(4, 24, eta_s=50))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 2 and "3 of 24" in lines[0] and "4 of 24" in lines[1]


def test_a_terminal_that_speaks_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True), force_terminal=True)
    show(console, EnvelopeView((EnvelopeRow("networkx", SEALED, 2.0),)))
    assert b"a hit, inside the 90 % interval" in raw.getvalue()


@pytest.mark.parametrize(("outcome", "word", "place"), [(2.0, "A hit", "inside"), (2.2, "A miss", "outside")])
def test_the_envelope_says_hit_or_miss_in_words(outcome: float, word: str, place: str) -> None:
    text = printed(EnvelopeView((EnvelopeRow("networkx", SEALED, outcome, 2.48),)), width=120)
    assert word in text and place in text and "◆" in text and "1.939" in text and "2.029" in text


def test_the_error_is_that_of_the_score() -> None:
    """|median/outcome - 1|, as forecast.score has it."""
    row = EnvelopeRow("networkx", SEALED, 2.106)
    assert "5.8" in EnvelopeView((row,)).line()


def test_scatter_needs_two_places() -> None:
    assert scatter([ScatterPoint(1e10, 2.0)]) == []
    assert scatter([ScatterPoint(1e10, 2.0), ScatterPoint(1e11, float("nan"))]) == []
    assert len(scatter([ScatterPoint(1e10, 2.0), ScatterPoint(1e11, 1.5, "◇")], rows=6)) == 6
