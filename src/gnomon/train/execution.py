"""How a run is carried out: threads, micro-batch, dtype, machine. Decided once, stored, kept on resume.

None of it belongs to the plan, and all of it moves last bits: a run resumes bit for bit only where its execution can be
honoured. Elsewhere it is refused, or accepted as inexact, which the result remembers.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json
from gnomon.recipe.plan import Plan
from gnomon.train.allocator import keep_freed_memory
from gnomon.train.device import exact, gpu_facts, require
from gnomon.train.term import NextToken, Term

EXECUTION_FILE = "execution.json"
EXECUTION_SCHEMA = 1
MICRO_TOKENS = 2048  # of a micro-batch: its activations stay near the cache
METRIC_ROWS = 200  # about as many points in a learning curve
STACKED = "stacked"  # kernels of runs that are trained as one batched program (train/stacked.py)
AUTOGRAD = "torch-ops"  # autograd over what was measured fastest of model/ops.py; "torch": over the plain twins
COMPILED = "torch-compile"  # autograd over blocks that torch.compile has compiled (train/compiled.py)
ANYWHERE = ("torch", AUTOGRAD, STACKED)  # kernels that need nothing but torch
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class Machine:
    """What else moves last bits: torch's version, the processor, and which vector instructions torch uses on it."""

    torch: str
    processor: str
    instructions: str

    @classmethod
    def here(cls, device: str = "cpu") -> Machine:
        """Of a device: on a GPU, its name and CUDA's version instead of the processor's."""
        facts = gpu_facts() if device == "cuda" else (processor_name(), torch.backends.cpu.get_cpu_capability())
        return cls(torch.__version__, *facts)


@dataclass(frozen=True)
class Execution:
    """How to carry out a run.

    threads: inside one operation. micro_rows: rows that pass through the model at once. dtype: of the multiplications.
    kernels: what computes the gradient: one of ANYWHERE, COMPILED, or the compiled step's name. reason: for them, when
    there is something to say. checkpoint_every_s: seconds
    between checkpoints; 0 writes one after every step. log_every: steps in a metrics row. keep_steps: checkpoints
    that stay, to branch from. mesh: of the processes that share the run (parallel/mesh.py), "" for one alone; threads
    and micro_rows are of each of them. device: cpu or cuda.
    """

    threads: int
    micro_rows: int
    dtype: str
    log_every: int
    kernels: str = "torch"
    checkpoint_every_s: float = 60.0
    keep_steps: tuple[int, ...] = ()
    machine: Machine | None = None
    mesh: str = ""
    device: str = "cpu"
    reason: str = ""

    def __post_init__(self) -> None:
        if self.threads < 1 or self.micro_rows < 1 or self.log_every < 1:
            raise GnomonError(
                f"execution: threads {self.threads}, micro_rows {self.micro_rows}, log_every {self.log_every}; "
                "each is at least 1"
            )
        if self.dtype not in DTYPES:
            raise GnomonError(f"execution: dtype is {self.dtype!r}; it is one of {', '.join(DTYPES)}")

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]


def processor_name() -> str:
    """The processor's model, as the system names it."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            facts = dict(line.split(":", 1) for line in lines if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    named = {key.strip(): value.strip() for key, value in facts.items()}
    return " ".join(filter(None, (named.get("model name"), named.get("cpu family"), named.get("model"))))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def kernels_for(plan: Plan, terms: Sequence[Term], device: str = "cpu") -> str:
    """The fastest way to the gradient of these terms here: the compiled step's name, or autograd."""
    from gnomon.train.native import library, obstacle  # it compiles on first use

    if device != "cpu" or obstacle(plan.shape, plan.dtype, terms):
        return AUTOGRAD
    return library().name


