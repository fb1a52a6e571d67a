"""The gradient of one optimiser step: micro-batches through the model, one after another, added up in fp32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnomon.model.transformer import Transformer
from gnomon.train.optim import FlatWeights
from gnomon.train.term import Batch, Forward, Term, divided


class AutogradGradient:
    """The slow twin of any faster way: whatever the terms are, whatever the dtype."""

    def __init__(self, model: Transformer, weights: FlatWeights, terms: Sequence[Term], micro_rows: int) -> None:
        self.model, self.weights, self.terms, self.micro_rows = model, weights, terms, micro_rows

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Put the gradient of a step's rows [B, T + 1] into the weights' buffer. Returns what each term shows."""
        all_rows = torch.from_numpy(rows)
        counts = Batch.of_rows(all_rows).counts
        shown = torch.zeros(len(self.terms), dtype=torch.float64)
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
        return shown
