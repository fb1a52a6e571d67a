"""A process to be killed: forks a child per run, which says what it does and waits for leave before it goes on.

Not a test: test_resume.py starts it. A job on its input, as a line of JSON, begins a run in a child, which prints its
process id, then "WHAT STEP" for every event, each time reading a line before it goes on; "free" ends the waiting. When
it has ended the parent prints "ended STATUS". Forking costs milliseconds, where a fresh process would load torch again.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.train.execution import decide
from gnomon.train.trainer import train


def tiny_corpus() -> Any:
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TinyCorpus()


def run(job: dict[str, Any], corpus: Any) -> None:
    shape = ModelShape(vocab=64, context=16, width=16, depth=1, head_dim=8)
    optimisation = Optimisation(
        rate=0.01, base_width=16, base_depth=1, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95
    )
    plan = Plan(shape, optimisation, job["steps"], 6, 1, 2, corpus.hash, dtype=job["dtype"])
    execution = decide(plan, checkpoint_every_s=job["every_s"], keep_steps=tuple(job["keep_steps"]))
    leash = True

    def say(what: str, step: int) -> None:
        nonlocal leash
        print(f"{what} {step}", flush=True)
        if leash:
            leash = sys.stdin.readline() != "free\n"

    execution = replace(execution, micro_rows=4, log_every=4)
    train(plan, corpus, Path(job["folder"]), execution=execution, mode=job["mode"], on_event=say)


def main() -> None:
    corpus = tiny_corpus()
    importlib.import_module("pyarrow.parquet")  # once here, not in every child
    for line in iter(sys.stdin.readline, ""):
        if not line.startswith("{"):
            continue  # leave given to a child that was dead already
        child = os.fork()
        if child == 0:
            print(f"child {os.getpid()}", flush=True)
            code = 0
            try:
                run(json.loads(line), corpus)
            except KeyboardInterrupt:
                code = 130
            except BaseException as error:
                print(f"error {error}", flush=True)
                code = 1
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
