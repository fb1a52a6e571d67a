"""Does any position see a later token? Asked of the model as it was built, before it trains (nanochat issue 844:
three models with a leak reached a wonderful loss unnoticed).

A token is exchanged; what every block and the head give at the positions before it must stay as it was.
T time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gnomon.common.errors import GnomonError

TOLERANCE = {torch.bfloat16: 1e-2, torch.float32: 1e-4, torch.float64: 1e-8}  # of the largest output


def require_causal(model: nn.Module, vocab: int, context: int, seed: int = 0) -> None:
    """Raises GnomonError naming the first module of which an output before the exchanged token changes.

    Weights that are all zero (outputs and head at the beginning) are random while it is asked, and zero again after.
    """
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(0, vocab, (1, context), generator=generator)
    with torch.no_grad(), _awake(model, generator):
        before = _outputs(model, row)
        for place in sorted({1, context // 2, context - 1}):
            other = row.clone()
            other[0, place] = (other[0, place] + 1 + place) % vocab
            for (name, was), (_, now) in zip(before, _outputs(model, other), strict=True):
                _compare(name, was[:, :place], now[:, :place], place)


def _compare(name: str, was: Tensor, now: Tensor, place: int) -> None:
    """was, now: [1, place, …] of one module."""
    changed = (now - was).abs().flatten(2).amax(-1)[0]
    limit = TOLERANCE.get(was.dtype, 1e-2) * float(was.abs().max())
    if float(changed.max()) > limit:
        first = int((changed > limit).nonzero()[0])
        raise GnomonError(
            f"causal leak: the output of {name} at position {first} changes with the token at position {place}; "
            "a model that sees later tokens learns nothing; mend its attention before training it"
        )


def _outputs(model: nn.Module, tokens_1T: Tensor) -> list[tuple[str, Tensor]]:
    """What every module that keeps the axis of time gives, in the order in which they run, the whole model last."""
    found: list[tuple[str, Tensor]] = []
    handles = []

    def listen(name: str) -> Any:
        def hook(module: nn.Module, given: Any, made: Any) -> None:
            if isinstance(made, Tensor) and made.dim() >= 3 and made.shape[1] == tokens_1T.shape[1]:
                found.append((name, made))

        return hook

    for name, module in model.named_modules():
        handles.append(module.register_forward_hook(listen(name or "the model")))
    try:
        device = next(model.parameters()).device
        model(tokens_1T.to(device))
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _awake(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Zero matrices are random for the block: through them nothing could be seen."""
    zero = [p for p in model.parameters() if p.dim() > 1 and not bool(p.any())]
    for weight in zero:
        drawn = torch.randn(weight.shape, generator=generator) / weight.shape[-1] ** 0.5
        weight.copy_(drawn.to(weight))
    try:
        yield
    finally:
        for weight in zero:
            weight.zero_()
