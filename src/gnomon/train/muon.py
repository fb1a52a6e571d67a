"""Muon: the momentum of each matrix, brought near the orthogonal matrix closest to it, is its update.

Newton-Schulz as in Jordan et al. 2024 (kellerjordan.github.io/posts/muon; at scale arXiv:2502.16982): five rounds of an
odd polynomial bring every singular value near 1. Matrices that read or write the stream are trained so, q, k, v, gate
and up each on its own; the update counts sqrt(fan_out / fan_in) times, so that what a layer puts out moves alike at
every width (arXiv:2310.17813). Embedding, head and gains stay with AdamW. Depth and decay follow the same rules.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnomon.recipe.plan import Optimisation
from gnomon.train.optim import AdamW, FlatWeights, Group

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5
ROUNDS = 5
TINY = 1e-12  # a matrix whose norm is below this has no direction to speak of


def orthogonalise(stack_KRC: Tensor) -> Tensor:
    """K matrices with their singular values brought into about 0.7 to 1.2. Needs R <= C, or it does needless work.

    In bfloat16 on a GPU, as they come elsewhere: a processor without bfloat16 products would emulate them.
    """
    a, b, c = COEFFICIENTS
    x_KRC = stack_KRC / torch.linalg.vector_norm(stack_KRC, dim=(-2, -1), keepdim=True).clamp_min(TINY)
    x_KRC = x_KRC.to(torch.bfloat16) if x_KRC.is_cuda else x_KRC
    for _ in range(ROUNDS):
        gram_KRR = torch.bmm(x_KRC, x_KRC.mT)
        mix_KRR = torch.baddbmm(gram_KRR, gram_KRR, gram_KRR, beta=b, alpha=c)
        x_KRC = torch.baddbmm(x_KRC, mix_KRR, x_KRC, beta=a)
    return x_KRC.to(stack_KRC.dtype)


def orthogonalise_twin(matrix: Tensor) -> Tensor:
    """The slow twin: one matrix in float64, the polynomial written out."""
    a, b, c = COEFFICIENTS
    x = matrix.double() / max(float(matrix.double().norm()), TINY)
    for _ in range(ROUNDS):
        x = a * x + b * (x @ x.T) @ x + c * (x @ x.T) @ (x @ x.T) @ x
    return x.to(matrix.dtype)


class Muon:
    """Muon on the groups that ask for it, AdamW on the others; the same interface as AdamW."""

    def __init__(self, weights: FlatWeights, beta1: float, beta2: float, momentum: float) -> None:
        self.weights, self.momentum = weights, momentum
        self.adamw = AdamW(weights, beta1, beta2)
        self._groups = [_Matrices(weights, group) for group in weights.groups if group.optimiser == "muon"]

    @property
    def taken(self) -> int:
        """Updates so far."""
        return self.adamw.taken

    @taken.setter
    def taken(self, value: int) -> None:
        self.adamw.taken = value

    def moments(self) -> dict[str, Tensor]:
        """What a checkpoint holds, by name: AdamW's two moments, and for Muon's matrices "first", the momentum."""
        return self.adamw.moments()

    @torch.no_grad()
    def step(self, multiplier: float, gradient_scale: float = 1.0) -> None:
        """One update at s(t) = multiplier; the gradient counts divided by gradient_scale (1: as it is)."""
        self.adamw.update(multiplier, gradient_scale)  # and the division of the whole gradient
        for part in self._groups:
            stretch = slice(part.group.start, part.group.stop)
            gradient, momentum = self.weights.gradient[stretch], self.adamw.first[stretch]
            momentum.lerp_(gradient, 1 - self.momentum)
            torch.lerp(gradient, momentum, self.momentum, out=part.update)  # Nesterov's
            self.direct(part)
            weight = self.weights.master[stretch]
            weight.mul_(1 - multiplier * part.group.decay).add_(part.update, alpha=-multiplier * part.group.rate)
        self.weights.refresh()

    def direct(self, part: _Matrices) -> None:
        """Orthogonalise the matrices of an update in place, equal shapes in one batch."""
        for views, scales_K11 in part.batches:
            torch._foreach_copy_(views, list(orthogonalise(torch.stack(views)).mul_(scales_K11).unbind()))


class MuonTwin(Muon):
    """The slow twin of Muon: a matrix at a time, in float64."""

    def direct(self, part: _Matrices) -> None:
        for matrix in part.matrices:
            fan_out, fan_in = matrix.shape
            matrix.copy_(orthogonalise_twin(matrix) * (fan_out / fan_in) ** 0.5)


class _Matrices:
    """The matrices of a group: views [fan_out, fan_in] of update, a flat buffer of the group's size.

    batches: those views, no taller than wide (others are turned), equal shapes together, with their scales [K, 1, 1].
    """

    def __init__(self, weights: FlatWeights, group: Group) -> None:
        self.group = group
        self.update = torch.zeros_like(weights.master[group.start : group.stop])
        places = [(at - group.start, s) for at, s in weights.places.values() if group.start <= at < group.stop]
        self.matrices = [self.update[at : at + shape.numel()].view(shape) for at, shape in places]
        found: dict[torch.Size, tuple[list[Tensor], list[float]]] = {}
        for matrix in self.matrices:
            fan_out, fan_in = matrix.shape
            view = matrix if fan_out <= fan_in else matrix.mT
            views, scales = found.setdefault(view.shape, ([], []))
            views.append(view)
            scales.append((fan_out / fan_in) ** 0.5)
        self.batches = [(views, self.update.new_tensor(scales).view(-1, 1, 1)) for views, scales in found.values()]


def optimiser_of(weights: FlatWeights, optimisation: Optimisation) -> AdamW | Muon:
    """The optimiser that a plan asks for."""
    if optimisation.optimiser == "muon":
        return Muon(weights, optimisation.beta1, optimisation.beta2, optimisation.muon_momentum)
    return AdamW(weights, optimisation.beta1, optimisation.beta2)
