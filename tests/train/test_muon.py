"""Muon: its polynomial, its twin, who is trained by it, and what of it a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.model.parametrization import Role, initialise, parameter_groups, role_of, settings
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import Optimisation, Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.muon import Muon, MuonTwin, optimiser_of, orthogonalise, orthogonalise_twin
from gnomon.train.optim import AdamW, FlatWeights
from gnomon.train.trainer import train


@pytest.fixture
def muon_plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan(optimiser="muon", muon_rate=0.02, depth=2, width=16, timescale=0.2)


def flat(plan: Plan, dtype: torch.dtype = torch.float64) -> tuple[Transformer, FlatWeights]:
    model = Transformer(plan.shape)
    initialise(model, plan.optimisation, plan.seed)
    return model, FlatWeights(model, parameter_groups(model, plan.shape, plan.optimisation, plan.steps), dtype)


def feed(weights: FlatWeights, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for view in weights.views(weights.gradient).values():
        view.copy_(torch.randn(view.shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("size", [(8, 8), (8, 40), (64, 192)])
def test_singular_values_come_near_one_whatever_the_scale(size: tuple[int, int], scale: float) -> None:
    matrices = torch.randn(3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scale
    found = orthogonalise(matrices)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3 and values.max() < 1.25  # what five rounds of this polynomial reach
    direction, _, other = torch.linalg.svd(matrices, full_matrices=False)
    nearest = direction @ other
    assert (found * nearest).sum() / found.norm() / nearest.norm() > 0.97
    for matrix, result in zip(matrices, found, strict=True):
        torch.testing.assert_close(result, orthogonalise_twin(matrix), rtol=1e-10, atol=1e-12)


def test_a_matrix_of_zeros_stays_one() -> None:
    """The first step's gradient inside a block is zero, because its output weights are."""
    assert torch.equal(orthogonalise(torch.zeros(2, 4, 8)), torch.zeros(2, 4, 8))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_muon_agrees_with_its_twin(muon_plan: Plan, dtype: torch.dtype, tolerance: float) -> None:
    """Batches of equal shapes, some turned, against a matrix at a time in float64."""
    ends = []
    for kind in (Muon, MuonTwin):
        _, weights = flat(muon_plan, dtype)
        optimiser = kind(weights, 0.9, 0.95, 0.95)
        for step in range(20):
            feed(weights, step)
            optimiser.step(1 - step / 20, gradient_scale=1.7)
        ends.append(weights.master)
    torch.testing.assert_close(ends[0], ends[1], rtol=tolerance, atol=tolerance)


def test_one_update_is_the_textbook_s(muon_plan: Plan) -> None:
    """From rest: rate * sqrt(fan_out / fan_in) * orthogonal, after the decay; q, k, v, gate and up each on its own."""
    model, weights = flat(muon_plan)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    feed(weights, 0)
    gradients = {name: view.clone() for name, view in weights.views(weights.gradient).items()}
    optimiser_of(weights, muon_plan.optimisation).step(0.5)
    decay = 1 / (0.2 * muon_plan.steps)
    for name in ("q", "k", "v", "out"):
        key = f"blocks.1.attention.{name}.weight"
        expected = before[key] * (1 - 0.5 * decay) - 0.5 * 0.02 * orthogonalise_twin(gradients[key])
        torch.testing.assert_close(model.get_parameter(key).detach(), expected)
    for name, stretch in (("gate", 3**0.5), ("up", 3**0.5), ("down", 3**-0.5)):
        key = f"blocks.0.mlp.{name}.weight"
        turned = gradients[key] if name == "down" else gradients[key].T
        direction = orthogonalise_twin(turned) if name == "down" else orthogonalise_twin(turned).T
        expected = before[key] * (1 - 0.5 * decay) - 0.5 * 0.02 * stretch * direction
        torch.testing.assert_close(model.get_parameter(key).detach(), expected)


def test_embedding_head_and_gains_move_as_under_adamw(muon_plan: Plan) -> None:
    adamw = replace(muon_plan, optimisation=replace(muon_plan.optimisation, optimiser="adamw"))
    ends = []
    for plan in (muon_plan, adamw):
        model, weights = flat(plan)
        optimiser = optimiser_of(weights, plan.optimisation)
        for step in range(5):
            feed(weights, step)
            optimiser.step(1.0)
        ends.append({name: p.detach() for name, p in model.named_parameters()})
    for name in ends[0]:
        same = torch.allclose(ends[0][name], ends[1][name], rtol=1e-12, atol=0)
        assert same == (role_of(name) not in (Role.HIDDEN, Role.OUTPUT)), name


def test_rates_are_the_same_at_every_width(muon_plan: Plan) -> None:
    tables = [settings(replace(muon_plan.shape, width=w), muon_plan.optimisation, 100) for w in (16, 64)]
    for table in tables:
        for row in table.values():
            if row.role in (Role.HIDDEN, Role.OUTPUT):
                assert (row.optimiser, row.rate) == ("muon", 0.02)
                assert row.decay == pytest.approx(1 / (0.2 * 100))
            else:
                assert row.optimiser == "adamw"


def test_only_the_momentum_of_muon_s_matrices_is_stored(muon_plan: Plan, corpus: Any, tmp_path: Path) -> None:
    _, weights = flat(muon_plan)
    optimiser = optimiser_of(weights, muon_plan.optimisation)
    for name in weights.places:
        muon = role_of(name) in (Role.HIDDEN, Role.OUTPUT)
        assert (f"second.{name}" in optimiser.moments()) != muon and f"first.{name}" in optimiser.moments()
    assert isinstance(optimiser, Muon) and optimiser.adamw.second.numel() < weights.master.numel()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_muon_run_cut_off_and_resumed_ends_bit_for_bit_alike(
    muon_plan: Plan, corpus: Any, every_step: Callable[..., Any], tmp_path: Path, dtype: str
) -> None:
    plan = replace(muon_plan, dtype=dtype)
    train(plan, corpus, tmp_path / "whole", execution=every_step(plan))

    def stop(what: str, step: int) -> None:
        if (what, step) == ("checkpoint end", 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan, corpus, tmp_path / "cut", execution=every_step(plan), on_event=stop)
    train(plan, corpus, tmp_path / "cut", mode="resume")
    ends = [checkpoints.load(tmp_path / run, plan.steps).weights for run in ("whole", "cut")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_plans_without_muon_keep_their_ids(make_plan: Callable[..., Plan]) -> None:
    assert "muon" not in str(make_plan().to_dict())
    assert make_plan().run_id != make_plan(optimiser="muon", muon_rate=0.1).run_id
    assert Plan.from_dict(make_plan(optimiser="muon", muon_rate=0.1).to_dict()).optimisation.muon_rate == 0.1


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"optimiser": "sgd"}, "adamw, muon"), ({"optimiser": "muon"}, "greater than 0")],
    ids=["unknown", "without a rate"],
)
def test_an_optimiser_that_cannot_be_is_refused(
    make_plan: Callable[..., Plan], changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(GnomonError, match=why):
        make_plan(**changes)


def test_adamw_is_the_default(make_plan: Callable[..., Plan]) -> None:
    _, weights = flat(make_plan())
    assert isinstance(optimiser_of(weights, make_plan().optimisation), AdamW)
    assert Optimisation.__dataclass_fields__["optimiser"].default == "adamw"
