"""What a run needs, counted before it starts: memory, disk and time, against what this machine has free.

Buffers that we make are counted exactly (weights, gradient, moments, the compiled step's workspace as native/step.c
makes it); activations of autograd from the shape; libraries are measured. Loads no torch.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import JobFailed
from gnomon.recipe.flops import total_parameters
from gnomon.recipe.plan import ModelShape, Plan

if TYPE_CHECKING:
    from gnomon.train.execution import Execution

FLOAT = 4
ROW_BLOCK, LOGITS = 512, 1 << 18  # tokens and logits that the compiled step holds at once (TOKENS, LOGITS in step.c)
AUTOGRAD_LOGITS = 1 << 23  # that autograd holds at once (LOGITS_AT_ONCE in term.py)
SCORED, SHORT_ROWS = "torch-ops", 512  # kernels, and rows up to which they keep attention's probabilities
LIBRARIES = 330e6  # of Python with torch, where none is loaded to be measured
WARMING = 60e6  # of torch and its BLAS between loading and a first step
PAGE_AROUND = 65_536  # bytes of the corpus that come with one row: Linux maps sixteen pages around a fault
STATE_BYTES, METRICS_BYTES, RECORD_BYTES = 21_000, 28_000, 9_000  # state.json; 200 rows of metrics; the other files
TENSOR_HEADER = 110  # bytes in a safetensors header


@dataclass(frozen=True)
class Needs:
    """memory: bytes by part. disk: bytes when the run has ended. disk_most: while it trains. seconds: None unknown."""

    memory: dict[str, float]
    disk: float
    disk_most: float
    seconds: float | None = None

    @property
    def memory_bytes(self) -> float:
        return sum(self.memory.values())

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "memory_bytes": self.memory_bytes}


def needs(
    plan: Plan, execution: Execution, corpus_bytes: float, libraries: float = LIBRARIES, held_out_tokens: int = 0
) -> Needs:
    """What a plan needs, carried out so. corpus_bytes: of the training tokens on disk. libraries: bytes already there.

    held_out_tokens: that the run is examined on. The sum is the most that is held at once; what is not held at the same
    time (activations, and the copy that a checkpoint is written from) counts once, the larger of the two.
    """
    from gnomon.train.execution import ANYWHERE, COMPILED

    shape, n = plan.shape, total_parameters(plan.shape)
    wide = 8 if plan.dtype == "float64" else FLOAT
    half = 4 if plan.dtype == "bfloat16" else 0  # the copy that is multiplied with, and its gradient
    compiled = execution.kernels not in (*ANYWHERE, COMPILED)
    work = compiled_bytes(plan, execution) if compiled else activation_bytes(plan, execution)
    copy = 6.0 * wide * n  # of both moments: as tensors, as bytes each, and as one file
    touched = min(corpus_bytes, float(plan.steps) * plan.batch_rows * PAGE_AROUND)
    memory = {
        "Python and torch": libraries + WARMING,
        "weights": float((wide + half / 2) * n),
        "gradient": float((wide + half / 2) * n),
        "optimiser states": 2.0 * wide * n,
        "compiled step's workspace" if compiled else "activations": work,
        "freed, not given back": float(wide * n),  # the weights as they were made, before they moved into one buffer
        "writing checkpoints, examining": copy if compiled else max(0.0, copy - work),
        "corpus pages": touched,
        "held-out rows": 8.0 * held_out_tokens,
    }
    tensors = 9 * shape.depth + 3
    header = TENSOR_HEADER * tensors
    moments = 2.0 * (wide * n + header)
    one = wide * n + header + STATE_BYTES
    kept = len({s for s in execution.keep_steps if s < plan.steps})
    metrics = METRICS_BYTES * min(1.0, plan.steps / 200)
    disk = one + kept * (one + moments) + metrics + RECORD_BYTES
    return Needs(memory, disk, (3 + kept) * (one + moments) + 2 * metrics + RECORD_BYTES)


def compiled_bytes(plan: Plan, execution: Execution) -> float:
    """What open_part in native/step.c asks for, over its threads."""
    m = plan.shape
    threads = min(execution.threads, execution.micro_rows)
    rows = min(max(1, ROW_BLOCK // m.context), math.ceil(execution.micro_rows / threads))
    n, width, mlp, mixed = rows * m.context, m.width, m.mlp_width, m.query_width
    qkv = mixed + 2 * m.key_width
    logits = min(max(64, LOGITS // m.vocab), n) * m.vocab
    per_block = 2 * width + 2 + qkv + 2 * m.heads + m.key_heads + mixed + 2 * mlp
    once = 4 * width + 3 + max(width, mixed) + max(2 * mlp, qkv) + max(mlp, width)
    padded = math.ceil(m.head_dim / 16) * 16
    numbers = n * (m.depth * per_block + once) + logits + 9 * m.context * padded
    if plan.dtype == "bfloat16":
        numbers += max(n * max(2 * mlp, qkv, width, mixed), logits)
    return FLOAT * float(threads * numbers + (threads - 1) * total_parameters(m))


def activation_bytes(plan: Plan, execution: Execution) -> float:
    """What autograd keeps of a micro-batch for the way back, and the largest that the way back makes beside it."""
    m = plan.shape
    tokens = min(execution.micro_rows, plan.batch_rows) * m.context
    size = {"float64": 8, "bfloat16": 2}.get(plan.dtype, 4)
    attention = 4 * m.width + 3 * m.query_width + 4 * m.key_width
    if execution.kernels == SCORED and m.context <= SHORT_ROWS:
        attention += m.heads * m.context
    kept = tokens * size * m.depth * (attention + 2 * m.width + 4 * m.mlp_width)
    logits = min(tokens * m.vocab, AUTOGRAD_LOGITS)
    head = logits * (2 * size if size < FLOAT else 0) + 2 * logits * max(size, FLOAT)
    return float(kept + max(head, tokens * size * 4 * max(m.mlp_width, m.width)))


# What there is


def available_bytes(root: Path = Path("/")) -> float:
    """Memory that this process can still get: free in the system, and within its control group's limit."""
    facts = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    free = float(facts["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in facts else math.inf
    for limit, used in _group_limits(root):
        free = min(free, limit - used)
    return max(0.0, free)


def _group_limits(root: Path) -> Iterator[tuple[float, float]]:
    """(limit, used) of this process' control group and those above it; version 2 of the interface, then 1."""
    own = next((line.partition("::")[2] for line in _text(root / "proc/self/cgroup").splitlines() if "::" in line), "/")
    group = Path(own.strip("/"))
    for folder in (group, *group.parents):
        place = root / "sys/fs/cgroup" / folder
        yield from _limit(place / "memory.max", place / "memory.current")
    old = root / "sys/fs/cgroup/memory"
    yield from _limit(old / "memory.limit_in_bytes", old / "memory.usage_in_bytes")


def _limit(limit: Path, used: Path) -> Iterator[tuple[float, float]]:
    value = _text(limit).strip()
    if value.isdigit():
        yield float(value), float(_text(used).strip() or 0)


def resident_bytes() -> float:
    """What this process holds now."""
    fields = _text(Path("/proc/self/statm")).split()
    return float(fields[1]) * 4096 if len(fields) > 1 else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


# What follows


def verdict(plan: Plan, execution: Execution, need: Needs, free: float, disk_free: float) -> str:
    """Why it does not fit and what would; "" when it fits."""
    held = need.memory["Python and torch"]
    if need.memory_bytes > free:
        short = f"needs {size(need.memory_bytes)} of memory and {size(free)} are free"
        for rows in range(execution.micro_rows - 1, 0, -1):
            smaller = needs(plan, replace(execution, micro_rows=rows), need.memory["corpus pages"], held - WARMING)
            if smaller.memory_bytes <= free:
                return f"{short}; with --micro-rows {rows} it needs {size(smaller.memory_bytes)}"
        return f"{short}; {_smaller_model(plan, execution, free, held)}"
    if need.disk_most > disk_free:
        return f"needs {size(need.disk_most)} of disk and {size(disk_free)} are free; free some, or give another --home"
    return ""


def _smaller_model(plan: Plan, execution: Execution, free: float, held: float) -> str:
    """The widest model of this depth that fits, one row at a time."""
    one = replace(execution, micro_rows=1)
    for width in range(plan.shape.width - plan.shape.head_dim, 0, -plan.shape.head_dim):
        narrower = replace(plan, shape=_narrowed(plan.shape, width))
        if needs(narrower, one, 0.0, held - WARMING).memory_bytes <= free:
            return f"the widest of its depth that fits, one row at a time, is --width {width}"
    return "no width of its depth fits: this machine is too small for it"


def _narrowed(shape: ModelShape, width: int) -> ModelShape:
    return replace(shape, width=width, query_heads=0, kv_heads=0, exact_mlp=0)


def require_room(plan: Plan, execution: Execution, need: Needs, home: Path) -> None:
    """Raises JobFailed when the run does not fit here, saying what would."""
    found = verdict(plan, execution, need, available_bytes() + resident_bytes(), disk_free(home))
    if found:
        raise JobFailed(f"run {plan.run_id}: {found}")


def disk_free(path: Path) -> float:
    place = path.absolute()
    return float(shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free)


def size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def off(planned: float, took: float) -> str:
    """How far a plan was off, of what it took."""
    return f"planned {size(planned)}, took {size(took)} ({abs(planned - took) / max(took, 1):.0%} off)"
