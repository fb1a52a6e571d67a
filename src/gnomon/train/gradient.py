"""The gradient of one optimiser step: micro-batches through the model, one after another, added up in fp32.

Two ways to it: compiled code where it can serve (gnomon.train.native), autograd for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnomon.model.transformer import Transformer
from gnomon.train.device import fetched, moved
from gnomon.train.execution import AUTOGRAD, COMPILED, STACKED, Execution
from gnomon.train.native import NativeGradient
from gnomon.train.optim import FlatWeights
from gnomon.train.stacked import StackedGradient
from gnomon.train.term import Batch, Forward, NextToken, Term, divided

# Puts the gradient of a step's rows, int64 [B, T + 1], into the weights' buffer; returns what each term shows, float64.
StepGradient = Callable[[NDArray[np.int64]], Tensor]


def step_gradient(
    model: Transformer, weights: FlatWeights, terms: Sequence[Term], execution: Execution
) -> StepGradient:
    """The way to the gradient that an execution names."""
    if execution.kernels in ("torch", AUTOGRAD):
        return AutogradGradient(model, weights, terms, execution.micro_rows)
    if execution.kernels == COMPILED:
        from gnomon.train.compiled import BlocksCompiled

        return BlocksCompiled(model, weights, terms, execution.micro_rows, model.shape)
    (term,) = terms
    assert isinstance(term, NextToken)
    if execution.kernels == STACKED:
        return StackedGradient(model, weights, term, execution.micro_rows)
    return CompiledGradient(model, weights, term, execution)


class CompiledGradient:
    """One call into compiled code a micro-batch: next-token prediction, with products in fp32 or bf16."""

    def __init__(self, model: Transformer, weights: FlatWeights, term: NextToken, execution: Execution) -> None:
        self.weights, self.z_loss, self.micro_rows = weights, term.z_loss, execution.micro_rows
        self.native = NativeGradient(model.shape, weights, execution.micro_rows, execution.threads)

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        count = rows[:, 1:].size
        self.weights.zero_gradient()
        nats = 0.0
        for start in range(0, len(rows), self.micro_rows):
            nats += self.native(rows[start : start + self.micro_rows], count, self.z_loss)
        return torch.tensor([nats / count], dtype=torch.float64)


class AutogradGradient:
    """The slow twin of any faster way: whatever the terms are, whatever the dtype."""

    def __init__(self, model: Transformer, weights: FlatWeights, terms: Sequence[Term], micro_rows: int) -> None:
        self.model, self.weights, self.terms, self.micro_rows = model, weights, terms, micro_rows

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        device = self.weights.master.device
        all_rows = moved(torch.from_numpy(rows), device)
        counts = Batch.of_rows(all_rows).counts
        shown = torch.zeros(len(self.terms), dtype=torch.float64, device=device)
        self.weights.zero_gradient()
        for part in all_rows.split(self.micro_rows):
            forward = Forward(self.model, Batch.of_rows(part))
            objective: Tensor | None = None
            for i, term in enumerate(self.terms):
                value, seen = divided(term(forward), term, counts)
                shown[i] += seen
                objective = value if objective is None else objective + value
            if objective is not None:
                objective.backward()
            self.weights.add_gradient()
        return fetched(shown)
