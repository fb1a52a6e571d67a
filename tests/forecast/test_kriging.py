"""The surface with a misfit: right on its own law, anchored by large runs, honest far out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnomon.forecast.kriging import MOST_RUNS, Setting, fit_kriged
from gnomon.forecast.learned import learned
from gnomon.forecast.runs import Runs

SETTING = learned().setting


def law(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return 1.8 + 400 / size**0.34 + 2000 / tokens**0.36


def runs(count: int = 60, top: float = 1e20, noise: float = 0.003, bend: float = 0.0, seed: int = 0) -> Runs:
    """Runs between top/1e4 and top FLOPs of 5 to 80 tokens a parameter; bend: log loss gained per decade below top."""
    rng = np.random.default_rng(seed)
    compute = top * 10 ** rng.uniform(-4, 0, count)
    compute[0] = top
    size = np.sqrt(compute / 6 / rng.uniform(5, 80, count))
    tokens = compute / 6 / size
    log_loss = np.log(law(size, tokens)) + noise * rng.standard_normal(count) + bend * np.log10(top / compute)
    ids = np.array([f"r{i}" for i in range(count)], dtype=object)
    return Runs(ids, compute, size, tokens, np.exp(log_loss), np.full(count, -1), np.arange(count))


def at(compute: float) -> dict[str, np.ndarray]:
    size = np.array([np.sqrt(compute / 120)])
    return {"parameters": size, "tokens": compute / 6 / size}


@pytest.mark.parametrize("ratio", [10, 100, 1000])
def test_a_known_law_is_forecast_far_out(ratio: int) -> None:
    fitted = fit_kriged(runs(), SETTING)
    target = at(1e20 * ratio)
    true = float(law(target["parameters"], target["tokens"])[0])
    assert fitted.predict(target)[0, 0] == pytest.approx(true, rel=0.005 * (1 + np.log10(ratio)))
    constants = fitted.parameters()
    mine = constants["E"] + constants["A"] / 1e9 ** constants["alpha"] + constants["B"] / 2e10 ** constants["beta"]
    assert mine == pytest.approx(float(law(np.array(1e9), np.array(2e10))), rel=0.02)


def test_a_bend_at_small_runs_hurts_less_than_it_hurts_least_squares() -> None:
    """Small runs that are worse than the law (bad horizons, embeddings) must not steepen the far forecast much."""
    bent = runs(bend=0.02)
    target = at(1e22)
    true = float(law(target["parameters"], target["tokens"])[0])
    plain = Setting(
        SETTING.exponent, SETTING.ratio_size, SETTING.ratio_tokens, (1e-6, 1.0), (1e-6, 1.0), 0.0, 0.01, 0.0, 6.0
    )
    with_misfit, without = (abs(fit_kriged(bent, s).predict(target)[0, 0] / true - 1) for s in (SETTING, plain))
    assert with_misfit < 0.7 * without


def test_the_misfit_grows_with_distance_and_the_draws_with_the_noise() -> None:
    fitted = fit_kriged(runs(), SETTING)
    near, middle, far = (float(fitted.misfit_deviation(at(c))[0]) for c in (1e20, 1e21, 1e23))
    assert near < middle < far
    quiet, loud = (
        np.log(fit_kriged(runs(noise=n), SETTING).drawn(200, 0).predict(at(1e22))).std() for n in (0.001, 0.02)
    )
    assert loud > 1.2 * quiet


def test_an_outlier_moves_the_forecast_little() -> None:
    clean = runs()
    loss = clean.loss.copy()
    loss[int(np.argsort(clean.compute)[-5])] *= 1.3
    before, after = (fit_kriged(r, SETTING).predict(at(1e22))[0, 0] for r in (clean, replace(clean, loss=loss)))
    assert after == pytest.approx(before, rel=0.015)


def test_the_order_of_runs_does_not_matter_and_many_runs_are_thinned() -> None:
    many = runs(3 * MOST_RUNS)
    shuffled = many.select(np.random.default_rng(1).permutation(len(many)))
    first, second = (fit_kriged(r, SETTING) for r in (many, shuffled))
    assert len(first.x) == MOST_RUNS
    assert first.predict(at(1e22))[0, 0] == pytest.approx(second.predict(at(1e22))[0, 0], rel=1e-6)


def test_draws_of_two_targets_go_together() -> None:
    drawn = fit_kriged(runs(20), SETTING).drawn(200, 0)
    one, two = (np.log(drawn.predict(at(c)))[:, 0] for c in (1e22, 2e22))
    assert np.corrcoef(one, two)[0, 1] > 0.95
