"""Protocols show a method nothing above the cut, ask about the right runs, and refuse sources that it learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast.scorecard.baselines import Chinchilla, LastPoint
from gnomon.forecast.scorecard.families import Collection, Curve, Downstream, Family
from gnomon.forecast.scorecard.minima import minima
from gnomon.forecast.scorecard.protocols import coverage, downstream, isoflop, rnsl, rolling_origin
from gnomon.forecast.scorecard.protocols.asking import ask


@pytest.mark.parametrize("ratio", [10, 100])
def test_nothing_above_the_cut_is_shown(ratio: int, family: Callable[..., Family]) -> None:
    families = [family()]
    plans = [*rolling_origin.plan(families, ratio), *coverage.plan(families, ratio)]
    assert plans
    for asked in plans:
        assert asked.question.runs.flops_C.max() <= asked.question.compute.min() / ratio * (1 + 1e-9)
    for asked in isoflop.plan(families, ratio):
        assert asked.question.runs.flops_C.max() <= 1.05 * asked.question.compute[0] / ratio


def test_at_ten_times_only_the_top_two_decades_are_targets(family: Callable[..., Family]) -> None:
    runs = family(budgets=9)
    asked = np.concatenate([a.question.compute for a in rolling_origin.plan([runs], 10)])
    assert asked.min() >= runs.flops_C.max() / 100 * 0.999
    assert np.concatenate([a.question.compute for a in rolling_origin.plan([runs], 100)]).size > 0


def test_neighbours_share_a_fit_and_no_target_is_lost(family: Callable[..., Family]) -> None:
    few, many = (rolling_origin.plan([family()], 10, refits=r) for r in (2, 1000))
    assert len(few) == 2
    assert sum(len(a.outcome) for a in few) == sum(len(a.outcome) for a in many) == len(many)


def test_the_truth_of_a_budget_is_the_bottom_of_its_parabola(family: Callable[..., Family]) -> None:
    found = minima(family())
    assert len(found) == 7
    for m in found:
        assert m.loss == pytest.approx(1.7 + 400 * m.size**-0.34 + 400 * m.tokens**-0.28, rel=1e-3)


def test_a_budget_without_a_minimum_inside_is_left_out(family: Callable[..., Family]) -> None:
    runs = family()
    first = runs.budget == runs.budget.min()
    best = runs.params_N[first][runs.loss[first].argmin()]
    cut = runs.select(~(first & (runs.params_N > best)))
    assert len(minima(cut)) == 6


def test_ties_of_digitised_losses_are_bracketed(family: Callable[..., Family]) -> None:
    runs = family()
    loss = runs.loss.copy()
    first = np.flatnonzero(runs.budget == runs.budget.min())
    loss[first[:5]] = loss[first[:5]].min()  # a flat bottom that begins at the smallest size
    assert len(minima(replace(runs, loss=loss))) == 7


def test_a_source_that_was_learned_from_is_refused_unless_left_out(family: Callable[..., Family]) -> None:
    class Student(LastPoint):
        learned_from = ("lab",)

    plan = rolling_origin.plan([family()], 10)
    with pytest.raises(GnomonError, match="learned from lab"):
        ask(Student(), plan, 10)
    student = Student()
    student.leaves_out = True
    assert ask(student, plan, 10)


def test_a_method_that_refuses_leaves_its_targets_unanswered(family: Callable[..., Family]) -> None:
    class Silent(LastPoint):
        def forecast(self, question: object) -> object:  # type: ignore[override]  # always refuses
            raise GnomonError("no")

    rows = ask(Silent(), rolling_origin.plan([family()], 10), 10)  # type: ignore[arg-type]  # as above
    assert rows
    assert not any(r.answered for r in rows)


def test_conformal_intervals_need_other_sources(collection: Collection) -> None:
    class Guess(LastPoint):
        conformal = True

    rows = ask(Guess(), coverage.plan(collection.families, 10), 10)
    assert all(r.quantiles is not None for r in rows)
    alone = ask(Guess(), coverage.plan(collection.families[:1], 5), 5)  # a ratio that has no record either
    assert all(r.quantiles is None for r in alone)


def test_curves_are_scored_on_their_hidden_part() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    curve = Curve("c", "s", "images", x, np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, True, False, False]))
    errors = rnsl.curve_errors(LastPoint(), [curve])
    assert errors is not None
    assert errors["c"] == pytest.approx(np.sqrt((np.log(1.5) ** 2 + np.log(3.0) ** 2) / 2))
    assert rnsl.summary(errors, {"c": 9.0}, {"c": "images"})["beats_bnsl"] == 1.0
    assert rnsl.curve_errors(Chinchilla(), [curve]) is None


def tasks_of(family: Family) -> Downstream:
    accuracy = 0.9 - 60 * family.flops_C**-0.12
    values = np.stack([accuracy, np.full(len(family), 0.25)], axis=1)
    return Downstream(
        "t",
        family.source,
        family.run_ids,
        np.full(len(family), "a"),
        family.params_N,
        family.tokens_D,
        family.flops_C,
        ("rises", "flat"),
        values,
        family.loss,
    )


def test_only_tasks_with_a_signal_count_and_the_target_is_the_biggest_run(family: Callable[..., Family]) -> None:
    table = tasks_of(family())
    plans = dict(downstream.plans(table))
    assert [a.name for a in plans["10"]] == ["rises"]
    asked = plans["10"][0].question
    assert asked.at_compute[0] == table.flops_C.max()
    assert asked.compute.max() <= asked.at_compute[0] / 10
    figures = downstream.summary(LastPoint(), [table])
    assert figures is not None
    assert figures["t"]["10"]["mean_points"] > 1.0
