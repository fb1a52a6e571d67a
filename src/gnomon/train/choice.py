"""Which kernels and which dtype take the shortest step here: measured once for a class of shapes, and kept.

Data sheets do not say: bfloat16 is several times faster where the processor has tiles for it (AMX) and slower where it
is emulated, and the compiled step wins more on narrow models than on wide ones. Measurements lie in the user's cache,
under the machine, the compiled step and the class; `gnomon bench cpu` makes and prints them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json
from gnomon.common.hashing import content_hash
from gnomon.model.ops import ops_named
from gnomon.model.parametrization import initialise, parameter_groups
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import Plan
from gnomon.train.execution import AUTOGRAD, Machine, decide
from gnomon.train.gradient import step_gradient
from gnomon.train.native import library, obstacle
from gnomon.train.native.build import cache_folder
from gnomon.train.optim import AdamW, FlatWeights
from gnomon.train.term import NextToken

CHOICES_FILE = "choices.json"
CHOICES_SCHEMA = 1
TURNS = 5
HOPELESS = 3.0  # a way whose first steps take this many times the fastest one's is not measured further
MEASURED_DEPTH = 2  # blocks are alike: two tell as much as twenty
MEASURED_TOKENS = 2048
WORTH_ROUNDING = 1.1  # what bfloat16 must gain before it is chosen


@dataclass(frozen=True)
class Way:
    """A way to take a step. kernels: "torch" (autograd, partly by hand) or "native" (the compiled step)."""

    kernels: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.kernels} {self.dtype}"


ALL_WAYS = tuple(Way(kernels, dtype) for dtype in ("float32", "bfloat16") for kernels in ("native", "torch"))


def possible(plan: Plan) -> list[Way]:
    """The ways that can be gone here with a plan's shape."""
    return [w for w in ALL_WAYS if w.kernels == "torch" or not obstacle(plan.shape, w.dtype, [NextToken()])]


def shape_class(plan: Plan) -> dict[str, int]:
    """What a step's best way depends on, coarsely: sizes as the nearest power of two."""
    shape = plan.shape
    sizes = {"width": shape.width, "mlp": shape.mlp_width, "vocab": shape.vocab, "context": shape.context,
             "tokens": min(plan.batch_tokens, MEASURED_TOKENS)}  # fmt: skip
    return {name: 2 ** round(math.log2(size)) for name, size in sizes.items()} | {"head_dim": shape.head_dim}


def step_of(plan: Plan, way: Way, threads: int) -> Callable[[], None]:
    """One optimiser step of a plan, gone this way, on random tokens."""
    plan = replace(plan, dtype=way.dtype)
    execution = decide(plan, threads)
    if way.kernels == "torch":
        execution = replace(execution, kernels=AUTOGRAD)
    model = Transformer(plan.shape, ops_named(execution.kernels, execution.device))
    initialise(model, plan.optimisation, seed=0)
    groups = parameter_groups(model, plan.shape, plan.optimisation, plan.steps)
    weights = FlatWeights(model, groups, execution.torch_dtype)
    gradient = step_gradient(model, weights, [NextToken(plan.optimisation.z_loss)], execution)
    optimiser = AdamW(weights, plan.optimisation.beta1, plan.optimisation.beta2)
    rows = np.random.default_rng(0).integers(0, plan.shape.vocab, (plan.batch_rows, plan.shape.context + 1))

    def step() -> None:
        gradient(rows)
        torch.linalg.vector_norm(weights.gradient)
        optimiser.step(1e-6)

    return step


def interleaved(steps: Sequence[Callable[[], None]], turns: int, warmup: int = 0) -> list[list[float]]:
    """Seconds of each step in every turn, [turns][len(steps)]; within a turn they follow one another.

    So a busy machine slows all of them alike, and a ratio is the median over turns. warmup: turns not counted.
    """
    for _ in range(warmup):
        for step in steps:
            step()
    out = []
    for _ in range(turns):
        turn = []
        for step in steps:
            began = time.perf_counter()
            step()
            turn.append(time.perf_counter() - began)
        out.append(turn)
    return out


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(plan: Plan, threads: int, turns: int = TURNS) -> dict[Way, float]:
    """Median seconds of a step of this very plan, by way; hopeless ways have what their first steps took."""
    with torch_threads(threads):
        found = possible(plan)
        steps = [step_of(plan, way, threads) for way in found]
        first = [min(seconds) for seconds in zip(*interleaved(steps, 2), strict=True)]
        kept = [i for i, seconds in enumerate(first) if seconds <= HOPELESS * min(first)]
        times = interleaved([steps[i] for i in kept], turns)
    out = dict(zip(found, first, strict=True))
    for place, i in enumerate(kept):
        out[found[i]] = statistics.median(turn[place] for turn in times)
    return out


def measured(plan: Plan, threads: int) -> dict[Way, float]:
    """Seconds of a step by way for a plan's class: recalled, or measured now, some seconds, and remembered."""
    found = recalled(plan, threads)
    if not found:
        shape = replace(plan.shape, depth=min(plan.shape.depth, MEASURED_DEPTH))
        rows = min(plan.batch_rows, max(1, MEASURED_TOKENS // shape.context))
        found = measure(replace(plan, shape=shape, batch_rows=rows), threads)
        remember(plan, threads, found)
    return found


def recalled(plan: Plan, threads: int) -> dict[Way, float]:
    """What was measured for a plan's class on this machine; {} when nothing was."""
    entry = _choices().get(_key(plan, threads))
    return {way: entry["seconds"][str(way)] for way in ALL_WAYS if str(way) in entry["seconds"]} if entry else {}


def remember(plan: Plan, threads: int, seconds: dict[Way, float]) -> None:
    entry = {
        "class": shape_class(plan),
        "threads": threads,
        "machine": asdict(Machine.here()),
        "seconds": {str(way): value for way, value in seconds.items()},
    }
    write_json(_path(), {"choices": {**_choices(), _key(plan, threads): entry}}, CHOICES_SCHEMA)


def fastest(seconds: dict[Way, float], dtype: str = "") -> Way:
    """The way with the shortest step, of one dtype or of all."""
    return min((way for way in seconds if dtype in ("", way.dtype)), key=lambda way: seconds[way])


def best(seconds: dict[Way, float]) -> Way:
    """The fastest way; in bfloat16 only where that gains more than rounding is worth."""
    exact = fastest(seconds, "float32")
    short = fastest(seconds, "bfloat16")
    return short if seconds[short] * WORTH_ROUNDING < seconds[exact] else exact


def _path() -> Path:
    return cache_folder() / CHOICES_FILE


def _choices() -> dict[str, Any]:
    """All that was measured. A damaged cache, or a newer gnomon's, counts as empty: it can be measured again."""
    try:
        found: dict[str, Any] = read_json(_path(), CHOICES_SCHEMA)["choices"] if _path().exists() else {}
    except (GnomonError, KeyError, TypeError):
        return {}
    return found


def _key(plan: Plan, threads: int) -> str:
    """Of the class, on this machine, with this compiled step."""
    native = "" if obstacle(plan.shape, "float32", [NextToken()]) else library().name
    return content_hash([shape_class(plan), threads, asdict(Machine.here()), native])[:16]
