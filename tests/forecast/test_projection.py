"""Variable projection: exact coefficients, right gradients, the optimum from any start."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.forecast import laws
from gnomon.forecast.projection import Loss, nonnegative, objective_and_gradient, solve


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_coefficients_are_the_non_negative_least_squares_solution(seed: int, k: int) -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((12, k)), rng.standard_normal(12)
    p = nonnegative((a.T @ a)[None], (a.T @ b)[None])[0]
    np.testing.assert_allclose(p, nnls(a, b)[0], atol=1e-9)


def grid_of_runs(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "compute": rng.uniform(1e11, 1e13, 24),
        "parameters": np.exp(rng.uniform(9, 14, 24)),
        "tokens": np.exp(rng.uniform(12, 17, 24)),
    }


@pytest.mark.parametrize("law", laws.standard_laws(), ids=lambda law: law.name)
def test_gradient_is_that_of_the_projected_objective(law: laws.Law) -> None:
    rng = np.random.default_rng(3)
    inputs = grid_of_runs(rng)
    law = law.centred(inputs)
    losses = np.exp(rng.normal(0.5, 0.1, (1, 24)))
    loss = Loss(rng.uniform(0.01, 0.05, 24), knee=1.5, worse=1.0)
    theta = np.array([[0.3, 0.35, 0.45, 1.2][: len(law.exponents)]])
    _, gradient = objective_and_gradient(law, theta, inputs, losses, loss)
    for i in range(len(law.exponents)):
        step = np.zeros_like(theta)
        step[0, i] = 1e-5
        up, _ = objective_and_gradient(law, theta + step, inputs, losses, loss)
        down, _ = objective_and_gradient(law, theta - step, inputs, losses, loss)
        assert gradient[0, i] == pytest.approx((up[0] - down[0]) / 2e-5, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("law", laws.standard_laws(), ids=lambda law: law.name)
def test_slopes_of_the_columns_are_their_derivatives(law: laws.Law) -> None:
    inputs = grid_of_runs(np.random.default_rng(1))
    law = law.centred(inputs)
    theta = np.array([[0.2, 0.4, 0.5, 0.8][: len(law.exponents)]])
    exact = law.slopes(theta, inputs)
    numeric = laws.Law.slopes(law, theta, inputs)
    np.testing.assert_allclose(exact, numeric, rtol=1e-4, atol=1e-9)


def test_a_known_surface_is_recovered_exactly() -> None:
    inputs = grid_of_runs(np.random.default_rng(0))
    law = laws.surface()
    law.prior = (None, None)
    truth = {"E": 0.7, "A": 40.0, "B": 900.0, "alpha": 0.41, "beta": 0.46}
    losses = law.predict(truth, parameters=inputs["parameters"], tokens=inputs["tokens"])
    found = solve(law, inputs, losses, Loss(np.full(24, 1e-3))).parameters()
    for name, value in truth.items():
        assert found[name] == pytest.approx(value, rel=1e-4)


def test_no_other_optimiser_finds_a_lower_objective() -> None:
    """A knee far below the noise makes the loss nearly absolute error, where reweighting alone creeps."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(5)
    inputs = grid_of_runs(rng)
    law = laws.surface()
    law.prior = (None, None)
    truth = {"E": 1.7, "A": 40.0, "B": 900.0, "alpha": 0.35, "beta": 0.4}
    losses = law.predict(truth, parameters=inputs["parameters"], tokens=inputs["tokens"])
    losses = losses * np.exp(0.01 * rng.standard_t(3, 24))
    loss = Loss(np.ones(24), knee=1e-3, worse=1e-3)
    found = solve(law, inputs, losses, loss)

    def objective(logs: np.ndarray) -> float:
        e, a, b, alpha, beta = np.exp(logs)
        fitted = e + a * inputs["parameters"] ** -alpha + b * inputs["tokens"] ** -beta
        return float(loss.value(fitted / losses - 1))

    start = np.log(list(found.parameters().values()))
    options = {"xatol": 1e-10, "fatol": 1e-16, "maxiter": 8000, "maxfev": 8000}
    best = minimize(objective, start, method="Nelder-Mead", options=options).fun
    assert found.objective[0] <= best * (1 + 1e-6)


def test_a_batch_gives_what_single_fits_give() -> None:
    rng = np.random.default_rng(8)
    inputs = grid_of_runs(rng)
    law = laws.surface_tied()
    truth = {"E": 0.7, "A": 40.0, "B": 300.0, "alpha": 0.4}
    clean = law.predict(truth, parameters=inputs["parameters"], tokens=inputs["tokens"])
    losses = clean * np.exp(0.004 * rng.standard_normal((6, 24)))
    loss = Loss(np.full(24, 0.004))
    batch = solve(law, inputs, losses, loss)
    for i, row in enumerate(losses):
        assert batch.exponents[i] == pytest.approx(solve(law, inputs, row, loss).exponents[0], rel=2e-3)


def test_under_tuned_runs_pull_an_asymmetric_fit_less() -> None:
    rng = np.random.default_rng(2)
    compute = np.geomspace(1e11, 1e13, 24)
    law = laws.power()
    clean = law.predict({"a": 30.0, "b": 0.1}, compute=compute)
    losses = clean * np.exp(0.001 * rng.standard_normal(24) + 0.01 * np.abs(rng.standard_normal(24)))
    at = {"compute": np.array([3e12])}
    truth = law.predict({"a": 30.0, "b": 0.1}, compute=3e12)[0]
    even = solve(law, {"compute": compute}, losses, Loss(np.full(24, 0.003)))
    one_sided = solve(law, {"compute": compute}, losses, Loss(np.full(24, 0.003), worse=0.5))
    assert 0 < one_sided.predict(at)[0, 0] - truth < 0.7 * (even.predict(at)[0, 0] - truth)
