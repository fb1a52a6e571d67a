"""Estimates of pass rates: what their averages are over many samplings, not what one gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.evals.pass_rates import Budget, Draws, harmonic, minus_log_rate, pass_at, rate, tail


def ended(budget, p, rng):
    return budget.run(lambda _, count: (rng.random(count) < p).tolist())


def averages(budget, p, seed, repeats=40_000):
    rng = np.random.default_rng(seed)
    draws = [ended(budget, p, rng) for _ in range(repeats)]
    logs, rates = np.array([minus_log_rate(d) for d in draws]), np.array([rate(d) for d in draws])
    return logs, rates


@pytest.mark.parametrize("p", [0.9, 0.5, 0.2, 0.1])
def test_minus_log_rate_is_unbiased_where_the_budget_reaches(p):
    budget = Budget(successes=4, most=round(4 / p) + 40, batch=3)
    logs, _ = averages(budget, p, seed=1)
    error = logs.std() / math.sqrt(len(logs))
    assert abs(logs.mean() + math.log(p)) <= 0.01 + 3 * error


def test_at_the_largest_number_of_draws_it_falls_short_by_the_tail():
    p, n = 0.05, 20
    logs, _ = averages(Budget(successes=10**6, most=n, batch=n), p, seed=2)
    assert logs.mean() == pytest.approx(-math.log(p) - tail(n, p), abs=4 * logs.std() / math.sqrt(len(logs)))
    assert tail(80, 0.05) < 0.01


def test_sequential_rate_is_unbiased_and_the_plain_share_is_not():
    budget, p = Budget(successes=3, most=10_000, batch=5), 0.3
    rng = np.random.default_rng(3)
    draws = [ended(budget, p, rng) for _ in range(20_000)]
    mean = np.mean([rate(d) for d in draws])
    assert mean == pytest.approx(p, abs=0.004)
    assert np.mean([d.c / d.n for d in draws]) > p + 0.03


def test_draws_beyond_the_stopping_one_do_not_count():
    assert Budget(2, 10, 5).ended([True, False, True, True, True]) == Draws(3, 2, stopped=True)
    assert Budget(2, 3, 5).ended([False, True, False]) == Draws(3, 1)
    assert Budget(2, 10, 5).ended([False, True]) is None


def test_harmonic_numbers():
    assert harmonic(0) == 0 and harmonic(4) == pytest.approx(25 / 12)
    assert harmonic(1000) == pytest.approx(math.fsum(1 / k for k in range(1, 1001)), rel=1e-14)


def test_no_pass_at_all_is_a_finite_number():
    assert minus_log_rate(Draws(20, 0)) == pytest.approx(harmonic(20))


def test_pass_at_k():
    assert pass_at(1, 10, 3) == pytest.approx(0.3)
    assert pass_at(5, 10, 6) == 1.0
    assert pass_at(2, 5, 2) == pytest.approx(1 - math.comb(3, 2) / math.comb(5, 2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: pass_at(5, 4, 1),
        lambda: Draws(3, 4),
        lambda: Draws(3, 0, stopped=True),
        lambda: Budget(0),
        lambda: tail(3, 0),
    ],
)
def test_bad_input(call):
    with pytest.raises(GnomonError):
        call()
