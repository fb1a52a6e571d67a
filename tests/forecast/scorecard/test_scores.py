"""Figures of a card, checked on rows whose answer is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnomon.forecast.scorecard import scores
from gnomon.forecast.scorecard.conformal import weighted_quantile, with_intervals
from gnomon.forecast.scorecard.scores import Row, clustered_test, coverage, errors, summary
from gnomon.forecast.values import LEVELS


def row(family: str, error: float, source: str | None = None, flagged: bool = False, half: float | None = None) -> Row:
    """A forecast that is `error` percent too high, with an interval of LEVELS spaced evenly over +- half percent."""
    median = 2.0 * (1 + error / 100)
    quantiles = None if half is None else tuple(median * (1 + (2 * p - 1) * half / 0.9 / 100) for p in LEVELS)
    return Row(family, source or family, 2.0, median, quantiles, flagged)


def test_big_families_do_not_decide_the_family_median() -> None:
    rows = [row("big", 9.0, "x")] * 50 + [row("small", 1.0, "y")] * 2 + [row("other", 2.0, "y")]
    figures = errors(rows)
    assert figures["family_median_ape"] == pytest.approx(2.0)
    assert figures["pooled_median_ape"] == pytest.approx(9.0)
    assert (figures["targets"], figures["families"], figures["sources"]) == (53, 3, 2)
    assert figures["source_p90_ape"] == pytest.approx((9.0 + 1.8) / 2)


def test_flagged_and_unanswered_targets_are_shown_apart() -> None:
    rows = [row("a", 1.0), row("b", 30.0, flagged=True), Row("c", "c", 2.0, math.nan, None, False)]
    figures = summary(rows)
    assert figures["flagged_share"] == 0.5
    assert figures["unanswered"] == 1
    assert figures["family_median_ape"] == pytest.approx(15.5)
    assert figures["unflagged"]["family_median_ape"] == pytest.approx(1.0)


def test_a_point_forecast_pays_its_error_as_crps_and_an_honest_interval_pays_less() -> None:
    assert errors([row("a", 5.0)])["crps"] == pytest.approx(5.0)
    assert errors([row("a", 5.0, half=8.0)])["crps"] < 5.0
    assert errors([row("a", 0.0, half=8.0)])["crps"] > 0.1


def test_coverage_counts_families_alike() -> None:
    rows = [row("a", 0.0, half=2.0)] * 9 + [row("b", 50.0, half=2.0)]
    figures = coverage(rows)
    assert figures is not None
    assert figures["80"] == 0.5
    assert figures["half_width_80"] == pytest.approx((2.0 + 3.0) / 2 * 0.8 / 0.9)
    assert figures["winkler_80"] > 100
    assert coverage([row("a", 1.0)]) is None


def test_the_test_of_coverage_does_not_take_a_paper_for_many() -> None:
    # One paper's ten families all miss: strong evidence if they were independent, none as a single source.
    rng = np.random.default_rng(0)
    others = [float(e) for e in 0.1 * rng.standard_normal(6)]
    alone = clustered_test(others + [-0.5] * 10, [f"s{i}" for i in range(16)])
    together = clustered_test(others + [-0.5] * 10, [f"s{i}" for i in range(6)] + ["one"] * 10)
    assert alone["rejected"]
    assert not together["rejected"]
    assert clustered_test([0.1, 0.1], ["a", "b"])["p"] is None


def test_conformal_intervals_never_see_their_own_source() -> None:
    quiet = [row(f"f{i}", 1.0, f"s{i}") for i in range(4)]
    wild = row("w", 60.0, "wild")
    rows = with_intervals([*quiet, wild], 10)
    widths = [r.quantiles[-1] / r.quantiles[0] for r in rows if r.quantiles is not None]
    assert len(widths) == 5
    assert widths[-1] == pytest.approx((1.01) ** 2, rel=1e-3)  # of the wild source: the others' one percent
    assert widths[0] > 1.5  # of a quiet one: the wild source's miss


def test_the_record_stands_in_for_one_source_but_not_for_one_that_it_saw() -> None:
    stranger, known = with_intervals([row("a", 1.0, "mine")], 10), with_intervals([row("a", 1.0, "gadre")], 10)
    assert stranger[0].quantiles is not None
    assert known[0].quantiles is None


def test_weighted_quantiles_count_families_alike() -> None:
    values, weights = np.array([1.0] * 10 + [5.0]), np.array([0.1] * 10 + [1.0])
    assert weighted_quantile(values, weights, np.array([0.4, 0.8])).tolist() == [1.0, 5.0]


def test_intervals_take_the_levels_they_are_named_for() -> None:
    low, high = row("a", 0.0, half=9.0).interval(80)
    assert (low, high) == (pytest.approx(2.0 * (1 - 0.08)), pytest.approx(2.0 * (1 + 0.08)))
    assert scores.by([row("a", 1.0), row("b", 1.0)], "family").keys() == {"a", "b"}
