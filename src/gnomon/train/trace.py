"""Where a number that is none was made: the step's rows once more, on autograd, with a hook on every module.

Modules report what goes in and what comes out, forward and backward. The first whose input is finite and whose output
is not made it; when a module's input is bad and all before it came out well, it was made in between, by its parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from gnomon.train.learner import Learner


def first_bad_module(learner: Learner, rows: NDArray[np.int64]) -> str:
    """In words: the module and the direction in which a NaN or an infinity arose. Overwrites the learner's gradient."""
    bad = [name for name, weight in learner.weights().items() if not bool(torch.isfinite(weight).all())]
    if bad:
        return f"{_module(bad[0])}, whose weights were no numbers before this step"
    watch = _Watch(learner.model)
    with watch.hooks():
        shown = learner.plain_gradient()(rows)
    if watch.forward:
        return watch.forward
    if not bool(torch.isfinite(shown).all()):
        return "the loss, forward: every module's output is finite"
    if watch.backward:
        return watch.backward
    norm = learner.norm()
    if norm != norm or norm in (float("inf"), float("-inf")):
        return "the norm of the gradient: every module's gradient is finite, their squares are too large"
    return "not found: autograd gets finite numbers from the same rows, so the compiled step alone makes it"


class _Watch:
    """forward, backward: the first fault on the way there and back, "" while there is none."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.forward, self.backward = model, "", ""

    @contextmanager
    def hooks(self) -> Iterator[None]:
        handles: list[Any] = []
        for name, module in self.model.named_modules():
            handles.append(module.register_forward_pre_hook(self._entering(name)))
            handles.append(module.register_forward_hook(self._leaving(name)))
            # Not the embedding: what it reads are tokens, to which nothing goes back.
            if name and not any(module.children()) and not isinstance(module, nn.Embedding):
                handles.append(module.register_full_backward_pre_hook(self._backward_in(name)))
                handles.append(module.register_full_backward_hook(self._backward_out(name)))
        for name, parameter in self.model.named_parameters():
            handles.append(parameter.register_hook(self._weight(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _there(self, values: Any, words: str) -> None:
        if not self.forward and not _finite(values):
            self.forward = words

    def _back(self, values: Any, words: str) -> None:
        if not self.backward and not _finite(values):
            self.backward = words

    def _entering(self, name: str) -> Any:
        return lambda module, given: self._there(given, f"{_parent(name)}, forward, before {_leaf(name)}")

    def _leaving(self, name: str) -> Any:
        return lambda module, given, made: self._there(made, f"{name or 'the model'}, forward")

    def _backward_in(self, name: str) -> Any:
        return lambda module, made: self._back(made, f"{_parent(name)}, backward, behind {_leaf(name)}")

    def _backward_out(self, name: str) -> Any:
        return lambda module, made, given: self._back(made, f"{name}, backward")

    def _weight(self, name: str) -> Any:
        return lambda gradient: self._back(gradient, f"{_module(name)}, backward, the gradient of its weights")


def _finite(values: Any) -> bool:
    if isinstance(values, Tensor):
        return not values.is_floating_point() or bool(torch.isfinite(values).all())
    if isinstance(values, tuple | list):
        return all(map(_finite, values))
    return True


def _module(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _parent(name: str) -> str:
    return name.rpartition(".")[0] or "the model"


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
