"""The comparison of optimisers: same budgets, same rows, one's seconds for the other, and it runs end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gnomon.recipe.flops import train_flops
from gnomon.recipe.values import (
    Base,
    Budget,
    CorpusRecipe,
    EvalRecipe,
    FamilyRecipe,
    FolderSource,
    HeldOut,
    LadderRecipe,
    Recipe,
    TargetRecipe,
)
from gnomon.workflow import bench_muon
from gnomon.workflow.bench_muon import family_of, mean_and_error, muon_lines


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    text = tmp_path / "text"
    text.mkdir()
    for i in range(40):
        (text / f"{i}.txt").write_text(" ".join(str((i * 7 + j * j) % 100) for j in range(120)))
    source = FolderSource(kind="folder", path=str(text))
    return Recipe(
        name="numbers",
        corpus=CorpusRecipe(sources=(source,), vocabulary=270, held_out=HeldOut(fraction=0.2)),
        family=FamilyRecipe(context=16, head_dim=8, base=Base(width=8, depth=2, batch_tokens=64, tokens=1024)),
        ladder=LadderRecipe(budgets=(Budget(compute=1e8, widths=(8,)),)),
        target=TargetRecipe(compute=1e9, width=8),
        evals=EvalRecipe(subset_tokens=300),
    )


def test_only_the_optimiser_and_its_own_rate_change(recipe: Recipe) -> None:
    class Numbers:
        vocab, hash = 270, "c" * 64

    corpus: Any = Numbers()
    adamw, muon = (family_of(recipe, corpus, name, 2.0).at(2e7, 8) for name in ("adamw", "muon"))
    plain = family_of(recipe, corpus, "adamw", 1.0).at(2e7, 8)
    assert (muon.seed, muon.order_seed, muon.steps, muon.batch_rows) == (
        plain.seed,
        plain.order_seed,
        plain.steps,
        plain.batch_rows,
    )
    assert muon.optimisation.rate == plain.optimisation.rate == adamw.optimisation.rate / 2
    assert muon.optimisation.muon_rate > 0 == adamw.optimisation.muon_rate


@pytest.mark.slow
def test_end_to_end_with_muon_at_twice_the_seconds(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then, at equal seconds, Muon gets half the FLOPs."""
    monkeypatch.setattr(bench_muon, "step_costs", lambda plans, corpus: [0.001, 0.002])
    trained = []
    inner = bench_muon.Bench.train
    monkeypatch.setattr(bench_muon.Bench, "train", lambda self, plans: (trained.extend(plans), inner(self, plans)))
    said = list(muon_lines(recipe, tmp_path / "home", tmp_path / "out", 1, ((4e7, 8),), (1.0, 2.0), (0, 1)))
    assert "2.00x" in said[-2]
    body = json.loads((tmp_path / "out" / "muon.json").read_text())
    (row,) = body["rows"]
    assert row["cost"] == 2.0 and all(row[way][0] > 0 for way in ("adamw", "muon", "muon_equal_seconds"))
    adamw, muon, cheaper = (train_flops(trained[i]) for i in (4, 6, 8))  # after four runs of tuning, two seeds each
    assert muon == adamw and cheaper == pytest.approx(adamw / 2, rel=0.05)
    assert set(body["tuning"]) == {"adamw", "muon"}


def test_the_error_of_one_seed_is_not_made_up() -> None:
    assert mean_and_error([2.0]) == (2.0, 0.0)
    assert mean_and_error([1.0, 3.0]) == (2.0, pytest.approx(1.0))
