"""A task's score carried up: known laws are met, silence and inverse scaling are said, bad tables are refused."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast.downstream import TaskForecast, deviance, fit_task

SIZES = np.array([2e7, 5e7, 1e8, 2e8, 4e8])
RATIOS = np.array([5.0, 20.0, 80.0, 320.0])
N = np.repeat(SIZES, len(RATIOS))
D = N * np.tile(RATIOS, len(SIZES))
C = 6 * N * D
BIG = {"parameters": [3e9], "tokens": [6e10], "compute": [6 * 3e9 * 6e10]}


def truth(n: np.ndarray, d: np.ndarray, chance: float = 0.25) -> np.ndarray:
    return chance + (1 - chance) * np.exp(-(0.1 + (1e8 / n) ** 0.4 + (2e9 / d) ** 0.35))


def table(noise: float = 0.004, seed: int = 0) -> np.ndarray:
    return np.clip(truth(N, D) + np.random.default_rng(seed).normal(scale=noise, size=len(N)), 0, 1)


def ask(score: np.ndarray, **more: object) -> TaskForecast:
    return fit_task(score, compute=C, parameters=N, tokens=D, chance=0.25, **more).predict(**BIG)  # type: ignore


def test_a_run_thirty_times_bigger_is_met() -> None:
    forecast = ask(table())
    outcome = truth(np.array([3e9]), np.array([6e10]))
    assert abs(forecast.median - outcome) < 0.05
    assert abs(forecast.median - outcome) < abs(table().max() - outcome) / 3
    assert forecast.quantiles[0.1] < outcome < forecast.quantiles[0.9]
    assert not forecast.flagged


def test_the_direct_law_weighs_most_where_it_is_the_truth() -> None:
    weights = {row["name"]: row["weight"] for row in ask(table()).components}
    assert weights["direct"] == max(weights.values())
    assert sum(weights.values()) == pytest.approx(1)


def test_the_way_through_the_loss_is_used_where_losses_are_given() -> None:
    loss = 1.7 + (4e6 / N) ** 0.34 + (4e7 / D) ** 0.3
    score = 0.25 + 0.75 * np.exp(-((loss / 2.0) ** 6))
    own = fit_task(score, compute=C, parameters=N, tokens=D, loss=loss, chance=0.25)
    ahead = 1.7 + (4e6 / 3e9) ** 0.34 + (4e7 / 6e10) ** 0.3
    outcome = 0.25 + 0.75 * np.exp(-((ahead / 2.0) ** 6))
    said = {row["name"]: row["median"][0] for row in own.predict(**BIG).components}
    assert said["through the loss"] == pytest.approx(outcome, abs=0.03)
    told = {row["name"]: row["median"][0] for row in own.predict(**BIG, loss=[ahead]).components}
    assert told["through the loss"] == pytest.approx(outcome, abs=0.01)


def test_sizes_may_be_unknown() -> None:
    forecast = fit_task(table(), compute=C, chance=0.25).predict(compute=BIG["compute"])
    assert "laws of compute alone" in " ".join(forecast.warnings)
    assert {row["name"] for row in forecast.components} == {"best so far", "power of compute", "logistic in compute"}


def test_a_task_at_chance_is_flagged_and_not_raised_far() -> None:
    score = 0.25 + np.random.default_rng(1).normal(scale=0.01, size=len(N))
    forecast = ask(score)
    assert forecast.flagged
    assert "no signal" in forecast.warnings[0]
    assert forecast.median[0] < 0.4


def test_all_zeros_are_answered_and_flagged() -> None:
    forecast = fit_task(np.zeros(len(N)), compute=C, parameters=N, tokens=D).predict(**BIG)
    assert forecast.flagged
    assert np.isfinite(forecast.median).all()


def test_a_task_that_is_solved_stays_solved() -> None:
    forecast = fit_task(np.ones(len(N)), compute=C, parameters=N, tokens=D).predict(**BIG)
    assert forecast.median[0] > 0.95


def test_inverse_scaling_is_said_and_no_law_is_used() -> None:
    score = 0.6 - 0.05 * np.log10(C / C.min()) + np.random.default_rng(2).normal(scale=0.005, size=len(N))
    forecast = ask(score)
    assert "inverse scaling" in forecast.warnings[0]
    assert forecast.median[0] < np.median(score)


def test_a_score_that_turned_is_fitted_past_the_turn() -> None:
    x = np.log10(C / C.min())
    score = 0.3 + 0.08 * (x - x.max() / 2) ** 2
    forecast = ask(score)
    assert "fell first" in forecast.warnings[0]
    assert forecast.median[0] > score.max() - 0.02


def test_known_items_use_a_binomial_likelihood() -> None:
    rng = np.random.default_rng(3)
    score = rng.binomial(200, truth(N, D)) / 200
    few, many = (ask(score, items=items) for items in (200, 20_000))
    outcome = truth(np.array([3e9]), np.array([6e10]))
    assert abs(few.median - outcome) < 0.1
    assert np.ptp([few.quantiles[0.05], few.quantiles[0.95]]) > 0
    assert np.isfinite(many.median).all()


def test_half_the_squared_deviance_is_minus_the_log_likelihood() -> None:
    seen, score = np.array([0.0, 0.3, 0.6, 1.0]), np.array([[0.1, 0.25, 0.6000001, 0.9]])

    def likelihood(p: np.ndarray) -> np.ndarray:
        return 50 * (seen * np.log(p) + (1 - seen) * np.log(1 - p))

    residual, slope = deviance(seen, score, 50)
    best = np.clip(seen, 1e-12, 1 - 1e-12)
    np.testing.assert_allclose(residual**2 / 2, likelihood(best) - likelihood(score), atol=1e-8)
    moved = deviance(seen, score + 1e-7, 50)[0]
    np.testing.assert_allclose(slope, (moved - residual) / 1e-7, rtol=2e-3)


def test_order_of_runs_does_not_matter_and_gaps_are_left_out() -> None:
    score, order = table(), np.random.default_rng(4).permutation(len(N))
    plain = ask(score).median
    shuffled = fit_task(score[order], compute=C[order], parameters=N[order], tokens=D[order], chance=0.25)
    np.testing.assert_allclose(shuffled.predict(**BIG).median, plain, rtol=1e-6)
    gap = fit_task(
        np.append(score, np.nan),
        compute=np.append(C, 1e22),
        parameters=np.append(N, 1e9),
        tokens=np.append(D, 1e12),
        chance=0.25,
    )
    np.testing.assert_allclose(gap.predict(**BIG).median, plain, rtol=1e-6)


def test_targets_keep_their_order() -> None:
    fit = fit_task(table(), compute=C, parameters=N, tokens=D, chance=0.25)
    n, d = np.array([3e9, 6e8, 1e9]), np.array([6e10, 1e10, 2e10])
    median = fit.predict(compute=6 * n * d, parameters=n, tokens=d).median
    assert median[1] < median[2] < median[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": [0.1, 0.2, 0.3, 0.4]}, "compute but 4 scores"),
        ({"score": 100 * table()}, "fractions from 0 to 1"),
        ({"compute": -C}, "positive numbers"),
        ({"chance": 1.5}, "chance is 1.5"),
        ({"score": np.full(len(N), np.nan)}, "0 runs have a score"),
        ({"tokens": ["many"] * len(N)}, "not a number"),
    ],
)
def test_a_table_that_cannot_be_is_refused_in_one_line(change: dict, said: str) -> None:
    given: dict = {"score": table(), "compute": C, "parameters": N, "tokens": D} | change
    with pytest.raises(GnomonError, match=said):
        fit_task(given.pop("score"), **given)
