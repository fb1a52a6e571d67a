"""Compute in, plan out: the counted FLOPs meet the budget, and the rules say what ARCHITECTURE says."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.ladder.budgets import cost, rungs
from gnomon.ladder.family import Family
from gnomon.recipe.flops import matmul_parameters, total_parameters, train_flops, train_flops_per_token
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.recipe.values import Base, Budget, FamilyRecipe

BASE = Base(width=64, depth=2, batch_tokens=1024, tokens=1e6, tokens_per_parameter=25)
FAMILY = Family(FamilyRecipe(context=64, head_dim=16, depths={1: 2, 96: 4}, base=BASE), vocab=1024, corpus="c", seed=1)


@settings(max_examples=60, deadline=None)
@given(st.floats(2e11, 1e20), st.sampled_from([16, 32, 64, 96, 256]))
def test_counted_flops_meet_the_budget_within_one_percent_once_there_are_steps_enough(compute, width):
    plan = FAMILY.at(compute, width)
    if plan.steps >= 50:
        assert train_flops(plan) == pytest.approx(compute, rel=0.01)


def test_flops_are_counted_from_the_shape_by_hand():
    shape = ModelShape(vocab=100, context=9, width=32, depth=3, head_dim=16, mlp_ratio=3)
    block = 4 * 32 * 32 + 3 * 32 * 96
    assert matmul_parameters(shape) == 3 * block + 100 * 32
    assert total_parameters(shape) == 3 * block + 2 * 100 * 32 + 3 * (2 * 32 + 2 * 16) + 32
    assert train_flops_per_token(shape) == 6 * (3 * block + 100 * 32) + 3 * (3 * 4 * 32 * 5)


def test_the_base_itself_gets_the_tuned_numbers_unchanged():
    shape = FAMILY.shape(64)
    tokens = 1_000_000 // 1024 * 1024
    rates = FAMILY.optimisation(shape, tokens, batch_rows=16)
    assert rates.rate == pytest.approx(FAMILY.recipe.rate, rel=1e-3)
    assert rates.beta2 == pytest.approx(0.95)
    assert FAMILY.batch_rows(1e6) * 64 == 1024


def test_rates_follow_batch_and_horizon():
    shape = FAMILY.shape(64)
    base = FAMILY.optimisation(shape, 1_000_000, 16)
    assert FAMILY.optimisation(shape, 1_000_000, 64).rate == pytest.approx(2 * base.rate)
    assert FAMILY.optimisation(shape, 8_000_000, 16).rate == pytest.approx(base.rate * 8**-0.32)
    assert FAMILY.optimisation(shape, 4_000_000, 16).timescale == pytest.approx(base.timescale / 2)
    assert FAMILY.batch_rows(16e6) == round(16 * 16**0.383)


def test_depth_follows_the_width_and_branches_count_less():
    assert FAMILY.shape(64).depth == 2
    deep = FAMILY.shape(96)
    assert deep.depth == 4
    assert deep.branch_multiplier == 0.5


def test_seeds_differ_between_runs_and_studies_and_stay_the_same_otherwise():
    first, again, other = FAMILY.at(1e12, 64, 0), FAMILY.at(1e12, 64, 0), FAMILY.at(1e12, 64, 1)
    assert first == again and first.run_id == again.run_id
    assert len({first.seed, first.order_seed, other.seed, other.order_seed}) == 4
    study = dataclasses.replace(FAMILY, seed=2).at(1e12, 64, 0)
    assert study.run_id != first.run_id


def test_a_plan_survives_being_written_down():
    plan = FAMILY.at(1e12, 64)
    assert Plan.from_dict(plan.to_dict()) == plan
    with pytest.raises(GnomonError, match="not a plan"):
        Plan.from_dict({**plan.to_dict(), "colour": 1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelShape(100, 8, 32, 0), "family.depth is 0; a depth is at least 1"),
        (lambda: ModelShape(100, 8, 33, 1), "family.width is 33, which heads of 16 do not divide"),
        (lambda: FAMILY.at(1e6, 64), "less than one step"),
        (lambda: dataclasses.replace(FAMILY, recipe=FAMILY.recipe.model_copy(update={"depths": {32: 2}})).shape(16),
         "width 16 has no depth"),
        (lambda: rungs([Budget(compute=1e12, widths=(32,), seeded_widths=(16,))], FAMILY), "not among the widths"),
    ],
)  # fmt: skip
def test_an_impossible_shape_or_budget_is_named(make, message):
    with pytest.raises(GnomonError, match=message):
        make()


def test_the_ladder_lists_every_width_once_and_seeds_where_asked():
    budgets = [
        Budget(compute=1e12, widths=(16, 32, 64), seeds=(0, 1, 2), seeded_widths=(32,)),
        Budget(compute=4e12, widths=(32, 64)),
    ]
    found = rungs(budgets, FAMILY)
    assert [(r.budget, r.plan.shape.width, r.replica) for r in found] == [
        (1e12, 16, 0), (1e12, 32, 0), (1e12, 32, 1), (1e12, 32, 2), (1e12, 64, 0), (4e12, 32, 0), (4e12, 64, 0),
    ]  # fmt: skip
    assert len({r.plan.run_id for r in found}) == 7


def test_the_cost_adds_up_and_halves_on_two_cores():
    plans = [r.plan for r in rungs([Budget(compute=1e12, widths=(32,), seeds=(0, 1), seeded_widths=(32,))], FAMILY)]
    one, two = cost(plans, 1e11, 1), cost(plans, 1e11, 2)
    assert one.flops == two.flops == pytest.approx(2e12, rel=0.02)
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert two.memory_bytes > one.memory_bytes
