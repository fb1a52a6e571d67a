"""The process that the drill kills: forks a child per run, which says what it does and waits for leave to go on.

A job on its input, a line of JSON, begins a run in a child. The child prints "child PID", then "WHAT STEP" for every
event, and reads a line before it goes on; "free" ends the waiting. When it has ended, "ended STATUS" is printed.
Forking costs milliseconds, where a fresh process would load torch again.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.train.execution import decide
from gnomon.train.parallel.world import joined, shared_by
from gnomon.train.trainer import train


class JumpingCorpus:
    """Tokens that follow each other by small jumps: something to learn, in no time."""

    hash = "c" * 64
    vocab = 64

    def __init__(self, tokens: int = 20_000) -> None:
        jumps = np.random.default_rng(7).integers(1, 4, tokens)
        self._tokens = (np.cumsum(jumps) % self.vocab).astype(np.uint16)
        self.token_bytes = (np.arange(self.vocab) % 5 + 1).astype(np.uint16)

    def tokens(self, split: str) -> np.ndarray:
        return self._tokens


def plan_of(job: dict[str, Any]) -> Plan:
    shape = ModelShape(vocab=64, context=16, width=16, depth=1, head_dim=8)
    rates = Optimisation(rate=0.01, base_width=16, base_depth=1, embed_ratio=1, timescale=0.3, beta1=0.9, beta2=0.95)
    return Plan(shape, rates, job["steps"], 6, 1, 2, JumpingCorpus.hash, dtype=job["dtype"])


def leash() -> Callable[[str, int], None]:
    """Says an event and waits for a line; after "free" it says no more than the event."""
    held = True

    def say(what: str, step: int) -> None:
        nonlocal held
        print(f"{what} {step}", flush=True)
        if held:
            held = sys.stdin.readline() != "free\n"

    return say


def run(job: dict[str, Any], rank: int, meeting: str) -> None:
    """job: folder, dtype, steps, every_s, keep_steps; clock_s, which the clock is off; file_bytes, the largest file
    that can be written; processes, which share the run; die, "RANK WHAT STEP", where one of them kills itself."""
    if job.get("clock_s"):
        clock = time.time
        time.time = lambda: clock() + job["clock_s"]
    if job.get("file_bytes"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], job["file_bytes"]))
    plan, folder = plan_of(job), Path(job["folder"])
    corpus: Any = JumpingCorpus()
    execution = decide(plan, checkpoint_every_s=job["every_s"], keep_steps=tuple(job["keep_steps"]))
    execution = replace(execution, micro_rows=job.get("micro_rows", 4), log_every=4)
    processes = job.get("processes", 1)
    say = leash() if processes == 1 else lambda what, step: None

    def listen(what: str, step: int) -> None:
        if job.get("die") == f"{rank} {what} {step}":
            os.kill(os.getpid(), signal.SIGKILL)
        say(what, step)

    with joined(rendezvous=f"file://{meeting}", rank=rank, size=processes) as crew:
        train(plan, corpus, folder, execution=execution, mode="auto", on_event=listen, **shared_by(crew))


def live(job: dict[str, Any], rank: int, meeting: str) -> None:
    """The life of one child, to its end."""
    code = 0
    try:
        run(job, rank, meeting)
    except KeyboardInterrupt:
        code = 130
    except GnomonError as error:
        print(f"error {rank} {error}", flush=True)
        code = error.exit_code
    except BaseException as error:
        print(f"error {rank} {type(error).__name__}: {error}", flush=True)
        code = 70
    os._exit(code)


def main() -> None:
    """python -m gnomon.workflow.drill_child"""
    importlib.import_module("pyarrow.parquet")  # once here, not in every child
    for line in iter(sys.stdin.readline, ""):
        if not line.startswith("{"):
            continue  # leave given to a child that was dead already
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            children = []
            for rank in range(job.get("processes", 1)):
                child = os.fork()
                if child == 0:
                    if rank == 0:
                        print(f"child {os.getpid()}", flush=True)
                    live(job, rank, f"{folder}/meeting")
                children.append(child)
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(f"ended {codes[0]}", flush=True)


if __name__ == "__main__":
    main()
