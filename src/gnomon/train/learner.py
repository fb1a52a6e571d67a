"""What a run's weights live in: how they get a gradient, how they move, how they are stored.

Session takes any Learner, so that one process, a mesh of processes and a GPU have the same loop, guards, metrics and
checkpoints. Where several processes share a run, what a learner and a crew answer is the same in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnomon.model.ops import ops_named
from gnomon.model.parametrization import initialise, parameter_groups
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import Plan
from gnomon.train.compiled import as_written
from gnomon.train.execution import COMPILED, Execution
from gnomon.train.gradient import AutogradGradient, StepGradient, step_gradient
from gnomon.train.muon import optimiser_of
from gnomon.train.optim import FlatWeights, clip_scale
from gnomon.train.term import Term


class Learner(Protocol):
    """model: what is trained, in its compute dtype."""

    model: Transformer

    @property
    def updates(self) -> int:
        """Made so far."""
        ...

    def begin(self) -> None:
        """The weights of the plan's seed, and no updates: where a run without a checkpoint starts."""
        ...

    def gradient(self, rows: NDArray[np.int64]) -> Tensor:
        """Take the gradient of a step's rows [B, T + 1], all of them; what each term shows, float64 [terms]."""
        ...

    def norm(self) -> float:
        """Of the whole gradient."""
        ...

    def update(self, multiplier: float, norm: float) -> None:
        """One update at schedule `multiplier`, the gradient of that norm clipped as the plan says."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Master weights by parameter name."""
        ...

    def moments(self) -> dict[str, Tensor]:
        """Optimiser state by "STATE.PARAMETER": first.NAME, second.NAME."""
        ...

    def load(self, weights: dict[str, Tensor], moments: dict[str, Tensor], updates: int) -> None:
        """Take these up. moments: may be empty where nothing follows. Names and shapes were checked."""
        ...

    def plain_gradient(self) -> StepGradient:
        """Autograd's way to the gradient, for looking into a step that went wrong."""
        ...

    def probe(self) -> Transformer:
        """A model of the same build to ask questions of; whoever changes its weights puts them back."""
        ...


LearnerOf = Callable[[Plan, Execution, Sequence[Term]], Learner]


class FlatLearner:
    """The learner of one process: weights as one flat buffer, gradient and update as the execution says."""

    def __init__(self, plan: Plan, execution: Execution, terms: Sequence[Term]) -> None:
        self.plan, self.terms, self.execution = plan, terms, execution
        self.model = Transformer(plan.shape, ops_named(execution.kernels, execution.device))
        initialise(self.model, plan.optimisation, plan.seed)
        groups = parameter_groups(self.model, plan.shape, plan.optimisation, plan.steps)
        self.flat = FlatWeights(self.model, groups, execution.torch_dtype, execution.device)
        self._equip()

    def _equip(self) -> None:
        """The optimiser and the way to the gradient, of the buffers that the weights live in."""
        self.optimiser = optimiser_of(self.flat, self.plan.optimisation)
        self._step_gradient = step_gradient(self.model, self.flat, self.terms, self.execution)

    def move(self, master: Tensor, gradient: Tensor, compute: Tensor, part: Tensor) -> None:
        """Live in these buffers (FlatWeights.move). The optimiser begins anew: call it before anything is restored."""
        self.flat.move(self.model, master, gradient, compute, part)
        self._equip()

    @property
    def updates(self) -> int:
        return self.optimiser.taken

    def begin(self) -> None:
        fresh = Transformer(self.plan.shape)
        initialise(fresh, self.plan.optimisation, self.plan.seed)
        self.load({name: p.detach() for name, p in fresh.named_parameters()}, {}, 0)
        for moment in self.moments().values():
            moment.zero_()

    def gradient(self, rows: NDArray[np.int64]) -> Tensor:
        return self._step_gradient(rows)

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self.flat.gradient))

    def update(self, multiplier: float, norm: float) -> None:
        self.optimiser.step(multiplier, clip_scale(norm, self.plan.optimisation.clip))

    def weights(self) -> dict[str, Tensor]:
        return self.flat.views(self.flat.master)

    def moments(self) -> dict[str, Tensor]:
        return self.optimiser.moments()

    def load(self, weights: dict[str, Tensor], moments: dict[str, Tensor], updates: int) -> None:
        for name, view in self.weights().items():
            view.copy_(weights[name])
        if moments:
            for name, view in self.moments().items():
                view.copy_(moments[name])
        self.flat.refresh()
        self.optimiser.taken = updates

    def plain_gradient(self) -> StepGradient:
        gradient = AutogradGradient(self.model, self.flat, self.terms, self.execution.micro_rows)
        return as_written(gradient) if self.execution.kernels == COMPILED else gradient

    def probe(self) -> Transformer:
        if self.execution.kernels != COMPILED:
            return self.model
        twin = Transformer(self.plan.shape).to(self.flat.compute.dtype)  # as it is written, on the same weights
        for name, weight in self.flat.views(self.flat.compute).items():
            twin.get_parameter(name).data = weight
        return twin.to(self.flat.compute.device)
