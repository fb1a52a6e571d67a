"""torch.compile, a block at a time, for runs that are long enough to earn it back.

Blocks are alike, so one is compiled, and what came out stays on disk for each shape and version of torch. Compiling
costs from seconds on a GPU to minutes on a busy processor; a short run never does it unasked. A long one tries both
ways on a few steps once, and remembers: the run compiles when the seconds saved are more than the seconds spent.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json
from gnomon.common.hashing import content_hash, plain
from gnomon.model.transformer import Transformer
from gnomon.recipe.flops import train_flops
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.train.device import synchronise
from gnomon.train.execution import COMPILED, Execution
from gnomon.train.gradient import AutogradGradient, StepGradient
from gnomon.train.native.build import cache_folder
from gnomon.train.optim import FlatWeights
from gnomon.train.term import NextToken, Term

TRIALS_FILE, TRIALS_SCHEMA = "compiled.json", 1
LEAST_SECONDS = 600.0  # of training, below which compiling is not even tried
LIKELY_SHARE = 0.3  # of the matmul peak, that a step is taken to reach before one has been timed
TIMED_STEPS = 5


def obstacle(device: str) -> str:
    """Why torch.compile cannot serve here; "" when it can."""
    if device == "cuda":
        return "" if importlib.util.find_spec("triton") else "torch.compile needs triton for a GPU"
    compilers = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return (
        "" if any(c and shutil.which(c) for c in compilers) else "torch.compile needs a C++ compiler; g++, for example"
    )


class BlocksCompiled(AutogradGradient):
    """The gradient by autograd over compiled blocks; embedding, head and loss stay as they are."""

    def __init__(
        self, model: Transformer, weights: FlatWeights, terms: Sequence[Term], micro_rows: int, shape: ModelShape
    ) -> None:
        super().__init__(model, weights, terms, micro_rows)
        self._folder = code_folder(shape)
        compile_blocks(model)

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        with code_kept_in(self._folder):
            return super().__call__(rows)


def compile_blocks(model: Transformer) -> None:
    """Let the compiler take each block when it is first called, for the very shapes that it then sees."""
    for block in model.blocks:
        block.compile(dynamic=False)


def code_folder(shape: ModelShape) -> Path:
    """Where the compiler keeps what it made for a shape."""
    return cache_folder() / "inductor" / f"{torch.__version__}-{content_hash(shape)[:16]}"


@contextmanager
def code_kept_in(folder: Path) -> Iterator[None]:
    """The compiler reads its folder from the environment whenever it needs it."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        else:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


def as_written(gradient: StepGradient) -> StepGradient:
    """A gradient whose compiled blocks run as they are written, so that hooks on the modules inside see everything."""

    def call(rows: NDArray[np.int64]) -> Tensor:
        with torch.compiler.set_stance("force_eager"):
            return gradient(rows)

    return call


@dataclass(frozen=True)
class Trial:
    """Measured seconds: of a step without torch.compile, of a step with it, and of compiling."""

    step_s: float
    compiled_step_s: float
    compile_s: float

    def saved_s(self, steps: int) -> float:
        """What compiling saves in a run of so many steps; negative when it costs."""
        return steps * (self.step_s - self.compiled_step_s) - self.compile_s

    def words(self, steps: int) -> str:
        """The estimate in one line."""
        before, after = f"{1e3 * self.step_s:.3g} ms", f"{1e3 * self.compiled_step_s:.3g} ms"
        return (
            f"torch.compile: a step of {before} takes {after}; over {steps:,} steps that saves "
            f"{self.saved_s(steps):,.0f} s after {self.compile_s:.0f} s of compiling"
        )


def choose(plan: Plan, execution: Execution, asked: bool | None, peak: float) -> Execution:
    """The execution, with compiled blocks where they are asked for or where they pay. asked: None leaves it to us.

    peak: measured matmul FLOPs/s. Raises GnomonError when they are asked for and cannot be had here.
    """
    why = obstacle(execution.device)
    if asked:
        if why:
            raise GnomonError(f"--compile: {why}")
        return replace(execution, kernels=COMPILED, reason="torch.compile: asked for")
    if asked is False or why or train_flops(plan) / (LIKELY_SHARE * peak) < LEAST_SECONDS:
        return execution
    tried = recalled(plan, execution)
    if tried is None:
        tried = trial(plan, execution)
        remember(plan, execution, tried)
    kernels = COMPILED if tried.saved_s(plan.steps) > 0 else execution.kernels
    return replace(execution, kernels=kernels, reason=tried.words(plan.steps))


def trial(plan: Plan, execution: Execution) -> Trial:
    """Take a few steps both ways, on random tokens and weights that are thrown away. As long as compiling takes."""
    usual, compiled = stepper(plan, execution), stepper(plan, replace(execution, kernels=COMPILED))
    first = _seconds(compiled, execution.device)
    _seconds(usual, execution.device)
    turns = [(_seconds(usual, execution.device), _seconds(compiled, execution.device)) for _ in range(TIMED_STEPS)]
    step_s, compiled_step_s = (statistics.median(column) for column in zip(*turns, strict=True))
    return Trial(step_s, compiled_step_s, max(0.0, first - compiled_step_s))


def stepper(plan: Plan, execution: Execution) -> Callable[[], None]:
    """One optimiser step of a plan, on random tokens."""
    from gnomon.train.learner import FlatLearner

    learner = FlatLearner(plan, execution, [NextToken(plan.optimisation.z_loss)])
    rows = np.random.default_rng(0).integers(0, plan.shape.vocab, (plan.batch_rows, plan.shape.context + 1))

    def step() -> None:
        learner.gradient(rows)
        learner.update(1e-6, learner.norm())

    return step


def _seconds(step: Callable[[], None], device: str) -> float:
    synchronise(device)
    began = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - began


def recalled(plan: Plan, execution: Execution) -> Trial | None:
    """What was measured for a step like this one on this machine."""
    found = _trials().get(_key(plan, execution))
    return Trial(**found) if found else None


def remember(plan: Plan, execution: Execution, tried: Trial) -> None:
    write_json(
        cache_folder() / TRIALS_FILE, {"trials": _trials() | {_key(plan, execution): asdict(tried)}}, TRIALS_SCHEMA
    )


def _trials() -> dict[str, dict[str, float]]:
    try:
        found: dict[str, dict[str, float]] = read_json(cache_folder() / TRIALS_FILE, TRIALS_SCHEMA)["trials"]
    except (GnomonError, KeyError):
        return {}
    return found


def _key(plan: Plan, execution: Execution) -> str:
    """All that seconds depend on."""
    how = {name: getattr(execution, name) for name in ("threads", "micro_rows", "dtype", "kernels", "device")}
    return content_hash(
        [plain(plan.shape), plan.batch_rows, plan.optimisation.optimiser, how, plain(execution.machine)]
    )
