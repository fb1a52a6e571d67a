"""A or B: planted gaps and crossings are found, and what cannot be known is said to be open."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable
from gnomon.forecast.advice.compare import compare, comparison_lines

FAR = 1e15


def recipe(log_factor, noise: float = 0.001, seed: int = 0, budgets: bool = True, start: float = 1e11) -> RunTable:
    """A ladder whose loss is a common law times exp(log_factor(log10 of compute)); runs share their scatter."""
    shared, own = np.random.default_rng(7), np.random.default_rng(seed)
    rows = []
    for compute in np.geomspace(start, 100 * start, 7):
        for u in (-1.0, -0.5, 0.0, 0.5, 1.0):
            size = 2e4 * (compute / 1e11) ** 0.5 * np.exp(u)
            scatter = 0.01 * shared.standard_normal() * (0 if budgets else 1)
            log_loss = np.log(3.0) - 0.05 * np.log(compute / 1e11) + 0.05 * u**2 + scatter
            log_loss += log_factor(np.log10(compute)) + noise * own.standard_normal()
            rows.append(
                {
                    "run_id": f"{compute:.3g}/{u}",
                    "parameters_matmul": round(size),
                    "tokens": round(compute / 6 / size),
                    "flops": compute,
                    "bits_per_byte_codebase": float(np.exp(log_loss)),
                    **({"budget": compute} if budgets else {}),
                }
            )
    return RunTable.from_rows(rows)


def test_a_constant_gap_is_found_though_runs_scatter_more_than_it(metric: str) -> None:
    better, plain = recipe(lambda c: -0.006, seed=1, budgets=False), recipe(lambda c: 0.0, seed=2, budgets=False)
    result = compare(better, plain, 1e14, metric)
    assert result.better == "A" and result.p_a_better > 0.6
    assert result.gap_low_pct < 0.6 < result.gap_high_pct
    swapped = compare(plain, better, 1e14, metric)
    assert swapped.better == "B"
    assert swapped.p_a_better == pytest.approx(1 - result.p_a_better, abs=0.02)


def test_a_planted_crossing_is_found(metric: str) -> None:
    """A is 5 % worse at 1e11, gains 2 % a decade, and is equal at 10^13.5, three times the largest rung."""
    gaining = recipe(lambda c: 0.02 * (13.5 - c), seed=1)
    result = compare(gaining, recipe(lambda c: 0.0, seed=2), FAR, metric)
    assert result.largest_pair_gap_pct < 0
    assert result.crossover is not None and result.crossover["probability"] > 0.3
    assert result.crossover["low"] < 10**14.5 and result.crossover["high"] > 10**13.2
    far, near = result.p_a_better, compare(gaining, recipe(lambda c: 0.0, seed=2), 1.5e13, metric).p_a_better
    assert far > near
    assert any("order changes" in line for line in comparison_lines(result, metric))


def test_doubt_grows_with_distance_and_regret_with_it(metric: str) -> None:
    a, b = recipe(lambda c: -0.01, seed=1), recipe(lambda c: 0.0, seed=2)
    near, far = (compare(a, b, c, metric) for c in (3e13, 3e15))
    assert near.p_a_better > far.p_a_better > 0.5
    assert far.regret_pct > near.regret_pct
    assert any("tested up to 100 times" in w for w in compare(a, b, 1e17, metric).warnings)


def test_without_pairs_two_forecasts_are_subtracted(metric: str) -> None:
    a = recipe(lambda c: -0.2, seed=1, budgets=False)
    b = recipe(lambda c: 0.0, seed=2, budgets=False, start=1.4e11)
    result = compare(a, b, 3e13, metric)
    assert result.how == "two forecasts" and result.better == "A" and result.warnings


def test_what_cannot_be_compared_is_named(metric: str) -> None:
    table = recipe(lambda c: 0.0)
    with pytest.raises(GnomonError, match="compute is"):
        compare(table, table, 0.0, metric)
    with pytest.raises(GnomonError, match="no runs can be paired"):
        compare(table.select(np.arange(0)), table, FAR, metric)