def decide(
    plan: Plan,
    threads: int = 1,
    *,
    checkpoint_every_s: float = 60.0,
    keep_steps: tuple[int, ...] = (),
    by_measurement: bool = False,
    device: str = "cpu",
) -> Execution:
    """The execution of a plan on this machine. The micro-batch holds about 2k tokens, in even pieces of the batch.

    by_measurement: where `gnomon bench cpu` has measured this class of shapes, its fastest kernels in the plan's dtype;
    else, and by default, the compiled step wherever it can serve.
    """
    require(device)
    kernels = kernels_for(plan, [NextToken()], device)
    if by_measurement and kernels != AUTOGRAD:
        from gnomon.train.choice import fastest, recalled

        seconds = recalled(plan, threads)
        if seconds and fastest(seconds, plan.dtype).kernels == "torch":
            kernels = AUTOGRAD
    largest = max(1, MICRO_TOKENS // plan.shape.context)
    pieces = math.ceil(plan.batch_rows / largest)
    return Execution(
        threads=threads,
        micro_rows=math.ceil(plan.batch_rows / pieces),
        dtype=plan.dtype,
        log_every=max(1, plan.steps // METRIC_ROWS),
        kernels=kernels,
        checkpoint_every_s=checkpoint_every_s,
        keep_steps=tuple(sorted(keep_steps)),
        machine=Machine.here(device),
        device=device,
    )


def stored(run_dir: Path) -> Execution | None:
    """The execution recorded in a run's folder, None when there is none. Raises GnomonError when it is unreadable."""
    path = run_dir / EXECUTION_FILE
    if not path.exists():
        return None
    value = read_json(path, EXECUTION_SCHEMA)
    value.pop("schema_version")
    try:
        machine = Machine(**value.pop("machine"))
        return Execution(**{**value, "keep_steps": tuple(value["keep_steps"]), "machine": machine})
    except (KeyError, TypeError) as error:
        raise GnomonError(f"{path}: {error}; this is not an execution that this gnomon wrote") from None


def store(run_dir: Path, execution: Execution) -> None:
    write_json(run_dir / EXECUTION_FILE, asdict(execution), EXECUTION_SCHEMA)


def hindrances(execution: Execution, available: str) -> list[str]:
    """Why this process cannot repeat a recorded execution bit for bit; empty when it can. available: kernels here."""
    out = []
    if execution.threads > cores():
        out.append(f"it ran on {execution.threads} threads and this process may use {cores()} cores")
    if execution.kernels not in (*ANYWHERE, available):
        out.append(f"its gradient came from {execution.kernels} and here is {available}")
    if execution.machine is not None:
        here = Machine.here(execution.device)
        for field in fields(Machine):
            was, now = getattr(execution.machine, field.name), getattr(here, field.name)
            if was != now:
                out.append(f"its {field.name} was {was} and here it is {now}")
    return out


def settle(
    run_dir: Path, plan: Plan, wanted: Execution | None, terms: Sequence[Term], inexact: bool, mesh: str = ""
) -> tuple[Execution, bool]:
    """The execution to use now, and whether the run stops being exact with it.

    What the folder records wins over what is wanted, but for the mesh, which is what it is: another one than before
    reads the same rows and rounds in another order, and is recorded in its turn. The first call records. Raises
    GnomonError when the recorded execution cannot be honoured here and inexact is False, or when the plan asks for
    another dtype.
    """
    recorded = stored(run_dir)
    execution = recorded or wanted or decide(plan)
    require(execution.device)
    if execution.mesh != mesh:
        kernels = AUTOGRAD if mesh else kernels_for(plan, terms, execution.device)
        machine, threads = Machine.here(execution.device), min(execution.threads, cores())
        execution = replace(execution, mesh=mesh, kernels=kernels, threads=threads, machine=machine)
        recorded = None
    if recorded is None and execution.threads > cores():
        raise GnomonError(
            f"run {plan.run_id}: {execution.threads} threads are asked for and this process may use {cores()} cores; "
            f"ask for {cores()} at most"
        )
    if execution.dtype != plan.dtype:
        raise GnomonError(f"run {plan.run_id}: its plan computes in {plan.dtype}, its execution in {execution.dtype}")
    if execution.machine is None:
        execution = replace(execution, machine=Machine.here(execution.device))
    served = execution.kernels in ANYWHERE or (execution.kernels == COMPILED and not _uncompilable(execution.device))
    available = execution.kernels if served else kernels_for(plan, terms, execution.device)
    if recorded is None and execution.kernels != available:
        execution = replace(execution, kernels=available)  # terms that the compiled step does not know
    reasons = hindrances(execution, available)
    if reasons and not inexact:
        raise GnomonError(
            f"run {plan.run_id}: cannot be repeated bit for bit on this machine: {'; '.join(reasons)}; "
            "go on where it began, or pass --inexact, which its result will remember"
        )
    if recorded is None:
        store(run_dir, execution)
    if reasons:
        execution = replace(execution, threads=min(execution.threads, cores()), kernels=available)
    return execution, bool(reasons)


def _uncompilable(device: str) -> str:
    from gnomon.train.compiled import obstacle

    return obstacle(device)


@contextmanager
def honoured(execution: Execution) -> Iterator[None]:
    """torch as the execution wants it: its threads, deterministic algorithms; put back afterwards.

    The allocator is asked to keep what a step frees, where autograd takes the steps; that stays.
    """
    if execution.kernels in (*ANYWHERE, COMPILED):
        keep_freed_memory()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # a module whose one attribute is made by its class
    fill = memory.fill_uninitialized_memory
    torch.set_num_threads(execution.threads)
    # torch.use_deterministic_algorithms does this and imports the compiler, which costs every process two seconds.
    torch._C._set_deterministic_algorithms(True, warn_only=False)
    memory.fill_uninitialized_memory = False  # it would write every buffer twice
    try:
        with exact(execution.device):
            yield
    finally:
        torch.set_num_threads(threads)
        torch._C._set_deterministic_algorithms(deterministic, warn_only=False)
        memory.fill_uninitialized_memory = fill
