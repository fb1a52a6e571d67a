"""Whatever the numbers, a figure is legible: no overlapping, cut or tiny text, and every colour follows the theme."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.figures import (
    ComputeShare,
    EnvelopeRow,
    Interval,
    IsoflopBudget,
    LearningCurve,
    LossPoint,
    LossTable,
    PackedText,
    Picture,
    bits_bars,
    compute_to_scale,
    envelope,
    interval_shares,
    isoflop,
    learning_curves,
    loss_forecast,
    standalone,
)
from gnomon.figures.svg import Drawing


def interval(median: float, half: float) -> Interval:
    return Interval(median, median - half * 0.4, median + half * 0.4, median - half, median + half)


def loss_table(budgets: int, span: float, slope: float, half: float, miss: float | None, sizes: int = 5) -> LossTable:
    """Rungs on a power law from span decades below the target; miss: the outcome, in half-widths from the median."""
    target = 2e13

    def law(compute: float) -> float:
        return 1.1 + 1.0 * (compute / target) ** -slope

    computes = [target * 10 ** -(span - (span - 1) * i / max(budgets - 1, 1)) for i in range(budgets)]
    points = [
        LossPoint(c, law(c) + 0.03 * k * k, k == 0, 1e4 * 2**k) for c in computes for k in range(sizes)
    ]  # fmt: skip
    grid = [target * 10 ** (-span * 1.05 * (1 - i / 30)) for i in range(31)]
    curve = tuple((c, interval(law(c), half * (0.3 + 0.7 * i / 30))) for i, c in enumerate(grid))
    sealed = interval(law(target), half)
    outcome = None if miss is None else sealed.median + miss * half
    return LossTable(tuple(points), curve, target, sealed, outcome)


@settings(max_examples=25, deadline=None)
@given(
    budgets=st.integers(1, 9),
    span=st.floats(1.2, 8),
    slope=st.floats(0.02, 0.25),
    half=st.floats(0.005, 0.3),
    miss=st.none() | st.floats(-3, 3),
    sizes=st.integers(1, 7),
)
def test_loss_forecast_is_legible_for_any_ladder(flaws_of, budgets, span, slope, half, miss, sizes) -> None:
    assert flaws_of(loss_forecast(loss_table(budgets, span, slope, half, miss, sizes))) == []


@pytest.mark.parametrize("miss", [None, -2.5, -0.3, 0.0, 0.2, 2.5])
def test_forecast_and_outcome_are_named_with_their_numbers(texts_of, miss) -> None:
    table = loss_table(4, 2.5, 0.1, 0.05, miss)
    picture = loss_forecast(table)
    for drawing in (picture.wide, picture.narrow):
        written = [text for text, _, _ in texts_of(drawing)]
        assert "sealed forecast" in written and f"{table.forecast.median:.3f}" in written
        assert ("outcome" in written) == (miss is not None)
        assert any("×10¹³" in text for text in written), "the target's FLOPs stand on the second line"
        assert "1" in written, "the target stands at 1"


def test_an_unsealed_number_is_never_called_a_forecast() -> None:
    table = loss_table(4, 2.5, 0.1, 0.05, 0.5)
    picture = loss_forecast(LossTable(table.points, table.law, table.target_compute, table.forecast, sealed=False))
    assert "sealed forecast" not in picture.html() and "fit, never sealed" in picture.html()


@settings(max_examples=20, deadline=None)
@given(budgets=st.integers(1, 8), sizes=st.integers(1, 8), start=st.floats(9, 20), bend=st.floats(0.001, 0.3))
def test_isoflop_is_legible_for_any_budgets(flaws_of, budgets, sizes, start, bend) -> None:
    made = []
    for b in range(budgets):
        compute, best = 10 ** (start + b * 0.5), 10 ** (start / 2 + b * 0.25)
        points = tuple((best * 2 ** (k - sizes / 2), 3 - b * 0.2 + bend * (k - sizes / 2) ** 2) for k in range(sizes))
        made.append(IsoflopBudget(compute, points, (best, 3 - b * 0.2), points, bracketed=b > 0))
    assert flaws_of(isoflop(tuple(made))) == []


def test_a_minimum_without_brackets_is_hollow() -> None:
    points = ((1e4, 3.0), (2e4, 2.9))
    trusted = isoflop((IsoflopBudget(1e11, points, (2e4, 2.9)),))
    doubted = isoflop((IsoflopBudget(1e11, points, (2e4, 2.9), bracketed=False),))
    assert "dot-hollow" not in trusted.wide and "dot-hollow" in doubted.wide


@settings(max_examples=20, deadline=None)
@given(runs=st.integers(1, 14), names=st.sampled_from(["{} k", "{}k parameters"]), target=st.booleans())
def test_learning_curves_are_legible_for_any_runs(flaws_of, runs, names, target) -> None:
    curves = []
    for r in range(runs):
        compute = tuple(10 ** (9 + r * 0.25 + 2 * i / 40) for i in range(41))
        curves.append(LearningCurve(names.format(12 * (r + 1)), compute, tuple(8 * c**-0.04 for c in compute)))
    if target:
        compute = tuple(10 ** (10 + 4 * i / 400) for i in range(401))
        curves.append(LearningCurve("the target", compute, tuple(9 * c**-0.045 for c in compute), target=True))
    picture = learning_curves(tuple(curves))
    assert flaws_of(picture) == []
    assert len(picture.wide) < 60_000, "a line of many points is thinned"


@settings(max_examples=20, deadline=None)
@given(ratios=st.lists(st.floats(1e-7, 0.9), min_size=1, max_size=80), other=st.floats(0, 0.4), trained=st.booleans())
def test_compute_is_legible_and_to_scale(flaws_of, ratios, other, trained) -> None:
    share = ComputeShare(tuple(r * 2e13 for r in ratios), 2e13, other * 2e13, trained)
    assert flaws_of(compute_to_scale(share)) == []


def test_a_quarter_of_the_compute_is_half_the_side() -> None:
    import re

    drawing = compute_to_scale(ComputeShare((0.25e13,), 1e13)).wide
    sides = [float(w) for w in re.findall(r'<rect class="bar-[^"]*"[^>]*width="([\d.]+)"', drawing)]
    assert sides[0] / sides[1] == pytest.approx(0.5, rel=0.01)


CAUSES = st.sampled_from(["seed", "evaluation", "minimum", "form", "outcome"])


@settings(max_examples=20, deadline=None)
@given(shares=st.dictionaries(CAUSES, st.floats(0.0001, 1), min_size=1))
def test_interval_shares_are_legible(flaws_of, shares) -> None:
    assert flaws_of(interval_shares(shares)) == []


@settings(max_examples=20, deadline=None)
@given(half=st.floats(0.001, 0.4), misses=st.lists(st.none() | st.floats(-4, 4), min_size=1, max_size=4))
def test_envelope_is_legible_wherever_the_outcome_falls(flaws_of, half, misses) -> None:
    rows = tuple(
        EnvelopeRow("networkx, a codebase never trained on", interval(2, half), m and 2 + m * half, 2.5) for m in misses
    )
    assert flaws_of(envelope(rows)) == []


def test_envelope_says_inside_and_outside_by_the_interval() -> None:
    rows = (EnvelopeRow("a", interval(2, 0.1), 2.1), EnvelopeRow("b", interval(2, 0.1), 2.1001))
    alt = envelope(rows).alt
    assert "2.100, +5.0" in alt and alt.count("inside") == 1 and alt.count("outside") == 1


def test_bits_bars_start_from_the_raw_text(flaws_of, texts_of) -> None:
    picture = bits_bars((PackedText("packed by xz -9", 2.3), PackedText("the target", 1.98, target=True)))
    assert flaws_of(picture) == []
    assert [text for text, _, _ in texts_of(picture.wide)][:2] == ["the text as it is", "8.00"]


def test_names_from_outside_stay_text(flaws_of) -> None:
    picture = bits_bars((PackedText('<script>alert("x")</script> & co', 2.3),))
    assert "<script" not in picture.html() and flaws_of(picture) == []


def test_nothing_to_draw_is_said_and_not_drawn() -> None:
    for empty in (
        lambda: loss_forecast(LossTable((), (), 1e13)),
        lambda: isoflop(()),
        lambda: learning_curves((LearningCurve("a", (1e9,), (3.0,)),)),
        lambda: interval_shares({"seed": 0.0}),
        lambda: envelope(()),
        lambda: bits_bars(()),
        lambda: compute_to_scale(ComputeShare((), 1e13)),
    ):
        with pytest.raises(ValueError, match=r"draw|needed|share|compare"):
            empty()


def test_a_drawing_stands_alone_with_both_themes() -> None:
    import xml.etree.ElementTree as ET

    svg = standalone(loss_forecast(loss_table(4, 2.5, 0.1, 0.05, 0.2)).wide)
    assert ET.fromstring(svg.encode()).tag.endswith("svg")
    assert "prefers-color-scheme:dark" in svg and "var(--accent)" in svg


def test_a_single_point_still_has_a_figure(flaws_of) -> None:
    table = LossTable((LossPoint(1e11, 2.5, True),), (), 1e13, interval(2.0, math.pi / 100))
    assert flaws_of(loss_forecast(table)) == []


def test_the_eye_of_these_tests_sees(flaws_of) -> None:
    """Two texts on one another, a tiny one, one cut off and a colour are each found."""
    drawing = Drawing(800, 100)
    drawing.text(10, 50, "one text", 14)
    drawing.text(30, 52, "another", 14)
    drawing.text(10, 90, "tiny", 9)
    drawing.text(770, 20, "cut off here", 14)
    svg = drawing.render("words").replace('class="label"', 'class="label" fill="#ff0000"', 1)
    found = " ".join(flaws_of(Picture("bad", "words", svg, svg)))
    for flaw in ("overlaps", "tiny", "leaves the paper", "a colour"):
        assert flaw in found


def test_figures_load_without_the_heavy_libraries() -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'scipy', 'matplotlib', 'pyarrow', 'pydantic', 'numpy'}"
    code = (
        f"import sys, gnomon.figures, gnomon.report, gnomon.figures.terminal; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
