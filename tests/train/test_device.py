"""Devices: one place that knows them, and a step in which nothing is left behind on the processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.model.ops import ops_named
from gnomon.model.parametrization import initialise, parameter_groups
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.device import exact, require
from gnomon.train.execution import AUTOGRAD, Execution, decide, stored
from gnomon.train.gradient import AutogradGradient
from gnomon.train.muon import optimiser_of
from gnomon.train.optim import FlatWeights
from gnomon.train.peak import matmul_peak
from gnomon.train.term import NextToken
from gnomon.train.trainer import train

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_a_device_that_is_not_there_is_one_line(make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(GnomonError, match="device is 'tpu'; it is one of cpu, cuda"):
        require("tpu")
    if not torch.cuda.is_available():
        for ask in (
            lambda: decide(make_plan(), device="cuda"),
            lambda: matmul_peak(make_plan().shape, 8, "float32", 1, "cuda"),
        ):
            with pytest.raises(GnomonError, match="sees no GPU here; --device cpu trains anywhere"):
                ask()


def test_a_run_recorded_on_a_gpu_is_not_resumed_without_one(
    corpus: Any, make_plan: Callable[..., Plan], run_dir: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    plan = make_plan()
    with pytest.raises(GnomonError, match="sees no GPU here"):
        train(plan, corpus, run_dir, execution=replace(decide(plan), device="cuda", kernels=AUTOGRAD))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kernels", ["torch", "torch-ops", "torch-compile"])
def test_a_whole_step_stays_on_its_device(
    make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, kernels: str, dtype: str, optimiser: str
) -> None:
    """On the device without data, with a GPU's operations: whatever met a tensor of the processor would raise."""
    monkeypatch.setattr("gnomon.train.gradient.fetched", lambda tensor: tensor)
    monkeypatch.setattr("gnomon.train.term.LOGITS_AT_ONCE", 1000)  # the head in pieces too
    plan = make_plan(dtype=dtype, optimiser=optimiser, muon_rate=0.02, depth=2, width=32)
    model = Transformer(plan.shape, ops_named(kernels, "cuda"))
    groups = parameter_groups(model, plan.shape, plan.optimisation, plan.steps)
    weights = FlatWeights(model, groups, Execution(1, 4, dtype, 1).torch_dtype, "meta")
    gradient = AutogradGradient(model, weights, [NextToken(1e-4)], 4)
    shown = gradient(np.zeros((6, plan.shape.context + 1), np.int64))
    update = optimiser_of(weights, plan.optimisation)
    update.step(0.5, gradient_scale=2.0)
    tensors = [shown, weights.master, weights.compute, weights.gradient, *model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in (*tensors, *update.moments().values())} == {"meta"}


def test_what_a_gpu_computes_with_is_the_same_mathematics(make_plan: Callable[..., Plan]) -> None:
    """The operations that a GPU is given, run here: loss and gradient of the plain ones, in float64."""
    plan = make_plan(depth=2, dtype="float64", clip=0.0)
    rows = np.random.default_rng(1).integers(0, 64, (6, plan.shape.context + 1))
    found = []
    for kernels, device in (("torch", "cpu"), ("torch-ops", "cpu"), ("torch-ops", "cuda"), ("torch-compile", "cuda")):
        model = Transformer(plan.shape, ops_named(kernels, device))
        initialise(model, plan.optimisation, 1)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        weights = FlatWeights(model, parameter_groups(model, plan.shape, plan.optimisation, 9), torch.float64)
        loss = AutogradGradient(model, weights, [NextToken(1e-4)], 4)(rows)
        found.append((loss, weights.gradient))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-10, atol=1e-13)


def test_settings_of_a_gpu_are_put_back() -> None:
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cuda.mem_efficient_sdp_enabled())
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with exact("cuda"):
            assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cuda.mem_efficient_sdp_enabled()
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before[0]
    assert torch.backends.cuda.mem_efficient_sdp_enabled() == before[1]


@GPU
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_on_a_gpu_learns_what_one_on_the_processor_learns(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path, dtype: str
) -> None:
    plan = make_plan(dtype=dtype, steps=20, rate=0.002)
    results = [train(plan, corpus, tmp_path / d, execution=decide(plan, device=d)) for d in ("cpu", "cuda")]
    assert results[1].train_loss_nats == pytest.approx(
        results[0].train_loss_nats, rel=1e-4 if dtype == "float32" else 2e-2
    )
    assert stored(tmp_path / "cuda").device == "cuda"  # type: ignore[union-attr]
    ends = [checkpoints.load_final(tmp_path / d) for d in ("cpu", "cuda")]
    assert all(p.device.type == "cpu" for p in ends[1].parameters())


@GPU
def test_a_run_on_a_gpu_gives_the_same_bits_twice(corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan(dtype="bfloat16", steps=20)
    ends = []
    for name in ("one", "two"):
        train(plan, corpus, tmp_path / name, execution=decide(plan, device="cuda"))
        ends.append(checkpoints.load(tmp_path / name, plan.steps).weights)
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@GPU
def test_the_peak_of_a_gpu_is_above_the_processor_s(make_plan: Callable[..., Plan]) -> None:
    shape = make_plan(width=512).shape
    assert matmul_peak(shape, 4096, "float32", 1, "cuda") > matmul_peak(shape, 4096, "float32", 1)
