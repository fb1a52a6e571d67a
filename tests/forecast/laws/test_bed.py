"""The beds of the valley: right derivatives, known laws found again, a forecast that a careless bottom cannot bend."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast.fitting.projection import Loss, solve
from gnomon.forecast.isoflop import aged, nearness
from gnomon.forecast.laws import AlongBed, BedValley, Floor, Law, Slowing, beds, standard_laws
from gnomon.forecast.runs import Runs

BUDGETS = np.array([3e18, 1e19, 3e19, 1e20])
BEDS = [Floor(), Slowing()]
named = pytest.mark.parametrize("bed", BEDS, ids=lambda bed: bed.name)


def constants(bed: Floor | Slowing) -> dict[str, float]:
    bend = 0.35 if isinstance(bed, Floor) else 1.9
    walls = {"kappa": 0.06 if isinstance(bed, Floor) else 0.02, "g": 0.48, "rho": 1.3}
    return {"a": 3.0, "s": 0.055, bed.exponents[1]: bend, **walls}


def sweep(law: BedValley, truth: dict[str, float], steps: tuple[float, ...] = (-1.2, -0.6, 0.0, 0.6, 1.2)) -> Runs:
    """Runs along and across a known valley."""
    compute = np.repeat(BUDGETS, len(steps))
    size = np.array([law.best_size(truth, c) * np.exp(u) for c in BUDGETS for u in steps])
    loss = law.predict(truth, compute=compute, parameters=size)
    n = len(compute)
    budget = np.repeat(np.arange(len(BUDGETS)), len(steps))
    return Runs(np.arange(n).astype(object), compute, size, compute / 6 / size, loss, budget, np.arange(n))


@named
@pytest.mark.parametrize("kind", [AlongBed, BedValley])
def test_slopes_are_the_derivatives_of_the_columns(bed, kind):
    inputs = {"compute": np.geomspace(1e17, 3e20, 7), "parameters": np.geomspace(3e7, 4e9, 7)}
    law = kind(bed).centred(inputs)
    theta = np.array([[constants(bed)[name] for name in law.exponents]])
    assert law.slopes(theta, inputs) == pytest.approx(Law.slopes(law, theta, inputs), rel=1e-4, abs=1e-6)


@named
def test_a_known_valley_is_found_again_when_nothing_is_assumed(bed):
    law = BedValley(bed).centred({"compute": BUDGETS, "parameters": np.full(4, 5e8)})
    truth = constants(bed)
    runs = sweep(law, truth)
    inputs = {"compute": runs.compute, "parameters": runs.size}
    law.prior = (None,) * 5
    found = solve(law, inputs, runs.loss, Loss(np.full(len(runs), 1e-3))).parameters()
    assert {name: found[name] for name in truth} == pytest.approx(truth, rel=0.02)


@named
def test_the_constants_mean_the_same_in_every_unit(bed):
    """Loss in bits, compute in other operations: level and C0 change, slope and bend do not."""
    compute = np.array([1e18, 3e18, 1e19, 3e19])
    law = AlongBed(bed).centred({"compute": compute})
    loss = law.predict({k: v for k, v in constants(bed).items() if k in ("a", *bed.exponents)}, compute=compute)
    scale = Loss(np.full(4, 2e-3))
    one = solve(law, {"compute": compute}, loss, scale).parameters()
    other_law = AlongBed(bed).centred({"compute": 3 * compute})
    other = solve(other_law, {"compute": 3 * compute}, loss / np.log(2), scale).parameters()
    for name in bed.exponents:
        assert other[name] == pytest.approx(one[name], rel=1e-3)
    assert other["C0"] == pytest.approx(3 * one["C0"])


@named
def test_a_steep_bottom_is_not_carried_on(bed):
    """Careless sweeps of tiny models fall with a slope of 0.15 that is 0.06 two decades on; a power law goes on."""
    compute = np.geomspace(1e16, 2e17, 5)

    def truth(c: np.ndarray) -> np.ndarray:
        return 5.0 * (1 + 2.5 * 0.14 * np.log(c / 1e16)) ** (-1 / 2.5)

    law = AlongBed(bed).centred({"compute": compute})
    scale = aged(np.full(5, 2e-3), compute, law.stray)
    found = solve(law, {"compute": compute}, truth(compute), Loss(scale))
    far = np.array([2e19])
    error = float(np.log(found.predict({"compute": far})[0, 0] / truth(far)[0]))
    slope, level = np.polyfit(np.log(compute), np.log(truth(compute)), 1)
    power = float(level + slope * np.log(far[0]) - np.log(truth(far)[0]))
    assert abs(error) < 0.08 and power < -0.15


def test_a_run_says_the_less_the_higher_it_stands_above_its_budget():
    law = BedValley(Floor()).centred({"compute": BUDGETS, "parameters": np.full(4, 5e8)})
    runs = sweep(law, constants(Floor()), steps=(-3.0, -1.2, -0.4, 0.0, 0.4, 1.2, 3.0))
    weight = nearness(runs).reshape(4, 7)
    assert weight[:, 3] == pytest.approx(1.0)
    assert (np.diff(weight[:, :4], axis=1) > 0).all() and (np.diff(weight[:, 3:], axis=1) < 0).all()
    assert (weight[:, [0, -1]] < 0.1).all()


def test_points_far_below_the_top_count_less():
    deviation = aged(np.full(3, 1e-3), np.array([1e18, 1e19, 1e20]), stray=0.002)
    assert deviation[2] == pytest.approx(1e-3) and deviation[0] == pytest.approx(np.hypot(1e-3, 0.002 * np.log(100)))
    assert (np.diff(deviation) < 0).all()


def test_a_source_that_is_scored_is_left_out_of_the_priors():
    plain, without, unknown = (beds(names) for names in ((), ["marin"], ["mine"]))
    assert unknown == plain and without[1].prior[1][0] > plain[1].prior[1][0]
    assert without[0].prior[1][0] == pytest.approx(1 / (1 + without[1].prior[1][0]))
    assert [law.name for law in standard_laws(["marin"])] == [law.name for law in standard_laws()]
