"""The pictures of a forecast from a table can be read whatever the laws say, and every mark tells what it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.figures import (
    Cut,
    FormRow,
    Interval,
    Look,
    LossPoint,
    LossTable,
    ResidualPanel,
    forecast_history,
    forms,
    loss_forecast,
    residuals,
)

NAMES = ("power", "power+floor", "surface", "surface, tied", "valley", "exponent drifting with size", "kriging, log")


@settings(max_examples=20, deadline=None)
@given(
    laws=st.integers(1, 14),
    spread=st.floats(1e-4, 3.0),
    half=st.floats(1e-4, 0.5),
    level=st.sampled_from([0.02, 1.9, 310.0]),
    tried=st.booleans(),
)
def test_forms_are_legible_for_any_laws(flaws_of, texts_of, laws, spread, half, level, tried) -> None:
    rows = tuple(
        FormRow(f"{NAMES[i % 7]} {i}", level * (1 + spread * math.sin(i)), 2.0**-i, 0.3 * i if tried else None)
        for i in range(laws)
    )
    combined = Interval(level, level * (1 - half / 3), level * (1 + half / 3), level * (1 - half), level * (1 + half))
    drawn = forms(rows, combined, "bits per byte")
    assert flaws_of(drawn) == []
    for drawing in (drawn.wide, drawn.narrow):
        written = [text for text, _, _ in texts_of(drawing)]
        assert "power 0" in written
        assert any("more laws" in text for text in written) == (laws > 10)


def test_a_law_far_off_stands_at_the_edge_with_its_number(texts_of) -> None:
    rows = (FormRow("valley", 2.0, 0.9), FormRow("power", 7.0, 0.1))
    drawn = forms(rows, Interval(2.0, 1.98, 2.02, 1.95, 2.05))
    assert "7.000 →" in [text for text, _, _ in texts_of(drawn.wide)] and "dot-hollow" in drawn.wide


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.integers(1, 5),
    looks=st.integers(1, 6),
    error=st.floats(0, 300),
    half=st.floats(0.01, 500),
    target=st.none() | st.floats(0.5, 1e6),
)
def test_history_is_legible_for_any_past(flaws_of, cuts, looks, error, half, target) -> None:
    made = []
    for c in range(cuts):
        seen = tuple(
            Look(2.0 ** (k + 1), e := error * math.cos(c + k), e - half, e + half, f"run {k}") for k in range(looks)
        )
        made.append(Cut(10.0 ** (18 + c), 10 * (c + 1), seen))
    assert flaws_of(forecast_history(tuple(made), target)) == []


def test_history_says_how_many_intervals_held() -> None:
    cut = Cut(1e18, 12, (Look(2, 0.5, -1, 2, "a"), Look(4, 3, 1, 5, "b")))
    drawn = forecast_history((cut,), 100.0)
    assert "1 of 2 90 % intervals held" in drawn.alt and "what came lies outside" in drawn.wide
    with pytest.raises(ValueError, match="no earlier forecast"):
        forecast_history((Cut(1e18, 12, ()),))


@settings(max_examples=20, deadline=None)
@given(panels=st.integers(1, 9), runs=st.integers(1, 40), spread=st.floats(1e-6, 50), span=st.floats(0, 9))
def test_residuals_are_legible_for_any_table(flaws_of, panels, runs, spread, span) -> None:
    made = tuple(
        ResidualPanel(
            NAMES[i % 7] * (1 + i % 2),
            1 / (i + 1),
            tuple((10 ** (18 + span * k / runs), spread * math.sin(i + k), f"run {k}") for k in range(runs)),
        )
        for i in range(panels)
    )
    assert flaws_of(residuals(made)) == []


def test_a_run_far_off_every_law_does_not_flatten_the_others() -> None:
    points = tuple((10.0 ** (18 + k / 10), 0.1 * (-1) ** k, f"run {k}") for k in range(20))
    drawn = residuals((ResidualPanel("power", 1.0, (*points, (1e20, 80.0, "the odd one"))),))
    assert "dot-hollow" in drawn.wide and "the odd one: 80.00" in drawn.wide


def test_marks_tell_run_size_tokens_and_loss() -> None:
    points = (
        LossPoint(1e18, 3.1, True, 2e8, 1e9, "run-7"),
        LossPoint(1e18, 9.0, False, 1e9, 2e8, "too-large"),
    )
    at = Interval(2.6, 2.55, 2.65, 2.5, 2.7)
    drawn = loss_forecast(LossTable(points, ((1e18, at), (1e20, at)), 1e20, at, sealed=False, top=4.0))
    assert "run-7: 200 M parameters, 1.0 G tokens, 10¹⁸ FLOPs: 3.100" in drawn.wide
    assert "too-large" in drawn.wide and "dot-hollow" in drawn.wide, "a run above the paper stays, at its edge"
    assert "the law at 10²⁰ FLOPs: 2.600, 90 % between 2.500 and 2.700" in drawn.wide
