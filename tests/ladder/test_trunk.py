"""Rows of branches: marked, unless a certificate for this family and text says that what they cost is small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json
from gnomon.ladder.table import run_table
from gnomon.ladder.trunk import (
    CERTIFICATE_SCHEMA,
    Certificate,
    certificate_path,
    family_hash,
    read_certificate,
    write_certificate,
)
from gnomon.recipe.flops import train_flops
from gnomon.recipe.load import load_recipe
from gnomon.recipe.plan import ModelShape, Optimisation, Plan

FAMILY = load_recipe("smoke").family
OURS = family_hash(FAMILY, "text")
BRANCH = Plan(
    ModelShape(vocab=64, context=16, width=16, depth=1, head_dim=8),
    Optimisation(rate=0.01, base_width=16, base_depth=1, embed_ratio=1, timescale=0.3, beta1=0.9, beta2=0.95),
    steps=10, batch_rows=2, seed=1, order_seed=2, corpus="c" * 64, parent="0123456789abcdef@5",
)  # fmt: skip


def certificate(shortest: float = 0.001, longest: float = -0.002, family: str = OURS) -> Certificate:
    flops = train_flops(BRANCH)
    regret = {"shortest": shortest, "longest": longest}
    interval = {end: (value - 0.001, value + 0.001) for end, value in regret.items()}
    return Certificate(family, 16, 2, flops / 2, flops * 2, regret, interval, {"rows": []})


def table_of(home: Path, plan: Plan = BRANCH, family: str = OURS):
    result = {
        "run_id": plan.run_id, "status": "done", "steps": 10, "tokens": plan.tokens, "flops": train_flops(plan),
        "seconds": 1.0, "registry_head": "", "device": "here", "evaluations": {},
    }  # fmt: skip
    write_json(home / "runs" / plan.run_id / "result.json", result, 1)
    return run_table(home, [(plan, {})], family)


def test_without_a_certificate_a_branch_is_marked(tmp_path: Path) -> None:
    assert table_of(tmp_path)["trunk"].tolist() == [True]
    assert "regret" not in table_of(tmp_path)["schedule"][0]


def test_a_small_measured_regret_admits_the_branch_and_the_row_says_so(tmp_path: Path) -> None:
    write_certificate(tmp_path, certificate())
    table = table_of(tmp_path)
    assert table["trunk"].tolist() == [False]
    assert "branched from a trunk, measured regret -0.20 %" in table["schedule"][0]


@pytest.mark.parametrize(
    "found",
    [certificate(shortest=0.0031), certificate(longest=-0.0031), certificate(family=family_hash(FAMILY, "other"))],
    ids=["lossy at the shortest", "better than the twin, so bent at the longest", "of another text"],
)
def test_no_other_certificate_does(found: Certificate, tmp_path: Path) -> None:
    write_certificate(tmp_path, found)
    assert table_of(tmp_path)["trunk"].tolist() == [True]


def test_what_lies_outside_the_measured_compute_stays_marked(tmp_path: Path) -> None:
    write_certificate(tmp_path, certificate())
    assert table_of(tmp_path, replace(BRANCH, steps=25))["trunk"].tolist() == [True]


def test_a_run_from_scratch_needs_none(tmp_path: Path) -> None:
    write_certificate(tmp_path, certificate())
    table = table_of(tmp_path, replace(BRANCH, parent=""))
    assert table["trunk"].tolist() == [False] and "regret" not in table["schedule"][0]


def test_a_certificate_is_for_every_rule_of_a_family() -> None:
    assert family_hash(FAMILY.model_copy(update={"rate": 0.005}), "text") != OURS


def test_a_certificate_comes_back_as_it_was_written_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    write_certificate(tmp_path, certificate())
    assert read_certificate(tmp_path, OURS) == certificate()
    write_json(certificate_path(tmp_path, OURS), {"family": OURS}, CERTIFICATE_SCHEMA)
    with pytest.raises(GnomonError, match="gnomon bench trunk"):
        read_certificate(tmp_path, OURS)
