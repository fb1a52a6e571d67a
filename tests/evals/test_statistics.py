"""Intervals must hold what they promise: simulated coverage, and agreement with formulas worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.evals import statistics as st

REPEATS = 2000


def coverage(seed, make, truth):
    rng = np.random.default_rng(seed)
    inside = 0
    for _ in range(REPEATS):
        estimate = make(rng)
        inside += estimate.low <= truth <= estimate.high
    return inside / REPEATS


@pytest.mark.parametrize(("n", "p"), [(40, 0.3), (80, 0.5), (164, 0.15), (400, 0.9)])
def test_wilson_interval_covers_what_it_says(n, p):
    assert 0.93 <= coverage(1, lambda rng: st.rate(rng.random(n) < p), p) <= 0.97


@pytest.mark.parametrize("groups", [25, 100])
def test_clustered_rate_covers_where_the_naive_one_does_not(groups):
    each, names = 6, [f"g{i // 6}" for i in range(groups * 6)]
    truth = 0.5

    def sample(rng):
        level = rng.beta(1.5, 1.5, groups).repeat(each)  # a passage is hard or easy as a whole
        return (rng.random(groups * each) < level).astype(float)

    assert 0.93 <= coverage(2, lambda rng: st.rate(sample(rng), names), truth) <= 0.97
    assert coverage(3, lambda rng: st.rate(sample(rng)), truth) < 0.85


def test_clustered_mean_and_paired_difference_cover():
    groups, each = 60, 4
    names = [f"g{i // each}" for i in range(groups * each)]

    def scores(rng):
        return rng.normal(0, 1, groups).repeat(each) + rng.exponential(1, groups * each)

    assert 0.93 <= coverage(4, lambda rng: st.mean(scores(rng), names), 1.0) <= 0.97

    def paired(rng):
        base = scores(rng)
        return st.compare(base, base + rng.normal(0.2, 0.5, groups).repeat(each), names).difference

    assert 0.93 <= coverage(5, paired, 0.2) <= 0.97


def test_macro_covers_when_subjects_differ_in_size_and_level():
    sizes, levels = [30, 60, 120, 45], [0.3, 0.5, 0.8, 0.6]
    strata = [f"s{i}" for i, size in enumerate(sizes) for _ in range(size)]

    def sample(rng):
        return np.concatenate([(rng.random(n) < p).astype(float) for n, p in zip(sizes, levels, strict=True)])

    assert 0.93 <= coverage(6, lambda rng: st.macro(sample(rng), strata), float(np.mean(levels))) <= 0.97


def test_an_interval_exists_where_all_answers_are_right():
    estimate = st.rate(np.ones(20))
    assert estimate.value == 1 and estimate.high == 1
    assert estimate.low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-4)  # Wilson's bound at p = 1


def test_clustering_by_single_items_changes_nothing():
    x = np.random.default_rng(0).random(50) < 0.4
    alone, named = st.rate(x), st.rate(x, [str(i) for i in range(50)])
    assert (alone.value, alone.low, alone.high) == (named.value, named.low, named.high)


def test_doubling_every_item_in_its_cluster_gives_no_more_certainty():
    rng = np.random.default_rng(1)
    x, names = rng.normal(size=40), [str(i) for i in range(40)]
    once, twice = st.mean(x, names), st.mean(np.repeat(x, 2), [n for n in names for _ in range(2)])
    assert twice.error == pytest.approx(once.error, rel=1e-12)
    assert st.mean(np.repeat(x, 2)).error < 0.8 * once.error


def test_comparison_counts_and_detects():
    rng = np.random.default_rng(2)
    a = (rng.random(500) < 0.5).astype(float)
    b = np.where(rng.random(500) < 0.1, 1.0, a)  # B keeps A's answers and mends a tenth
    found = st.compare(a, b)
    assert found.only_a == 0 and found.both_right == a.sum() and found.p < 1e-3
    assert found.difference.low > 0
    assert st.compare(a, a).p == 1.0
    spread = float((b - a).std(ddof=1))
    assert st.items_for(found.detectable, spread) == pytest.approx(500, rel=0.03)


def test_power_is_what_it_says():
    rng, spread, n = np.random.default_rng(3), 1.0, 100
    difference = st.compare(np.zeros(n), rng.normal(0, spread, n)).detectable
    found = sum(
        st.compare(np.zeros(n), rng.normal((1.96 + 0.8416) * spread / math.sqrt(n), spread, n)).p < 0.05
        for _ in range(2000)
    )
    assert 0.77 <= found / 2000 <= 0.83
    assert difference == pytest.approx((1.984 + 0.8416) * spread / math.sqrt(n), rel=0.25)


def test_bootstrap_agrees_with_the_formula_for_a_mean():
    rng = np.random.default_rng(4)
    x, names = rng.normal(size=200), [str(i // 4) for i in range(200)]
    formula, drawn = st.mean(x, names), st.bootstrap(lambda i: float(x[i].mean()), 200, names, seed=1)
    assert drawn.error == pytest.approx(formula.error, rel=0.08)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: st.mean([]), "at least one number"),
        (lambda: st.mean([1.0, math.nan]), "value 1 is not a number"),
        (lambda: st.rate([0.5, 1]), "other than 0 and 1"),
        (lambda: st.rate([0, 1], ["a"]), "1 names for 2 items"),
        (lambda: st.rate([0, 1], ["a", ""]), "item 1 has none"),
        (lambda: st.compare([0, 1], [1]), "same items"),
        (lambda: st.macro([0, 1, 1], ["a", "a", "b"]), "b has a single cluster"),
    ],
)
def test_bad_input_says_what_is_wrong(call, words):
    with pytest.raises(GnomonError, match=words):
        call()


def test_one_cluster_says_that_nothing_is_known():
    estimate = st.rate([1, 0, 1], ["same"] * 3)
    assert math.isnan(estimate.low) and math.isnan(estimate.high)
