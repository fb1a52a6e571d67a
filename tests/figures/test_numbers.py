"""Numbers as a reader wants them, and scales that put them where they belong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.figures.numbers import byte_size, count, duration, fraction, percent, power
from gnomon.figures.scale import Scale, linear_ticks, log_ticks, padded, tick_text


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (power, 2.2e13, "2.2×10¹³"),
        (power, 1e11, "10¹¹"),
        (power, 4e10, "4×10¹⁰"),
        (power, 9.97e12, "10¹³"),
        (power, 3.2e-5, "3.2×10⁻⁵"),
        (power, 0, "0"),
        (count, 41_984, "42 k"),
        (count, 999_600, "1.0 M"),
        (count, 950, "950"),
        (byte_size, 1_536_000, "1.5 MB"),
        (duration, 95, "1 min 35 s"),
        (duration, 7300, "2 h 1 min"),
        (duration, 0.4, "0.4 s"),
        (percent, 0.0042, "0.4\u00a0%"),
        (fraction, 0.001, "1/1000"),
        (fraction, 1.0, "1"),
    ],
)
def test_words_for_numbers(function, value: float, text: str) -> None:
    assert function(value) == text


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), wanted=st.integers(2, 9))
def test_linear_ticks_stay_inside_and_few(low: float, span: float, wanted: int) -> None:
    ticks = linear_ticks(low, low + span, wanted)
    assert len(ticks) <= wanted + 1
    slack = span * 1e-6 + 4 * math.ulp(abs(low) + span)  # what a float of this size can hold
    assert all(low - slack <= t <= low + span + slack for t in ticks)


@given(low=st.floats(1e-9, 1e9), decades=st.floats(0.05, 20), wanted=st.integers(3, 8))
def test_log_ticks_always_say_something(low: float, decades: float, wanted: int) -> None:
    ticks = log_ticks(low, low * 10**decades, wanted)
    assert 1 <= len(ticks) <= max(wanted, 9)


def test_scale_maps_ends_and_refuses_nonsense() -> None:
    scale = Scale(1, 100, 0, 200, log=True)
    assert (scale(1), scale(10), scale(100)) == (0, 100, 200)
    for bad in ((1, 1, False), (0, 1, True), (float("nan"), 1, False)):
        with pytest.raises(ValueError, match="scale"):
            Scale(bad[0], bad[1], 0, 1, bad[2])
    with pytest.raises(ValueError, match="finite"):
        padded([float("nan")])


def test_neighbouring_ticks_read_differently() -> None:
    ticks = linear_ticks(1.98, 2.03, 5)
    assert len({tick_text(t, ticks) for t in ticks}) == len(ticks)


@pytest.mark.parametrize(("value", "text"), [(31.2, "31"), (99.4, "99"), (100, "100"), (250, "250"), (2500, "2,500")])
def test_plain_numbers_stay_plain(value, text):
    assert power(value) == text
