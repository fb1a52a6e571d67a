"""Several processes for a test, forked by one that has torch already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.recipe.plan import ModelShape, Optimisation, Plan


@dataclass(frozen=True)
class Outcome:
    """What the processes of a job gave or failed with, and how they ended, in order of rank."""

    answers: dict[int, dict[str, Any]]
    codes: list[int]

    @property
    def values(self) -> list[Any]:
        assert all("value" in self.answers.get(rank, {}) for rank in range(len(self.codes))), self
        return [self.answers[rank]["value"] for rank in range(len(self.codes))]

    def error(self, rank: int) -> str:
        return self.answers[rank]["error"]


class Ranks:
    """The process of ranks.py; jobs one after another."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ranks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __call__(self, task: str, size: int, mesh: str = "", **arguments: Any) -> Outcome:
        """Do a task of ranks.py in `size` processes arranged as mesh."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if "plan" in arguments:
            arguments["plan"] = arguments["plan"].to_dict()
        job = {"task": task, "size": size, "mesh": mesh, "arguments": arguments}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        for line in iter(self.process.stdout.readline, ""):
            if line.startswith("{"):  # else torch says something
                value = json.loads(line)
                return Outcome({answer["rank"]: answer for answer in value["answers"]}, value["codes"])
        raise AssertionError("the process of ranks.py ended")


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    ranks = Ranks()
    yield ranks
    assert ranks.process.stdin is not None
    ranks.process.stdin.close()
    assert ranks.process.wait() == 0


@pytest.fixture
def shared_plan() -> Callable[..., Plan]:
    """A plan whose rows two and four processes share unevenly; keywords change plan, shape or optimisation."""

    def make(**changes: Any) -> Plan:
        shape = ModelShape(vocab=64, context=16, width=32, depth=1, head_dim=8)
        optimisation = Optimisation(
            rate=0.01, base_width=16, base_depth=1, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95
        )
        plan = Plan(shape, optimisation, steps=12, batch_rows=7, seed=1, order_seed=2, corpus="c" * 64)
        inner = {k: v for k, v in changes.items() if hasattr(shape, k) and k != "steps"}
        outer = {k: v for k, v in changes.items() if k not in inner}
        return replace(plan, shape=replace(shape, **inner), **outer)

    return make
