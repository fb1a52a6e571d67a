"""Branches: a new horizon from a stored step of another run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train import schedule
from gnomon.train.branch import branch_plan, parse
from gnomon.train.execution import decide
from gnomon.train.trainer import train

MakePlan = Callable[..., Plan]


@pytest.fixture
def trunk(corpus: Any, make_plan: MakePlan, tmp_path: Path) -> Plan:
    """A finished run at a constant rate, with its steps 8 and 16 kept, in tmp_path."""
    plan = make_plan(steps=16, decay_fraction=0.0, warmup_fraction=0.125)
    train(plan, corpus, tmp_path / plan.run_id, execution=decide(plan, keep_steps=(8, 16)))
    return plan


def test_a_branch_is_the_run_that_its_own_schedule_would_have_made(corpus: Any, trunk: Plan, tmp_path: Path) -> None:
    plan = branch_plan(trunk, 8, 32)
    assert plan.parent == f"{trunk.run_id}@8" and plan.run_id != trunk.run_id
    result = train(plan, corpus, tmp_path / plan.run_id)
    assert result.trunk and result.steps == 32 and result.tokens == plan.tokens
    alone = replace(plan, parent="")
    train(alone, corpus, tmp_path / alone.run_id)
    branched, whole = (checkpoints.load(tmp_path / p.run_id, 32).weights for p in (plan, alone))
    assert all(torch.equal(branched[name], whole[name]) for name in whole)


def test_a_branch_may_leave_from_the_end_of_a_trunk_that_never_decayed(
    corpus: Any, trunk: Plan, tmp_path: Path
) -> None:
    plan = branch_plan(trunk, 16, 20)
    assert train(plan, corpus, tmp_path / plan.run_id).status == "done"


def test_warmup_and_decay_per_step_stay_those_of_the_trunk(trunk: Plan) -> None:
    plan = branch_plan(trunk, 8, 12)
    old, new = trunk.optimisation, plan.optimisation
    assert schedule.warmup_steps(12, new) == schedule.warmup_steps(16, old)
    assert schedule.decay_start(12, new) == 8
    assert 1 / (new.timescale * 12) == pytest.approx(1 / (old.timescale * 16))
    schedule.check(new)


def test_branches_that_make_no_sense_are_refused(corpus: Any, make_plan: MakePlan, trunk: Plan, tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match="its rate is constant from step 2 to 16"):
        branch_plan(trunk, 1, 30)
    with pytest.raises(GnomonError, match="ends before it begins"):
        branch_plan(trunk, 8, 8)
    with pytest.raises(GnomonError, match="RUN@STEP"):
        parse("0123456789abcdef")
    missing = branch_plan(trunk, 9, 20)
    with pytest.raises(GnomonError, match="no checkpoint of that step; those kept: 8, 16"):
        train(missing, corpus, tmp_path / missing.run_id)
    other = replace(branch_plan(trunk, 8, 20), order_seed=77)
    with pytest.raises(GnomonError, match="another run: order_seed is 2 there and 77 here"):
        train(other, corpus, tmp_path / other.run_id)
