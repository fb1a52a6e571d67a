"""Runs of one shape and batch as one batched program: their weights are rows of one buffer, their products one bmm.

A model of 20k parameters spends most of an eager step between operations; K runs in one program pay for that once.
Seeds, rates, decays, schedules and data orders may differ, for only the gradient is taken together: each run keeps its
own session, optimiser, guards and files. What a run computes does not depend on its neighbours, bit for bit on a CPU,
so it may be resumed in another stack, or alone. The slow twin is a FlatLearner with autograd (train/learner.py).

K runs, B rows of a micro-batch, T time, N = B * T, D width, H query heads, G heads of keys, E head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from gnomon.model.ops import PLAIN  # those by hand choose their way by size, and so by the number of neighbours
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.train.optim import FlatWeights
from gnomon.train.term import TINY, NextToken, Term

if TYPE_CHECKING:
    from gnomon.train.learner import FlatLearner


def obstacle(plan: Plan, terms: Sequence[Term]) -> str:
    """Why this plan cannot be a row of a stack; "" when it can."""
    if len(terms) != 1 or type(terms[0]) is not NextToken:
        return "a stack knows one term, next-token prediction"
    if plan.shape.head_dim % 2:
        return f"a stack turns pairs of coordinates, and head_dim is {plan.shape.head_dim}"
    return ""


class _Lookup(torch.autograd.Function):
    """Rows of K embedding tables. Autograd's own way back would make the gradient of one table at a time."""

    @staticmethod
    def forward(ctx: Any, table_KVD: Tensor, tokens_KN: Tensor) -> Tensor:
        ctx.save_for_backward(tokens_KN)
        ctx.shape = table_KVD.shape
        runs = torch.arange(len(tokens_KN), device=tokens_KN.device)[:, None]
        return table_KVD[runs, tokens_KN]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_KND: Tensor) -> tuple[Tensor, None]:
        (tokens_KN,) = ctx.saved_tensors
        runs, vocab, width = ctx.shape
        places = tokens_KN + vocab * torch.arange(runs, device=tokens_KN.device)[:, None]
        into = gradient_KND.new_zeros(runs * vocab, width)
        into.index_add_(0, places.flatten(), gradient_KND.reshape(-1, width))
        return into.view(ctx.shape), None


class _CrossEntropy(torch.autograd.Function):
    """term._CrossEntropy with a sum for every run instead of one. The twin is term.cross_entropy, run by run."""

    @staticmethod
    def forward(ctx: Any, logits_KNV: Tensor, targets_KN: Tensor, z_loss_K: Tensor) -> tuple[Tensor, Tensor]:
        """-> (nats + z_loss * squares [K], nats [K]), in fp32 or better."""
        wide = logits_KNV.float() if logits_KNV.dtype in (torch.bfloat16, torch.float16) else logits_KNV
        index = targets_KN.unsqueeze(-1)
        probabilities = torch.softmax(wide, -1)
        chosen, chosen_logits = probabilities.gather(-1, index), wide.gather(-1, index)
        nats_each = chosen.log().neg_()
        small = chosen < TINY
        if bool(small.any()):  # number by number: a run's own must not depend on another's
            exact = torch.logsumexp(wide, -1, keepdim=True) - chosen_logits
            nats_each = torch.where(small, exact, nats_each)
        log_partition = chosen_logits + nats_each
        nats_K = nats_each.sum((1, 2))
        scale_K11 = z_loss_K.to(wide.dtype).view(-1, 1, 1)
        ctx.save_for_backward(probabilities, index, log_partition, scale_K11)
        ctx.dtype = logits_KNV.dtype
        ctx.mark_non_differentiable(nats_K)
        return nats_K + (scale_K11 * log_partition.square()).sum((1, 2)), nats_K

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_K: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        probabilities, index, log_partition, scale_K11 = ctx.saved_tensors
        gradient_K11 = gradient_K.view(-1, 1, 1)
        result = probabilities.mul_(gradient_K11 * (1 + 2 * scale_K11 * log_partition))
        result.scatter_add_(-1, index, (-gradient_K11).expand_as(index))
        return result.to(ctx.dtype), None, None


