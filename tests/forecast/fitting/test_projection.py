"""Variable projection: exact coefficients, right gradients, the optimum from any start."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.forecast import laws
from gnomon.forecast.fitting.newton import descend
from gnomon.forecast.fitting.projection import Loss, nonnegative, objective_and_gradient, polish, solve
from gnomon.forecast.laws.law import Rows


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


def somewhere(law: laws.Law, place: float) -> np.ndarray:
    """[1, q]: exponents inside their bounds, at `place` of the way in the logarithm (0 to 1), capped at 2."""
    low, high = np.array(law.bounds).T
    return np.minimum(low * (high / low) ** place, 2.0)[None, :]


@pytest.mark.parametrize("law", laws.standard_laws(), ids=lambda law: law.name)
def test_gradient_is_that_of_the_projected_objective(law: laws.Law) -> None:
    rng = np.random.default_rng(3)
    inputs = grid_of_runs(rng)
    law = law.centred(inputs)
    losses = np.exp(rng.normal(0.5, 0.1, (1, 24)))
    loss = Loss(rng.uniform(0.01, 0.05, 24), knee=1.5, worse=1.0)
    theta = somewhere(law, 0.3)
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
    theta = somewhere(law, 0.5)
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


def hard_table(seed: int, runs: int, log: bool = False) -> tuple[laws.Law, dict[str, np.ndarray], np.ndarray, Loss]:
    """A knee far below heavy-tailed noise makes the loss nearly absolute error, where reweighting alone creeps."""
    rng = np.random.default_rng(seed)
    inputs = {"parameters": np.exp(rng.uniform(9, 14, runs)), "tokens": np.exp(rng.uniform(12, 17, runs))}
    truth = {"E": 1.7, "A": 40.0, "B": 900.0, "alpha": 0.35, "beta": 0.4}
    law = laws.surface().free()
    losses = law.predict(truth, **inputs) * np.exp(0.01 * rng.standard_t(3, runs))
    return law, inputs, losses, Loss(np.ones(runs), knee=1e-3, worse=1e-3, log=log)


def lbfgs(inputs: dict[str, np.ndarray], losses: np.ndarray, loss: Loss, starts: np.ndarray) -> float:
    """The best that scipy finds from these ln E, ln A, ln B, alpha, beta [S, 5]."""
    from scipy.optimize import minimize

    u, v = np.log(inputs["parameters"]), np.log(inputs["tokens"])

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        parts = np.exp(np.clip([z[0] + 0 * u, z[1] - z[3] * u, z[2] - z[4] * v], -300, 300)) / losses
        ratio = parts.sum(0)
        residual = loss.residual(ratio)
        pull = loss.slope(residual) / (ratio if loss.log else 1.0)
        return float(loss.value(residual)), np.array([*parts, -u * parts[1], -v * parts[2]]) @ pull

    box = [(-40, 5), (-50, 60), (-50, 60), (0.02, 2), (0.02, 2)]
    options = {"maxiter": 1500, "ftol": 1e-15, "gtol": 1e-13}
    found = [minimize(objective, z, jac=True, method="L-BFGS-B", bounds=box, options=options) for z in starts]
    return min(f.fun for f in found)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("seed", [1, 5])
def test_no_other_optimiser_finds_a_lower_objective(seed: int, log: bool) -> None:
    law, inputs, losses, loss = hard_table(seed, 24, log)
    found = solve(law, inputs, losses, loss)
    start = np.array([*np.log(np.maximum(found.coefficients[0], 1e-15)), *found.exponents[0]])
    starts = start + 0.03 * np.random.default_rng(0).standard_normal((2, 5))
    assert found.objective[0] <= lbfgs(inputs, losses, loss, np.stack([start, *starts])) * (1 + 1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_start_ends_at_the_same_optimum(seed: int) -> None:
    law, inputs, losses, loss = hard_table(seed, 24 if seed else 60)
    best = solve(law, inputs, losses, loss).objective[0]
    random = np.random.default_rng(seed).uniform(0.03, 1.9, (40, 2))
    alone = [solve(law, inputs, losses, loss, starts=1, begin=theta).objective[0] for theta in random[:4]]
    np.testing.assert_allclose(alone, best, rtol=1e-6)
    # Even without the grid, most of the square of exponents leads there.
    rows = np.broadcast_to(losses, (40, len(losses)))
    theta, p, _ = polish(law, random, inputs, rows, loss, 1e-3)
    _, _, value = descend(law, theta, p, inputs, rows, loss, damping=1e-2)
    assert (value <= best * (1 + 1e-6)).mean() > 0.6 and (value >= best * (1 - 1e-6)).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_never_worse_than_that_of_five_hundred_starts(seed: int) -> None:
    law, inputs, losses, loss = hard_table(seed, 240, log=True)
    rng = np.random.default_rng(seed)
    starts = rng.uniform([-1, 0, 0, 0.02, 0.02], [1, 25, 25, 2, 2], (500, 5))
    assert solve(law, inputs, losses, loss).objective[0] <= lbfgs(inputs, losses, loss, starts) * (1 + 1e-9)


def test_weights_count_rows() -> None:
    law, inputs, losses, loss = hard_table(3, 30)
    counts = np.random.default_rng(0).integers(0, 4, (2, 30)).astype(float)
    together = solve(law, inputs, losses, loss.counting(counts))
    for i, count in enumerate(counts):
        rows = np.repeat(np.arange(30), count.astype(int))
        copied = {name: values[rows] for name, values in inputs.items()}
        alone = solve(law, copied, losses[rows], Loss(np.ones(len(rows)), 1e-3, 1e-3))
        assert together.objective[i] == pytest.approx(alone.objective[0], rel=1e-6)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("law", laws.standard_laws(), ids=lambda law: law.name)
def test_the_quick_derivatives_are_those_of_the_objective(law: laws.Law, log: bool) -> None:
    """Gradient and Hessian of the coefficients' logarithms and the exponents, against differences of the objective
    and, for the Hessian, against the general way through the Jacobian."""
    inputs = grid_of_runs(np.random.default_rng(4))
    law = law.centred(inputs)
    k, q = len(law.coefficients), len(law.exponents)
    theta, p = somewhere(law, 0.4), np.array([[0.6, 3.0, 2.0][:k]])
    losses = (law.columns(theta, inputs)[0] @ p[0]) * np.exp(np.random.default_rng(1).normal(0, 0.02, 24))
    loss = Loss(np.full(24, 0.01), 1.5, 1.0, weight=np.linspace(0.5, 2, 24), log=log)
    floors = np.array(law.floors)

    def at(move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(floors, p + move[:k], p * np.exp(move[:k])), theta + move[k:]

    def value(move: np.ndarray) -> float:
        moved, exponents = at(move)
        ratio = law.columns(exponents, inputs)[0] @ moved[0] / losses
        return float(loss.value(loss.residual(ratio)))

    def equations(move: np.ndarray, which: type[laws.Law]) -> tuple[np.ndarray, np.ndarray]:
        moved, exponents = at(move)
        parts = law.parts(exponents, moved, inputs, np.log(losses)[None, :])
        ratio = parts.sum(1)
        relative = 1 / (loss.scale * ratio) if log else np.broadcast_to(1 / loss.scale, ratio.shape)
        residual = loss.residual(ratio)
        pull = loss.slope(residual)
        inner = (np.abs(residual) <= loss.knees(residual)) * loss.weight
        rows = Rows(relative / losses, pull, inner - pull * loss.scale if log else inner)
        gradient, hessian = which.normal_equations(law, exponents, moved, inputs, parts * relative[:, None], rows)
        return gradient[0], hessian[0]

    steps = np.eye(k + q) * 1e-6
    gradient, hessian = equations(np.zeros(k + q), type(law))
    numeric = [(value(d) - value(-d)) / 2e-6 for d in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())
    bent = [(equations(d, type(law))[0] - equations(-d, type(law))[0]) / 2e-6 for d in steps]
    np.testing.assert_allclose(hessian, bent, rtol=1e-4, atol=1e-5 * np.abs(hessian).max())
    slow = equations(np.zeros(k + q), laws.Law)[1]
    np.testing.assert_allclose(hessian, slow, rtol=1e-5, atol=1e-7 * np.abs(hessian).max())


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
