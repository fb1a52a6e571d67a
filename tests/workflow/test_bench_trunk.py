"""gnomon bench trunk: branches against runs from scratch, and the arithmetic of a regret."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import run_folder
from gnomon.ladder.table import read_result
from gnomon.ladder.trunk import family_hash, read_certificate
from gnomon.recipe.flops import train_flops
from gnomon.recipe.load import load_recipe
from gnomon.recipe.values import Base, Budget, FamilyRecipe, LadderRecipe
from gnomon.train.schedule import decay_start, warmup_steps
from gnomon.workflow import bench_trunk as module
from gnomon.workflow.bench_trunk import bench_trunk, horizons, regrets, trunk_and_branches, trunk_lines

BASE = Base(width=16, depth=1, batch_tokens=64, tokens=4e3)
FAMILY = FamilyRecipe(context=32, head_dim=8, depths={1: 1}, base=BASE, clip=0)
ENDS = (4e8, 3.2e9)


def test_a_trunk_serves_both_ends_with_the_middle_run_s_settings() -> None:
    family = Family(FAMILY, 300, "c" * 64)
    trunk, branches = trunk_and_branches(family, 16, ENDS, seed=1)
    middle = family.at(math.sqrt(ENDS[0] * ENDS[1]), 16, 1)
    assert (trunk.batch_rows, trunk.seed, trunk.optimisation.rate) == (
        middle.batch_rows, middle.seed, middle.optimisation.rate
    )  # fmt: skip
    assert warmup_steps(trunk.steps, trunk.optimisation) == warmup_steps(middle.steps, middle.optimisation)
    per_step = [1 / (plan.optimisation.timescale * plan.steps) for plan in (trunk, middle, *branches)]
    assert per_step == pytest.approx([per_step[0]] * 4)
    for branch, flops in zip(branches, ENDS, strict=True):
        assert train_flops(branch) == pytest.approx(flops, rel=0.05)
        leave = int(branch.parent.partition("@")[2])
        assert decay_start(branch.steps, branch.optimisation) == leave <= trunk.steps


def test_ends_too_far_apart_for_one_warm_up_are_refused() -> None:
    family = Family(FAMILY.model_copy(update={"warmup_fraction": 0.3}), 300, "c" * 64)
    with pytest.raises(GnomonError, match="closer together"):
        trunk_and_branches(family, 16, (4e8, 2e10), seed=0)


def test_a_width_that_one_budget_trains_is_refused() -> None:
    recipe = load_recipe("quickstart")
    assert horizons(recipe, 16) == (5e10, 4e11)
    with pytest.raises(GnomonError, match=r"--width 40: 0 budgets of quickstart"):
        horizons(recipe, 40)


def test_the_interval_pools_the_spread_over_seeds() -> None:
    rows = [{"end": end, "regret": value} for end, values in
            (("shortest", (0.01, 0.03)), ("longest", (-0.01, 0.01))) for value in values]  # fmt: skip
    means, interval = regrets(rows)
    assert means == pytest.approx({"shortest": 0.02, "longest": 0.0})
    # t of 2 degrees of freedom at 0.95 is 2.92; the pooled spread is sqrt(2e-4), of a mean of two 0.01.
    assert interval["longest"] == pytest.approx((-0.0292, 0.0292), rel=1e-3)
    assert interval["shortest"][1] - interval["shortest"][0] == pytest.approx(0.0584, rel=1e-3)


def test_trunks_branches_and_twins_are_trained_and_leave_a_certificate(
    small_home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, corpus = small_home
    ladder = LadderRecipe(budgets=tuple(Budget(compute=flops, widths=(16,)) for flops in ENDS))
    recipe = load_recipe("smoke").model_copy(update={"family": FAMILY, "ladder": ladder})
    monkeypatch.setattr(module, "build_corpus", lambda *_: corpus)
    said: list[str] = []
    certificate, path = bench_trunk(recipe, tmp_path, 16, 2, 1, lambda what, _: said.append(what))
    assert read_certificate(tmp_path, family_hash(FAMILY, corpus.hash)) == certificate
    assert path.exists() and any("branches" in what for what in said)
    rows = certificate.record["rows"]
    assert [(row["end"], row["seed"]) for row in rows] == [(e, s) for s in (0, 1) for e in ("shortest", "longest")]
    for row in rows:
        branch, twin = (read_result(run_folder(tmp_path, row[side])) for side in ("branch", "twin"))
        assert branch is not None and twin is not None and branch["trunk"] and not twin["trunk"]
        losses = row["bits_per_byte"]
        each = [losses["branch"][name] / losses["twin"][name] - 1 for name in losses["twin"]]
        assert row["regret"] == pytest.approx(sum(each) / len(each))
        assert row["branch_flops"] == pytest.approx(row["twin_flops"], rel=0.06)
    lines = "\n".join(trunk_lines(certificate, path))
    assert "shortest: regret" in lines and ("stay out" in lines or "may stand" in lines)
