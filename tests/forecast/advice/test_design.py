"""The next rung: what tells most about the target is run first, within the budget, and says what it is worth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable, fit
from gnomon.forecast.advice.design import NEW, RETUNE, Candidate, candidates_of, choose, next_rung, proposal_lines
from gnomon.forecast.advice.posterior import Points, posterior

FAR = 3e14


def _ladder() -> RunTable:
    """Five budgets of five sizes of a sum of two power laws; the middle size has three seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for b, compute in enumerate(np.geomspace(1e11, 1e13, 5)):
        for k, factor in enumerate((0.3, 0.55, 1.0, 1.8, 3.3)):
            size = 3e4 * (compute / 1e11) ** 0.5 * factor
            tokens = compute / 6 / size
            for seed in range(3 if k == 2 else 1):
                loss = 0.6 + 1.2 * (2.2e3 / size) ** 0.28 + 1.5 * (4e5 / tokens) ** 0.3
                rows.append(
                    {
                        "run_id": f"b{b}k{k}s{seed}",
                        "parameters_matmul": size,
                        "tokens": tokens,
                        "flops": compute,
                        "budget": compute,
                        "seed": seed,
                        "bits_per_byte_codebase": float(loss * np.exp(0.003 * rng.standard_normal())),
                    }
                )
    return RunTable.from_rows(rows)


@pytest.fixture(scope="module")
def fitted():
    return fit(_ladder(), draws=60)


def test_a_far_reaching_run_is_preferred_to_one_more_small_seed(fitted) -> None:
    target = fitted.target(FAR)
    runs = fitted.runs
    small = int(runs.compute.argmin())
    points = Points.of(fitted.target(5e13))
    points = Points(
        *(
            np.append(getattr(points, name), values[small])
            for name, values in (("compute", runs.compute), ("parameters", runs.size), ("tokens", runs.tokens))
        )
    )
    cost = 5e13
    offers = [
        Candidate("far", np.array([0]), np.array([1e-5]), cost),
        Candidate("seed", np.array([1]), np.ones(1), cost),
    ]
    chosen, deviations = choose(posterior(fitted, target), target, points, offers, 2 * cost, most=1)
    assert [c.kind for c in chosen] == ["far"]
    assert deviations[1] < deviations[0]


def test_proposals_stay_within_the_budget_and_narrow_the_interval(fitted) -> None:
    target = fitted.target(FAR)
    budget = 5e13
    proposals = next_rung(fitted, target, budget)
    assert sum(p.cost_flops for p in proposals) <= budget * (1 + 1e-9)
    widths = [proposals[0].half_width_before_pct] + [p.half_width_after_pct for p in proposals]
    assert all(after < before for before, after in itertools.pairwise(widths))
    assert any(p.kind == NEW and p.runs[0]["compute"] > fitted.runs.compute.max() for p in proposals)
    more = next_rung(fitted, target, 2 * budget)
    assert more[-1].half_width_after_pct < proposals[-1].half_width_after_pct
    assert len(proposal_lines(proposals, target, fitted.metric)) >= 4


def test_an_untuned_run_is_offered_for_tuning(make_ladder, metric: str) -> None:
    table = make_ladder(noise=0.001, repeated=()).table()
    losses = table[metric].copy()
    losses[12] *= 1.08
    spoiled = fit(RunTable({**table.columns, metric: losses}), metric, draws=40)
    _, found = candidates_of(spoiled, spoiled.target(FAR), 1e14)
    why = [c.why for c in found if c.kind == RETUNE]
    assert any(str(table["run_id"][12]) in text for text in why)


def test_a_budget_that_pays_for_nothing_is_named(fitted) -> None:
    with pytest.raises(GnomonError, match="pays for no run"):
        next_rung(fitted, fitted.target(FAR), 1e9)
    with pytest.raises(GnomonError, match="budget is"):
        next_rung(fitted, fitted.target(FAR), -1.0)
