"""What a run minimises: terms. A term returns a sum and the kind of its denominator; only the trainer divides.

So loss and gradient do not depend on how a batch is cut into micro-batches. A new term is an object with a name that,
called with a Forward, returns a Sum; it is handed to train(..., terms=[NextToken(1e-4), MyTerm()]).

B rows of a micro-batch, T time, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gnomon.common.errors import GnomonError
from gnomon.model.transformer import Transformer


@dataclass(frozen=True)
class Batch:
    """Rows to train on. tokens_BT, targets_BT: integers [B, T]. counts: how many of each kind of denominator."""

    tokens_BT: Tensor
    targets_BT: Tensor
    counts: Mapping[str, float]

    @classmethod
    def of_rows(cls, rows: Tensor) -> Batch:
        """A batch of next-token prediction from integer rows [B, T + 1]."""
        tokens, targets = rows[:, :-1], rows[:, 1:]
        return cls(tokens, targets, {"tokens": targets.numel(), "sequences": len(rows)})


class Forward:
    """One micro-batch on its way through the model; what several terms read is computed once."""

    def __init__(self, model: Transformer, batch: Batch) -> None:
        self.model, self.batch = model, batch

    @cached_property
    def hidden_BTD(self) -> Tensor:
        """What the head reads."""
        return self.model.hidden(self.batch.tokens_BT)

    @cached_property
    def logits_BTV(self) -> Tensor:
        """Logits in the compute dtype. A term that can do without all of them at once is kinder to memory."""
        return self.model.head(self.hidden_BTD)

    def next_token(self, z_loss: float) -> tuple[Tensor, Tensor]:
        """cross_entropy of the targets; in pieces where all logits would be large and no other term wants them."""
        targets_N = self.batch.targets_BT.flatten()
        if "logits_BTV" in self.__dict__ or targets_N.numel() * self.model.shape.vocab <= LOGITS_AT_ONCE:
            return cross_entropy(self.logits_BTV.flatten(0, 1), targets_N, z_loss)
        return head_cross_entropy(self.hidden_BTD.flatten(0, 1), self.model.head.weight, targets_N, z_loss)


@dataclass(frozen=True)
class Sum:
    """value: scalar to minimise, summed over the micro-batch. kind: a key of Batch.counts; the trainer divides by it.

    shown: scalar that the metrics show, divided in the same way; value when None.
    """

    value: Tensor
    kind: str
    shown: Tensor | None = None


class Term(Protocol):
    """name: its column in the metrics. repr() tells terms with other settings apart: it is part of a run's identity."""

    @property
    def name(self) -> str: ...

    def __call__(self, forward: Forward) -> Sum: ...


TINY = 1e-30  # a probability below which its logarithm in fp32 is not to be trusted


class _CrossEntropy(torch.autograd.Function):
    """Sums of nats and of squared log-partitions. One softmax forward serves the way back too: half of autograd's cost.

    The slow twin is cross_entropy_twin; a test holds them together.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
        """logits [N, V], targets [N] -> (nats + z_loss * squares, nats), both scalars in fp32 or better."""
        index = targets.unsqueeze(1)
        probabilities, nats_each, log_partition = _softmax(logits, index)
        nats = nats_each.sum()
        ctx.save_for_backward(probabilities, index, log_partition)
        ctx.z_loss, ctx.dtype = z_loss, logits.dtype
        ctx.mark_non_differentiable(nats)
        return torch.add(nats, log_partition.square().sum(), alpha=z_loss), nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        probabilities, index, log_partition = ctx.saved_tensors
        return _to_logits(probabilities, index, log_partition, ctx.z_loss, gradient).to(ctx.dtype), None, None


def _softmax(logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of logits [N, V]: probabilities [N, V], nats of targets [N, 1], log-partitions [N, 1]; in fp32 or better."""
    wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    probabilities = torch.softmax(wide, -1)
    chosen, chosen_logits = probabilities.gather(1, index), wide.gather(1, index)
    # On a GPU the question would wait for all that it was given so far; the answer costs less.
    if logits.device.type != "cpu" or bool((chosen < TINY).any()):
        log_partition = torch.logsumexp(wide, -1, keepdim=True)
        return probabilities, log_partition - chosen_logits, log_partition
    nats_each = chosen.log().neg_()
    return probabilities, nats_each, chosen_logits + nats_each


