"""Buckets, laws, forecasts and their scores, held against worlds whose truth is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from gnomon.capability import Table, freeze
from gnomon.capability.forecast import forecast, means
from gnomon.capability.laws import Mixture, fit_mixture, fit_power
from gnomon.capability.score import crps, verify
from gnomon.common.errors import GnomonError


def test_buckets_are_ordered_by_truth_and_hold_alike(world):
    made = world(1)
    buckets = freeze(made.table())
    truth = [np.mean([made.onsets[int(p[1:])] for p in members]) for members in buckets.members]
    assert truth == sorted(truth)
    sizes = [len(m) for m in buckets.members]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) + len(buckets.left_out) == 120
    assert set(buckets.left_out.values()) <= {"no run solved it", "among the hardest"}


def test_sorting_looks_at_its_own_half_only(world):
    table = world(2).table()
    spoiled = dataclasses.replace(table, minus_log=np.zeros_like(table.minus_log), passes=table.draws)
    assert freeze(spoiled).hash == freeze(table).hash


def test_the_fitting_half_is_free_of_the_luck_that_sorted(world):
    table = world(3).table(most=8)
    hardest = freeze(table).members[-1]
    part = table.of_problems(hardest)
    sorted_by, fitted = part.difficulty.mean(), part.minus_log.mean()
    assert sorted_by > fitted  # what looked hardest did so by bad luck too


def test_power_law_is_recovered():
    compute = np.geomspace(1e10, 1e13, 8)
    law = fit_power(compute, 3.0 * (compute / 1e10) ** -0.3, np.full(8, 0.01))
    assert law.k == pytest.approx(0.3) and law.at(1e15) == pytest.approx(3.0 * 1e5**-0.3)


def test_mixture_finds_the_onsets_and_its_gradient_is_right(world):
    made = world(4, problems=400, spread=1.2)
    law, theta = fit_mixture(made.table(computes=tuple(np.geomspace(2e10, 5e12, 10)), luck=0.0))
    assert law.onset == pytest.approx(math.log(4e11), abs=0.3)
    assert law.spread == pytest.approx(1.2, rel=0.25) and law.slope == pytest.approx(0.8, rel=0.25)
    again, _ = fit_mixture(made.table(), start=theta + 0.3)
    assert np.isfinite([again.ceiling, again.slope, again.onset, again.spread]).all()


def test_what_a_few_draws_measure_is_what_the_mixture_says():
    law, rng, draws = Mixture(1.0, 1.0, math.log(1e12), 1.0), np.random.default_rng(5), 12
    rates = 1 / (1 + np.exp(-(math.log(1e10) - rng.normal(math.log(1e12), 1.0, 200_000))))
    passed = rng.binomial(draws, rates)
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, draws + 1))])
    measured = (harmonic[draws] - harmonic[passed]).mean()
    assert law.at(1e10, draws) == pytest.approx(measured, abs=0.01)


def test_a_forecast_beats_the_largest_run_and_says_how_sure_it_is(world):
    made = world(6)
    table = made.table()
    buckets = freeze(table)
    told = forecast(table, buckets, 2.5e13, draws=24, bootstraps=30)
    outcomes = verify(body_of(told), buckets, made.table((2.5e13,)))
    counted = [o for o in outcomes if o.counted]
    assert len(counted) >= 3 and "can be forecast" in told.verdict
    assert sum(o.inside for o in counted) >= len(counted) - 1
    assert np.mean([o.crps for o in counted]) < np.mean([o.baseline_crps["last"] for o in counted]) / 2
    assert told.weights["power"] + told.weights["mixture"] == pytest.approx(1)


def body_of(told):
    return {"assignment": told.assignment, "buckets": [b.to_dict() for b in told.buckets]}


def test_the_same_table_gives_the_same_forecast(world):
    table = world(7).table()
    buckets = freeze(table)
    one, two = (forecast(table, buckets, 1e13, draws=24, bootstraps=30) for _ in range(2))
    assert one == two


def test_buckets_at_floor_and_ceiling_are_named_and_too_few_left_is_said(world):
    easy = world(8, centre=1e8, spread=0.5, slope=2.0, ceiling=0.999).table()
    told = forecast(easy, freeze(easy), 1e13, draws=24, bootstraps=30)
    assert {b.state for b in told.buckets} == {"saturated"}
    assert told.verdict.startswith("not forecastable here: 0 of 6")


def test_intervals_widen_with_distance(world):
    table = world(9, centre=4e12).table()
    buckets = freeze(table)
    near, far = (forecast(table, buckets, c, draws=24, bootstraps=30) for c in (1.6e12, 4e13))
    assert np.mean([b.width_points for b in far.buckets]) > np.mean([b.width_points for b in near.buckets])


def test_errors_cluster_by_template(world):
    table = world(10).table()
    alone = dataclasses.replace(table, clusters=table.problems)
    twins = Table(
        table.runs, table.compute, (*table.problems, *(f"{p}'" for p in table.problems)),
        (*table.problems, *table.problems), *(np.hstack([m, m]) for m in (
            table.passes, table.draws, table.minus_log, table.difficulty, table.solved, table.bits
        )),
    )  # fmt: skip
    assert means(twins)[1] == pytest.approx(means(alone)[1], rel=1e-9)


def test_other_buckets_than_the_sealed_ones_are_refused(world):
    made = world(11)
    table = made.table()
    sealed = {"assignment": freeze(table).hash, "buckets": []}
    with pytest.raises(GnomonError, match="not the ones that were sealed"):
        verify(sealed, freeze(made.table()), made.table((1e13,)))


def test_crps_of_a_sure_and_right_forecast_is_nothing():
    sure = dict.fromkeys(("0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95"), 0.4)
    assert crps(sure, 0.4) == 0 and crps(sure, 0.5) == pytest.approx(0.1)


def test_bad_input(world):
    made = world(12)
    with pytest.raises(GnomonError, match="every run needs each problem once"):
        Table.of(list(made.run("a", 1e10)) + list(made.run("b", 2e10))[1:])
    table = made.table((1e10, 2e10, 4e10))
    with pytest.raises(GnomonError, match="at 3 computes"):
        forecast(table, freeze(made.table()), 1e12, draws=24, bootstraps=30)
    with pytest.raises(GnomonError, match="not beyond"):
        forecast(made.table(), freeze(made.table()), 1e11, draws=24, bootstraps=30)
    with pytest.raises(GnomonError, match="ever solved"):
        freeze(world(13, centre=1e30).table())
