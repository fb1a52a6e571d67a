"""Flat weights and AdamW: against the twin, against torch, and the decay that does not depend on the rate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gnomon.common.errors import GnomonError
from gnomon.train.optim import AdamW, AdamWTwin, FlatWeights, clip_scale


def weights_of(rate: float, decay: float, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, FlatWeights]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 3, bias=False), nn.Linear(3, 7, bias=False))
    groups: list[dict[str, Any]] = [
        {"names": ["0.weight"], "rate": rate, "decay": decay, "eps": 1e-12},
        {"names": ["1.weight"], "rate": rate / 3, "decay": 0.0, "eps": 1e-12},
    ]
    return model, FlatWeights(model, groups, dtype)


def feed(weights: FlatWeights, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for view in weights.views(weights.gradient).values():
        view.copy_(torch.randn(view.shape, generator=generator))


def test_adamw_agrees_with_its_twin_over_many_steps() -> None:
    ends = []
    for kind in (AdamW, AdamWTwin):
        _, weights = weights_of(0.01, 0.02, torch.float64)
        optimiser = kind(weights, 0.9, 0.95)
        for step in range(50):
            feed(weights, step)
            optimiser.step(1 - step / 50, gradient_scale=1.7)
        ends.append(weights.master)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-12)


def test_adamw_agrees_with_torch_when_decay_is_lr_times_weight_decay() -> None:
    model, weights = weights_of(0.01, 0.0)
    twin, _ = weights_of(0.01, 0.0)
    rates = ((twin[0], 0.01), (twin[1], 0.01 / 3))  # type: ignore[index]
    theirs = torch.optim.AdamW(
        [{"params": [layer.weight], "lr": rate} for layer, rate in rates], betas=(0.9, 0.95), eps=1e-12, weight_decay=0
    )
    optimiser = AdamW(weights, 0.9, 0.95)
    for step in range(20):
        feed(weights, step)
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            other.grad = mine.grad.clone()  # type: ignore[union-attr]
        optimiser.step(1.0)
        theirs.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("rate", [1e-5, 1.0])
def test_decay_is_the_same_at_any_rate(rate: float) -> None:
    _, weights = weights_of(rate, 0.1)
    before = weights.master.clone()
    weights.gradient.zero_()
    AdamW(weights, 0.9, 0.95).step(0.5)
    decayed = weights.groups[0]
    torch.testing.assert_close(weights.master[: decayed.stop], before[: decayed.stop] * (1 - 0.5 * 0.1))
    assert torch.equal(weights.master[decayed.stop :], before[decayed.stop :])


def test_parameters_are_views_and_bf16_copies_follow_their_masters() -> None:
    model, weights = weights_of(0.01, 0.0, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and weights.master.dtype == torch.float32
    for _ in range(2):  # two micro-batches, added up in fp32
        model(torch.ones(4, 5, dtype=torch.bfloat16)).float().sum().backward()
        weights.add_gradient()
    assert float(weights.gradient.abs().sum()) > 0
    AdamW(weights, 0.9, 0.95).step(1.0)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights.views(weights.master)[name].bfloat16())


def test_a_parameter_outside_every_group_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with pytest.raises(GnomonError, match=r"1\.weight"):
        FlatWeights(model, [{"names": ["0.weight"], "rate": 1.0, "decay": 0.0, "eps": 1e-12}], torch.float32)


def test_clip_scale_brings_the_norm_down_to_the_clip_and_zero_switches_it_off() -> None:
    assert clip_scale(3.0, 1.5) == 2.0
    assert clip_scale(1.0, 1.5) == clip_scale(9.0, 0.0) == 1.0
