"""Terms: the fast cross-entropy against its twin, the division rule, a user's own term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan
from gnomon.train.execution import AUTOGRAD, decide
from gnomon.train.guard import Verdict
from gnomon.train.metrics import METRICS_FILE, read_metrics
from gnomon.train.session import Session
from gnomon.train.term import Forward, NextToken, Sum, cross_entropy, cross_entropy_twin, head_cross_entropy
from gnomon.train.trainer import train


@pytest.mark.parametrize("spread", [1.0, 60.0])  # 60: probabilities that fp32 cannot hold
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_cross_entropy_agrees_with_its_twin(dtype: torch.dtype, tolerance: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = (torch.randn(32, 50, generator=generator, dtype=dtype) * spread).requires_grad_()
    targets = torch.randint(0, 50, (32,), generator=generator)
    gradients, values = [], []
    for function in (cross_entropy, cross_entropy_twin):
        value, nats = function(logits, targets, 1e-3)
        (gradient,) = torch.autograd.grad(value * 0.5, logits)
        gradients.append(gradient)
        values.append(torch.stack([value, nats]).detach())
    torch.testing.assert_close(values[0], values[1], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_the_head_in_pieces_agrees_with_all_logits_at_once(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnomon.train.term.LOGITS_AT_ONCE", 7 * 50)  # 32 rows in pieces of 7
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(32, 16, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(50, 16, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(0, 50, (32,), generator=generator)
    found = []
    for function in (head_cross_entropy, lambda h, w, *rest: cross_entropy(h @ w.T, *rest)):
        value, nats = function(hidden, weight, targets, 1e-3)
        found.append([value.detach(), nats, *torch.autograd.grad(value * 0.5, (hidden, weight))])
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


def test_a_run_whose_head_goes_in_pieces_learns_the_same(
    corpus: Any, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(dtype="float64")
    whole, losses = steps_of(plan, corpus, plan.batch_rows, 5, "torch")
    monkeypatch.setattr("gnomon.train.term.LOGITS_AT_ONCE", 1000)
    weights, other = steps_of(plan, corpus, plan.batch_rows, 5, "torch")
    torch.testing.assert_close(torch.tensor(other), torch.tensor(losses), rtol=1e-12, atol=0)
    torch.testing.assert_close(weights, whole, rtol=1e-9, atol=1e-12)


def steps_of(plan: Plan, corpus: Any, micro_rows: int, steps: int, kernels: str) -> tuple[torch.Tensor, list[float]]:
    """Weights after some steps, and the loss of each, with a given micro-batch."""
    execution = replace(decide(plan), micro_rows=micro_rows, log_every=1, kernels=kernels)
    session = Session(plan, corpus, Path("unused"), execution, [NextToken(1e-3)])
    losses = []
    for _ in range(steps):
        assert session.take_step() is Verdict.LEARN
        losses.append(session.close_window()["loss_nats"])
    return session.learner.flat.master, losses


@pytest.mark.parametrize(
    ("dtype", "steps", "tolerance", "compiled"),
    [("float64", 100, 1e-10, False), ("float32", 50, 2e-5, False), ("float32", 50, 2e-5, True)],
    ids=["float64", "float32", "compiled"],
)
def test_loss_and_weights_do_not_depend_on_the_micro_batch(
    corpus: Any, make_plan: Callable[..., Plan], dtype: str, steps: int, tolerance: float, compiled: bool
) -> None:
    # A clip that bites, so that the norm too must not depend on it; a small rate keeps fp32's chaos out of the way.
    plan = make_plan(dtype=dtype, steps=steps, clip=0.1, rate=0.002, batch_rows=3, context=8)
    kernels = decide(plan).kernels if compiled else "torch"
    if compiled and kernels == AUTOGRAD:
        pytest.skip("no compiled step on this machine")
    whole, losses = steps_of(plan, corpus, plan.batch_rows, steps, kernels)
    for micro_rows in (1, 2):
        weights, other = steps_of(plan, corpus, micro_rows, steps, kernels)
        torch.testing.assert_close(torch.tensor(other), torch.tensor(losses), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(weights, whole, rtol=tolerance, atol=tolerance)


@dataclass(frozen=True)
class SmallLogits:
    """A user's term: the mean square of the logits of a row, per sequence."""

    weight: float
    name: str = "small_logits"

    def __call__(self, forward: Forward) -> Sum:
        squares = forward.logits_BTV.float().square().mean((1, 2)).sum()
        return Sum(self.weight * squares, "sequences", shown=squares.detach())


def test_a_users_term_changes_the_run_and_has_its_column(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(steps=30)
    curves = {}
    for weight in (0.0, 3.0):
        folder = tmp_path / str(weight)
        result = train(plan, corpus, folder, terms=[NextToken(), SmallLogits(weight)])
        curves[weight] = read_metrics(folder / METRICS_FILE)
        assert result.terms[1] == f"SmallLogits(weight={weight}, name='small_logits')"
    assert curves[3.0][-1]["small_logits"] < 0.7 * curves[0.0][-1]["small_logits"]
    with pytest.raises(GnomonError, match="minimised"):
        train(plan, corpus, tmp_path / "3.0")


def test_a_term_of_an_unknown_kind_is_refused(corpus: Any, make_plan: Callable[..., Plan], run_dir: Path) -> None:
    class Pairs(SmallLogits):
        def __call__(self, forward: Forward) -> Sum:
            return Sum(forward.logits_BTV.sum(), "pairs")

    with pytest.raises(GnomonError, match=r"term small_logits: its sum is per pairs.*sequences, tokens"):
        train(make_plan(), corpus, run_dir, terms=[Pairs(1.0)])
