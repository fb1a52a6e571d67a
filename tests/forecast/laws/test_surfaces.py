"""Laws of size and data beyond the plain one: right slopes, recovery, the plain one where nothing special happens."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable, laws
from gnomon.forecast.fitting.bootstrap import bootstrap
from gnomon.forecast.fitting.projection import Loss, solve
from gnomon.forecast.runs import admissible

SURFACE = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
CASES = {
    "drift": (laws.Drift(1e8, 1e10), {"delta": 0.06, "A": 0.6, "B": 0.4}),
    "repetition": (laws.Repetition(), {"R_D": 12.0, "R_N": 4.0}),
    "sparse": (laws.Sparse(), {"omega": 0.6}),
}


def inputs_of(count: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size, tokens = np.exp(rng.uniform(16, 21, count)), np.exp(rng.uniform(21, 25, count))
    unique = tokens / np.exp(np.maximum(rng.uniform(-1.5, 4, count), 0))
    return {
        "parameters": size,
        "tokens": tokens,
        "unique_tokens": unique,
        "active": size,
        "total": size * np.exp(np.maximum(rng.uniform(-1, 3, count), 0)),
    }


@pytest.mark.parametrize("name", CASES)
def test_slopes_are_the_derivatives_of_the_columns(name: str) -> None:
    law, own = CASES[name]
    theta = np.array([[(SURFACE | own)[e] for e in law.exponents]])
    exact, numeric = law.slopes(theta, inputs_of()), laws.Law.slopes(law, theta, inputs_of())
    scale = np.abs(numeric).max(axis=(0, 1), keepdims=True)
    np.testing.assert_allclose(exact, numeric, rtol=1e-4, atol=1e-6 * (scale.max() if scale.max() else 1))


@pytest.mark.parametrize("name", CASES)
def test_a_known_law_is_recovered(name: str) -> None:
    law, own = CASES[name]
    truth = SURFACE | own
    inputs = {n: v for n, v in inputs_of(100).items() if n in law.inputs}
    losses = law.predict(truth, **inputs) * np.exp(1e-4 * np.random.default_rng(1).standard_normal(100))
    found = solve(law.free(), inputs, losses, Loss(np.full(100, 1e-4))).parameters()
    for constant, value in truth.items():
        assert found[constant] == pytest.approx(value, rel=0.1), constant


def test_without_its_special_case_each_law_is_the_plain_surface() -> None:
    given = inputs_of()
    size, tokens = given["parameters"], given["tokens"]
    plain = laws.surface().predict(SURFACE, parameters=size, tokens=tokens)
    once = {"parameters": size, "tokens": tokens, "unique_tokens": tokens}
    fed = laws.Repetition(tokens_per_parameter=float((tokens / size).min()))
    assert fed.predict(SURFACE | {"R_D": 15.0, "R_N": 5.0}, **once) == pytest.approx(plain, rel=1e-12)
    dense = {"active": size, "total": size, "tokens": tokens}
    assert laws.Sparse().predict(SURFACE | {"omega": 0.7}, **dense) == pytest.approx(plain, rel=1e-12)
    still = laws.Drift().predict(SURFACE | {"delta": 0.0}, parameters=size, tokens=tokens)
    assert still == pytest.approx(plain, rel=1e-12)


def test_repeated_tokens_are_worth_ever_less() -> None:
    at = {"parameters": np.full(4, 1e8), "tokens": 4e9 * np.array([1, 4, 16, 1000.0]), "unique_tokens": np.full(4, 4e9)}
    loss = laws.Repetition().predict(SURFACE | {"R_D": 15.4, "R_N": 5.3}, **at)
    fresh = laws.surface().predict(SURFACE, parameters=at["parameters"], tokens=at["tokens"])
    assert (np.diff(loss) < 0).all() and (loss >= fresh - 1e-12).all()
    assert loss[1] - fresh[1] < 0.02 and loss[3] - fresh[3] > 0.05


def test_a_table_that_tells_its_unique_tokens_can_be_fitted_and_one_that_does_not_says_so() -> None:
    given = inputs_of(40)
    law, truth = laws.Repetition(), SURFACE | {"R_D": 12.0, "R_N": 4.0}
    losses = law.predict(truth, **{n: given[n] for n in law.inputs})
    rows = [
        {
            "run_id": f"r{i}",
            "parameters_total": given["parameters"][i],
            "tokens": given["tokens"][i],
            "unique_tokens": given["unique_tokens"][i] if given["unique_tokens"][i] < given["tokens"][i] else None,
            "flops": 6 * given["parameters"][i] * given["tokens"][i],
            "loss_nats_x": losses[i],
        }
        for i in range(40)
    ]
    runs = admissible(RunTable.from_rows(rows), "loss_nats_x")
    np.testing.assert_allclose(runs.inputs()["unique_tokens"], given["unique_tokens"])
    half = runs.select(np.arange(40) % 2 == 0)
    assert len(half.inputs()["unique_tokens"]) == 20
    found = bootstrap(law, runs, draws=3).point.parameters()
    assert found["alpha"] == pytest.approx(0.35, rel=0.05)
    with pytest.raises(GnomonError, match="the runs have no active"):
        bootstrap(laws.Sparse(), runs, draws=3)
