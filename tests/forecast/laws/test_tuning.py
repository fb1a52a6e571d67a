"""Rate and batch laws: a known bowl is found again from noisy sweeps, and bad sweeps get a line."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast.laws.tuning import fit_tuning

CELLS = ((1e8, 4e9), (2e8, 4e9), (1e8, 1.6e10), (4e8, 8e9))


def truth(size: float, tokens: float) -> tuple[float, float]:
    return 1.8 * size**-0.7 * tokens**0.3, 0.6 * tokens**0.57


def sweep(noise: float, steps: int = 7, off: float = 1.0) -> list[np.ndarray]:
    """Runs of a grid of 2^(1/1) steps in rate and batch around (off times) the best of every cell."""
    rng = np.random.default_rng(0)
    rows = []
    for size, tokens in CELLS:
        rate, batch = truth(size, tokens)
        for i in range(steps):
            for j in range(steps):
                x, z = np.log(2) * np.array([i - steps // 2, j - steps // 2]) + np.log(off) + 0.3
                excess = 0.5 * (0.014 * x * x - 2 * 0.005 * x * z + 0.013 * z * z)
                excess += 0.001 * (x**3 if x > 0 else 0)  # too high a rate is worse than too low a one
                loss = (2 + 400 * size**-0.35) * np.exp(excess + noise * rng.standard_normal())
                rows.append((size, tokens, rate * np.exp(x), batch * np.exp(z), loss))
    return list(np.array(rows).T)


def test_the_best_setting_ten_times_further_is_within_a_tenth_of_a_percent() -> None:
    tuning = fit_tuning(*sweep(noise=0.001))
    rate, batch = truth(2e9, 4e10)
    found = tuning.best(2e9, 4e10)
    away = np.log(found) - np.log([rate, batch])
    assert 0.5 * away @ np.array([[0.014, -0.005], [-0.005, 0.013]]) @ away < 0.001
    assert tuning.powers[1:, 0] == pytest.approx([-0.7, 0.3], abs=0.15)
    assert tuning.excess(2e9, 4e10, *found) == pytest.approx(0, abs=1e-12)
    assert tuning.excess(2e9, 4e10, 4 * found[0], found[1]) == pytest.approx(0.5 * 0.014 * np.log(4) ** 2, rel=0.35)


def test_a_given_batch_moves_the_rate() -> None:
    tuning = fit_tuning(*sweep(noise=0.0))
    rate, batch = tuning.best(1e9, 2e10)
    assert tuning.best_rate(1e9, 2e10, batch) == pytest.approx(rate)
    assert tuning.best_rate(1e9, 2e10, 4 * batch) > rate  # a larger batch bears a higher rate in this bowl


def test_the_order_of_rows_and_rows_without_a_loss_change_nothing() -> None:
    columns = sweep(noise=0.001)
    order = np.random.default_rng(1).permutation(len(columns[0]))
    shuffled = [np.append(c[order], extra) for c, extra in zip(columns, (1e8, 4e9, 1e-3, 64.0, np.nan), strict=True)]
    np.testing.assert_allclose(fit_tuning(*shuffled).powers, fit_tuning(*columns).powers, rtol=1e-6)


def test_what_cannot_be_fitted_is_said_in_a_line() -> None:
    columns = sweep(noise=0.0)
    one_cell = [c[:49] for c in columns]
    with pytest.raises(GnomonError, match="two are needed"):
        fit_tuning(*one_cell)
    with pytest.raises(GnomonError, match="two are needed"):
        fit_tuning(*[c[:0] for c in columns])
    flat = [*columns[:4], 1 / columns[4]]
    with pytest.raises(GnomonError, match="does not curve upwards"):
        fit_tuning(*flat)
