"""The valley: a known one is found again, it needs no bracketed budget, and its record speaks for small models."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast import RunTable, Target, fit
from gnomon.forecast.fitting.projection import Loss, solve
from gnomon.forecast.laws.valley import Valley
from gnomon.forecast.learned import learned
from gnomon.forecast.record import expected_errors
from gnomon.forecast.runs import admissible

TRUTH = {"c": 1.1, "a": 2.9, "b": 0.12, "kappa": 0.05, "g": 0.5, "rho": 0.9}
SIZES = (4e4, 6.4e4, 9.2e4, 1.6e5, 2.4e5)
BUDGETS = (1e11, 2e11, 4e11, 8e11)
CENTRE = {"compute": np.array([3e11]), "parameters": np.array([9e4])}


def ladder(noise: float, sizes: tuple[float, ...] = SIZES, scale: float = 1.0) -> RunTable:
    """Runs of a known valley. scale: of every size, compute growing with its square."""
    law, rng = Valley().centred(CENTRE), np.random.default_rng(0)
    rows = []
    for budget in BUDGETS:
        for size in sizes:
            loss = float(law.predict(TRUTH, compute=budget, parameters=size)[0])
            rows.append(
                {
                    "run_id": f"{budget:.0e}-{size:.0f}",
                    "parameters_matmul": size * scale,
                    "flops": budget * scale**2,
                    "budget": budget * scale**2,
                    "tokens": budget * scale / (6 * size),
                    "steps": 1000,
                    "bits_per_byte_x": loss * float(np.exp(noise * rng.standard_normal())),
                }
            )
    return RunTable.from_rows(rows)


def test_a_known_valley_is_recovered_exactly_when_nothing_is_assumed():
    runs = admissible(ladder(0.0), "bits_per_byte_x")
    inputs = {"compute": runs.compute, "parameters": runs.size}
    law = Valley().centred(CENTRE)
    law.prior = (None, None, None, None)
    found = solve(law, inputs, runs.loss, Loss(np.full(len(runs), 1e-3))).parameters()
    for name, value in TRUTH.items():
        assert found[name] == pytest.approx(value, rel=0.02), name
    assert found["C0"] == pytest.approx(3e11) and found["N0"] == pytest.approx(9e4)


def test_it_forecasts_thirty_times_further_from_budgets_that_bracket_nothing():
    """Only the small side of every valley was trained: no parabola has a minimum, and the walls still tell."""
    table = ladder(0.001, sizes=(*SIZES[:3], 1.2e5))
    far = Target(2.5e13, 7e5, 5.9e6)
    truth = float(Valley().centred(CENTRE).predict(TRUTH, compute=far.compute, parameters=far.parameters)[0])
    fitted = fit(table, "bits_per_byte_x")
    assert fitted.best_size(far.compute) == pytest.approx(9e4 * 0.9 * (far.compute / 3e11) ** 0.5, rel=0.5)
    forecast = fitted.predict(far)
    assert forecast.law == "valley"
    assert forecast.median == pytest.approx(truth, rel=0.02)
    assert forecast.quantiles["0.05"] < truth < forecast.quantiles["0.95"]


def test_small_models_have_a_record_of_their_own():
    small = admissible(ladder(0.001), "bits_per_byte_x")
    large = admissible(ladder(0.001, scale=1e4), "bits_per_byte_x")
    names = ["valley", "power", "my own"]
    near, far = (expected_errors(names, small, learned(), decades, "any") for decades in (1.0, 2.0))
    assert near == far and near[0] < near[1] < near[2]
    near, far = (expected_errors(names, large, learned(), decades, "any") for decades in (1.0, 2.0))
    assert all(a < b for a, b in zip(near, far, strict=True)) and near[2] >= max(near)
