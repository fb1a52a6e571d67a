"""The pair bootstrap of a law: the right spread, the same for the same seed, and a line for what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import laws
from gnomon.forecast.fitting.bootstrap import bootstrap
from gnomon.forecast.fitting.projection import Loss, solve
from gnomon.forecast.fitting.robust import published_loss
from gnomon.forecast.runs import Runs

TRUTH = {"E": 1.7, "A": 40.0, "B": 900.0, "alpha": 0.35, "beta": 0.4}


def runs_of(count: int, seed: int = 0) -> Runs:
    rng = np.random.default_rng(seed)
    size, tokens = np.exp(rng.uniform(9, 14, count)), np.exp(rng.uniform(12, 17, count))
    loss = laws.surface().predict(TRUTH, parameters=size, tokens=tokens) * np.exp(0.005 * rng.standard_t(4, count))
    groups = np.full(count, -1), np.arange(count)
    return Runs(np.arange(count), 6 * size * tokens, size, tokens, loss, *groups)


def test_draws_are_the_optima_of_their_own_resampled_tables() -> None:
    runs = runs_of(60)
    found = bootstrap(laws.surface(), runs, draws=8, seed=3)
    rng = np.random.default_rng(3)
    for i, rows in enumerate(rng.integers(60, size=(8, 60))):
        inputs = {"parameters": runs.size[rows], "tokens": runs.tokens[rows]}
        alone = solve(laws.surface().free(), inputs, runs.loss[rows], published_loss(60))
        assert found.draws.objective[i] == pytest.approx(alone.objective[0], rel=1e-6)
        assert found.draws.exponents[i] == pytest.approx(alone.exponents[0], abs=2e-3)


def test_its_spread_is_that_of_new_ladders() -> None:
    told = bootstrap(laws.surface(), runs_of(200), draws=200).deviations()
    again = [runs_of(200, seed) for seed in range(1, 17)]
    fits = [solve(laws.surface().free(), r.inputs(), r.loss, published_loss(200)).exponents[0] for r in again]
    for i, name in enumerate(("alpha", "beta")):
        assert told[name] == pytest.approx(np.std(fits, axis=0)[i], rel=0.6)


def test_the_same_seed_gives_the_same_draws_and_weights_are_kept() -> None:
    runs = runs_of(40)
    weighted = Loss(np.full(40, 0.005), weight=(runs.compute / runs.compute.max()) ** 0.35)
    one, two = (bootstrap(laws.surface_tied(), runs, draws=20, seed=1, loss=weighted) for _ in range(2))
    assert (one.draws.exponents == two.draws.exponents).all()
    plain = bootstrap(laws.surface_tied(), runs, draws=20, seed=1, loss=Loss(np.full(40, 0.005)))
    assert one.point.parameters() != plain.point.parameters()


def test_what_it_cannot_do_is_said_in_a_line() -> None:
    with pytest.raises(GnomonError, match="3 runs; its constants need 6"):
        bootstrap(laws.surface(), runs_of(3))
    with pytest.raises(GnomonError, match="0 draws"):
        bootstrap(laws.surface(), runs_of(30), draws=0)
