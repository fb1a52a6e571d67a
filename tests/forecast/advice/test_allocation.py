"""Advice on size and tokens: the planted optimum is found, serving makes models smaller, prices add up."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable, fit
from gnomon.forecast.advice.allocation import Price, advice_lines, allocate
from gnomon.forecast.advice.basin import basin_of
from gnomon.forecast.runs import admissible

FAR = 1e14


def lopsided(u: np.ndarray) -> np.ndarray:
    """Log loss over log size about the best one: steeper where the model is too small."""
    return 0.05 * u**2 - 0.012 * u**3


def sweep(exponent: float, offsets: tuple[float, ...], noise: float = 0.0) -> RunTable:
    """Five budgets, sizes at these log distances from the best one, which grows as compute^exponent."""
    rng = np.random.default_rng(0)
    rows = []
    for compute in np.geomspace(1e11, 1e13, 5):
        best = 2e4 * (compute / 1e11) ** exponent
        for u in offsets:
            size = best * np.exp(u)
            loss = 3.0 * (compute / 1e11) ** -0.06 * np.exp(lopsided(np.array(u)) + noise * rng.standard_normal())
            rows.append(
                {
                    "run_id": f"{compute:.2g}/{u}",
                    "parameters_matmul": size,
                    "tokens": compute / 6 / size,
                    "flops": compute,
                    "budget": compute,
                    "bits_per_byte_codebase": float(loss),
                }
            )
    return RunTable.from_rows(rows)


@pytest.mark.parametrize("exponent", [0.42, 0.5, 0.6])
def test_basin_finds_the_planted_growth_from_uneven_sizes(exponent: float, metric: str) -> None:
    table = sweep(exponent, (-1.3, -0.9, -0.5, -0.1, 0.6, 1.4))
    basin = basin_of(admissible(table, metric))
    assert basin is not None
    best = 2e4 * (FAR / 1e11) ** exponent
    regret = float(lopsided(basin.best(np.array(FAR)) - np.log(best)))
    assert regret < 0.001
    assert basin.lean == pytest.approx(-0.012, abs=0.006)


def test_basin_needs_two_bracketed_budgets(metric: str) -> None:
    assert basin_of(admissible(sweep(0.5, (0.0, 0.5, 1.0)), metric)) is None


def test_advice_is_near_the_best_run_and_serving_shrinks_it(make_ladder, metric: str) -> None:
    ladder = make_ladder(noise=0.001, sizes=7)
    fitted = fit(ladder.table(), metric, draws=40)
    advice = allocate(fitted, FAR)
    target, best_loss = ladder.target(FAR)
    loss = float(ladder.law(np.array(advice.parameters), np.array(advice.tokens)))
    assert loss / best_loss - 1 < 0.005
    assert advice.parameters_low < target.parameters * 1.3 and advice.parameters_high > target.parameters / 1.3
    little, much = (allocate(fitted, FAR, serve_tokens=t) for t in (1e6, 1e10))
    assert much.parameters < little.parameters <= advice.parameters * 1.01
    assert much.tokens > advice.tokens
    assert much.plain is not None and much.training_flops + much.serving_flops < much.plain["flops"]
    assert much.loss == advice.loss  # a smaller model trained until it is as good


def test_decision_line_says_chance_cost_and_rung(make_ladder, metric: str) -> None:
    fitted = fit(make_ladder().table(), metric, draws=40)
    price = Price(flops_per_s=1e9, an_hour=2.0, devices=4, utilisation=0.5)
    sure = allocate(fitted, FAR, threshold=10.0, price=price, rung=True)
    assert sure.chance == 1.0
    assert sure.cost is not None and sure.cost["device_hours"] == pytest.approx(FAR / 0.5e9 / 3600)
    assert sure.cost["money"] == pytest.approx(2 * sure.cost["device_hours"])
    assert sure.cost["hours"] == pytest.approx(sure.cost["device_hours"] / 4)
    assert sure.rung is not None and sure.rung["half_width_after_pct"] < sure.rung["half_width_before_pct"]
    line = advice_lines(sure, metric)[-1]
    assert "P(loss < 10) = 1.00" in line and "one more rung" in line
    assert allocate(fitted, FAR, threshold=0.1).chance == 0.0


@pytest.mark.parametrize("compute", [0.0, -1.0, float("nan")])
def test_bad_compute_is_named(make_ladder, metric: str, compute: float) -> None:
    with pytest.raises(GnomonError, match="compute is"):
        allocate(make_ladder().table(), compute, metric)
    with pytest.raises(GnomonError, match="flops_per_s"):
        Price(0.0)


def test_a_table_that_says_nothing_of_size_is_refused(make_ladder, metric: str) -> None:
    with pytest.raises(GnomonError, match="how loss depends on size"):
        allocate(make_ladder().table().select(np.arange(4)), FAR, metric)