class StackedModel:
    """The forward pass of K transformers of one shape. weights: by parameter name, [K, *shape]."""

    def __init__(self, shape: ModelShape, weights: dict[str, Tensor], turns: Tensor) -> None:
        """turns: complex [T, E/2], as Transformer keeps them."""
        self.shape, self.weights, self.turns = shape, weights, turns

    def logits(self, tokens_KBT: Tensor) -> Tensor:
        """[K, N, V] of the token after each one."""
        shape, weights = self.shape, self.weights
        x_KND = _Lookup.apply(weights["embedding.weight"], tokens_KBT.flatten(1))
        if shape.embedding_norm:
            x_KND = PLAIN.norm(x_KND, None, shape.norm_eps)
        for layer in range(shape.depth):
            name = f"blocks.{layer}."
            attended_KND = self._attend(name, self._norm(name + "attention_norm", x_KND), tokens_KBT.shape)
            x_KND = torch.add(x_KND, attended_KND, alpha=shape.branch_multiplier)
            read_KND = self._norm(name + "mlp_norm", x_KND)
            gate, up = self._times(name + "mlp.gate", read_KND), self._times(name + "mlp.up", read_KND)
            written_KND = self._times(name + "mlp.down", PLAIN.gated(gate, up))
            x_KND = torch.add(x_KND, written_KND, alpha=shape.branch_multiplier)
        return self._times("embedding" if shape.tied else "head", self._norm("norm", x_KND))

    def _times(self, name: str, x_KNI: Tensor) -> Tensor:
        """x times the transpose of a weight [K, out, in]."""
        return torch.bmm(x_KNI, self.weights[name + ".weight"].transpose(1, 2))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """RMSNorm over the last axis and a gain a coordinate; x is [K, ..., width of the gain]."""
        gain = self.weights[name + ".weight"]
        size = gain.shape[-1]
        return PLAIN.norm(x, None, self.shape.norm_eps) * gain.view(-1, *[1] * (x.dim() - 2), size)

    def _attend(self, name: str, x_KND: Tensor, rows: torch.Size) -> Tensor:
        shape, (runs, batch, time) = self.shape, rows
        q, k, v = (
            self._times(name + "attention." + which, x_KND).view(runs, batch * time, -1, shape.head_dim)
            for which in ("q", "k", "v")
        )
        if shape.qk_norm:
            q, k = self._norm(name + "attention.q_norm", q), self._norm(name + "attention.k_norm", k)
        q_BTHE, k_BTGE, v_BTGE = (t.view(runs * batch, time, -1, shape.head_dim) for t in (q, k, v))
        turns = self.turns[:time].unsqueeze(-3)
        q_BHTE, k_BGTE = (PLAIN.rotate(t_BTHE, turns).transpose(1, 2) for t_BTHE in (q_BTHE, k_BTGE))
        mixed_BHTE = PLAIN.attend(q_BHTE, k_BGTE, v_BTGE.transpose(1, 2))
        return self._times(name + "attention.out", mixed_BHTE.transpose(1, 2).reshape(runs, batch * time, -1))


class Stack:
    """Buffers of K runs of one shape, a row each, and the way to all their gradients at once."""

    def __init__(self, flats: Sequence[FlatWeights], model: Transformer, micro_rows: int) -> None:
        """flats: of the runs, put `beside` each other, or a single one. model: of any of them, for shape and turns."""
        self.shape, self.places, self.micro_rows = model.shape, flats[0].places, micro_rows
        self._gradients, self._compute = _buffer([f.gradient for f in flats]), _buffer([f.compute for f in flats])
        self._turns = model.rotary_bits.view(torch.float32)
        self._model: StackedModel | None = None
        self._sums: dict[str, Tensor] = {}  # gradients, as the model's weights are kept

    def _model_of(self, runs: int) -> StackedModel:
        """The model of the first runs: those behind them are over."""
        if self._model is None or len(self._model.weights["norm.weight"]) != runs:
            weights = {}
            for name, (at, shape) in self.places.items():
                stretch = slice(at, at + shape.numel())
                weights[name] = self._compute[:runs, stretch].unflatten(1, shape).detach().requires_grad_()
                self._sums[name] = self._gradients[:runs, stretch].unflatten(1, shape)
            self._model = StackedModel(self.shape, weights, self._turns)
        return self._model

    def gradient(self, rows: Sequence[NDArray[np.int64]], z_losses: Sequence[float]) -> Tensor:
        """Gradients of the first len(rows) runs, each of its own rows [B, T + 1], into their buffers.

        z_losses: of each run. Returns nats per token of each run, float64 [K].
        """
        runs, device = len(rows), self._gradients.device
        tokens_KBT = torch.from_numpy(np.stack(rows)).to(device)
        z_losses_K = torch.tensor(z_losses, dtype=torch.float64, device=device)
        count = tokens_KBT[0, :, 1:].numel()
        model = self._model_of(runs)
        self._gradients[:runs].zero_()
        shown_K = torch.zeros(runs, dtype=torch.float64, device=device)
        for part_KBT in tokens_KBT.split(self.micro_rows, 1):
            logits_KNV = model.logits(part_KBT[..., :-1])
            value_K, nats_K = _CrossEntropy.apply(logits_KNV, part_KBT[..., 1:].flatten(1), z_losses_K)
            found = torch.autograd.grad((value_K / count).sum(), tuple(model.weights.values()))
            for total, part in zip(self._sums.values(), found, strict=True):
                total.add_(part)
            shown_K += nats_K.double() / count
        return shown_K.cpu()


def _buffer(rows: Sequence[Tensor]) -> Tensor:
    """[K, n] of which rows [n] are the rows; no copy."""
    return rows[0][None] if len(rows) == 1 else rows[0].as_strided((len(rows), len(rows[0])), (len(rows[0]), 1))


def beside(learners: Sequence[FlatLearner]) -> None:
    """Move the learners' flat weights, all of one layout, below each other into buffers that a Stack can read.

    Their optimisers begin anew: call it before anything is restored.
    """
    first = learners[0].flat
    size = (len(learners), len(first.master))
    master, gradient = first.master.new_zeros(size), first.gradient.new_zeros(size)
    compute = master if first.shared else first.compute.new_zeros(size)
    part = gradient if first.shared else first.compute.new_zeros(size)
    for run, learner in enumerate(learners):
        learner.move(master[run], gradient[run], compute[run], part[run])


class StackedGradient:
    """A StepGradient (train/gradient.py) for a run that was begun in a stack and goes on alone: a stack of one."""

    def __init__(self, model: Transformer, weights: FlatWeights, term: NextToken, micro_rows: int) -> None:
        self._stack, self._z_loss = Stack([weights], model, micro_rows), term.z_loss

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        return self._stack.gradient([rows], [self._z_loss])
