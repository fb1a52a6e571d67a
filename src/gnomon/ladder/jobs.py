"""What an executor is asked to do, as values that travel between processes, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnomon.common.hashing import plain
from gnomon.recipe.flops import train_flops
from gnomon.recipe.plan import Plan


@dataclass(frozen=True)
class Job:
    """Train a plan, or evaluate a finished run on whole held-out sets.

    sets: splits of the corpus to evaluate on. subset_tokens: of each; None is the whole set. track: trackers that are
    told the learning curve (train/trackers.py). keep_steps: checkpoints that stay, for branches.
    """

    kind: Literal["train", "evaluate"]
    plan: Plan
    sets: tuple[str, ...]
    subset_tokens: int | None = None
    threads: int = 1
    registry_head: str = ""
    track: tuple[str, ...] = ()
    keep_steps: tuple[int, ...] = ()

    @property
    def weight(self) -> float:
        """What it costs, for ordering: FLOPs of the run."""
        return train_flops(self.plan)

    def to_dict(self) -> dict[str, Any]:
        return {**plain(self), "plan": self.plan.to_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Job:
        return cls(
            **{
                **value,
                "plan": Plan.from_dict(value["plan"]),
                "sets": tuple(value["sets"]),
                "track": tuple(value["track"]),
                "keep_steps": tuple(value["keep_steps"]),
            }
        )


@dataclass(frozen=True)
class Event:
    """News of a job. kind: started, progress, done, failed. body: numbers by name."""

    kind: str
    run_id: str
    body: dict[str, Any]


OnEvent = Callable[[Event], None]


def run_folder(home: Path, run_id: str) -> Path:
    return home / "runs" / run_id