def _to_logits(probabilities: Tensor, index: Tensor, log_partition: Tensor, z_loss: float, gradient: Tensor) -> Tensor:
    """Gradient with respect to the logits, written over the probabilities, which are not needed again."""
    result = probabilities.mul_(gradient * (1 + 2 * z_loss * log_partition))
    return result.scatter_add_(1, index, (-gradient).expand_as(index))


LOGITS_AT_ONCE = 1 << 23  # numbers: 32 MiB in fp32


class _HeadCrossEntropy(torch.autograd.Function):
    """Head and cross-entropy a piece of rows at a time: forward leaves the gradient ready, never all logits at once.

    The gradient of the head's weight is added up in fp32 or better over the pieces.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float) -> Any:
        rows = max(1, LOGITS_AT_ONCE // len(weight_VD))
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        one = torch.ones((), dtype=wide, device=hidden_ND.device)
        total, nats = torch.zeros_like(one), torch.zeros_like(one)
        for_hidden_ND, for_weight_VD = torch.empty_like(hidden_ND), torch.zeros_like(weight_VD, dtype=wide)
        for start in range(0, len(hidden_ND), rows):
            part_RD, index = hidden_ND[start : start + rows], targets_N[start : start + rows].unsqueeze(1)
            probabilities, nats_each, log_partition = _softmax(part_RD @ weight_VD.mT, index)
            nats += nats_each.sum()
            total += z_loss * log_partition.square().sum()
            to_logits = _to_logits(probabilities, index, log_partition, z_loss, one).to(hidden_ND.dtype)
            torch.mm(to_logits, weight_VD, out=for_hidden_ND[start : start + rows])
            for_weight_VD += to_logits.mT @ part_RD
        ctx.save_for_backward(for_hidden_ND, for_weight_VD)
        ctx.mark_non_differentiable(nats)
        return total + nats, nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        for_hidden_ND, for_weight_VD = ctx.saved_tensors
        return for_hidden_ND * gradient, (for_weight_VD * gradient).to(for_hidden_ND.dtype), None, None


def head_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """cross_entropy(hidden @ weight.T, targets, z_loss), which is its slow twin, in less memory."""
    value, nats = _HeadCrossEntropy.apply(hidden_ND, weight_VD, targets_N, z_loss)
    return value, nats


def cross_entropy(logits: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """(nats + z_loss * sum of squared log-partitions, nats): sums over rows; only the first has a gradient.

    logits [N, V], targets [N] integers. z-loss as in arXiv:2204.02311 §5.
    """
    value, nats = _CrossEntropy.apply(logits, targets, z_loss)
    return value, nats


def cross_entropy_twin(logits: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """The slow twin of cross_entropy, as a textbook has it."""
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    return nats + z_loss * torch.logsumexp(logits, -1).square().sum(), nats.detach()


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of the next token in nats, plus z_loss times the squared log-partition. Denominator: tokens."""

    z_loss: float = 0.0
    name: str = "loss_nats"

    def __call__(self, forward: Forward) -> Sum:
        value, nats = forward.next_token(self.z_loss)
        return Sum(value, "tokens", shown=nats)


def divided(total: Sum, term: Term, counts: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """(value, shown) of a term's sum over the count of its kind in the whole optimiser step: the one division.

    Raises GnomonError when the batch holds no such kind.
    """
    count = counts.get(total.kind, 0)
    if not count:
        raise GnomonError(
            f"term {term.name}: its sum is per {total.kind}, and a batch counts {', '.join(sorted(counts))}"
        )
    shown = total.value if total.shown is None else total.shown
    return total.value / count, shown.detach() / count
