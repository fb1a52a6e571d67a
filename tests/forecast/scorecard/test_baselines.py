"""The methods to compare with recover laws that are theirs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gnomon.forecast.scorecard.baselines import Bnsl, Chinchilla, ChinchillaPrior, LastPoint, PowerFloor
from gnomon.forecast.scorecard.baselines.chinchilla import fit_surface
from gnomon.forecast.scorecard.baselines.compute import fit_bnsl, fit_power_floor, frontier
from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.scorecard.method import Question, TaskQuestion


def question(family: Family, optimum: bool = False) -> Question:
    """The top budget from the rest."""
    top = family.budget == family.budget.max()
    best = np.flatnonzero(top)[[3]]
    return Question(
        runs=family.select(~top),
        compute=family.flops_C[best],
        params=family.params_N[best],
        tokens=family.tokens_D[best],
        on_frontier=np.array([True]),
        ratio=4.0,
        source=family.source,
        optimum=optimum,
    )


def test_the_chinchilla_form_is_found_again(family: Callable[..., Family]) -> None:
    runs = family(budgets=4)
    fitted = fit_surface(runs.params_N, runs.tokens_D, runs.loss)
    assert (fitted.floor, fitted.alpha, fitted.beta) == (
        pytest.approx(1.7, rel=1e-3),
        pytest.approx(0.34, rel=1e-3),
        pytest.approx(0.28, rel=1e-3),
    )


def test_a_bad_run_does_not_move_the_chinchilla_form(family: Callable[..., Family]) -> None:
    runs = family()
    loss = runs.loss.copy()
    loss[::9] *= 1.2
    fitted = fit_surface(runs.params_N, runs.tokens_D, loss)
    assert fitted.floor == pytest.approx(1.7, rel=1e-2)


def test_the_prior_holds_exponents_that_few_runs_leave_open(family: Callable[..., Family]) -> None:
    few = family(budgets=2, noise=0.02)
    free, held = (fit_surface(few.params_N, few.tokens_D, few.loss, prior=p) for p in (False, True))
    assert max(abs(held.alpha - 0.34), abs(held.beta - 0.34)) < 0.2
    assert max(abs(free.alpha - 0.34), abs(free.beta - 0.34)) > max(abs(held.alpha - 0.34), abs(held.beta - 0.34))


@pytest.mark.parametrize("method", [Chinchilla(), ChinchillaPrior(), PowerFloor(), Bnsl()], ids=lambda m: m.name)
def test_every_form_halves_the_error_of_the_last_point(
    method: Chinchilla | PowerFloor | Bnsl, family: Callable[..., Family]
) -> None:
    asked = question(family(noise=0.001), optimum=True)
    top = family(noise=0.001)
    outcome = top.loss[top.budget == top.budget.max()][3]
    naive = abs(LastPoint().forecast(asked).median[0] / outcome - 1)
    assert abs(method.forecast(asked).median[0] / outcome - 1) < naive / 2


def test_laws_of_compute_answer_only_on_the_frontier(family: Callable[..., Family]) -> None:
    asked = question(family())
    off = Question(**{**asked.__dict__, "on_frontier": np.array([False])})
    assert np.isnan(PowerFloor().forecast(off).median).all()


def test_the_frontier_only_falls(family: Callable[..., Family]) -> None:
    runs = family(noise=0.01)
    best = frontier(runs)
    assert (np.diff(runs.loss[best]) < 0).all()
    assert (np.diff(runs.flops_C[best]) > 0).all()
    assert runs.loss[best].min() == runs.loss.min()


def test_curves_of_each_form_are_found_again() -> None:
    x = np.geomspace(1e3, 1e6, 30)
    floored = 3 * x**-0.3 + 0.2
    np.testing.assert_allclose(fit_power_floor(x[:20], floored[:20])(x), floored, rtol=1e-3)
    broken = 0.1 + 2 * x**-0.05 * (1 + (x / 2e4) ** (1 / 0.4)) ** (-0.4 * 0.4)
    np.testing.assert_allclose(fit_bnsl(x, broken)(x), broken, rtol=1e-2)


def test_tasks_are_forecast_from_log_accuracy(family: Callable[..., Family]) -> None:
    runs = family()
    accuracy = np.exp(-(0.1 + 30 * runs.params_N**-0.25 + 30 * runs.tokens_D**-0.25))
    top = runs.budget == runs.budget.max()
    asked = TaskQuestion(
        params=runs.params_N[~top],
        tokens=runs.tokens_D[~top],
        compute=runs.flops_C[~top],
        loss=runs.loss[~top],
        value=accuracy[~top],
        at_params=runs.params_N[top],
        at_tokens=runs.tokens_D[top],
        at_compute=runs.flops_C[top],
        at_loss=runs.loss[top],
        chance=0.0,
        source="lab",
    )
    forecast = Chinchilla().task(asked)
    assert forecast is not None
    np.testing.assert_allclose(forecast, accuracy[top], atol=0.005)
