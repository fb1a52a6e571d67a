"""What a forecasting method is to the scorecard: it sees some runs and a question, and answers with numbers.

To score a method of your own, write a class with these members and pass it to `card.score`. Protocols never show a
method the outcome, nor any run above the cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.values import LEVELS


@dataclass(frozen=True)
class Question:
    """runs: all that the method may see. compute, params, tokens [t]: the targets. on_frontier [t]: the target is the
    best run of its family up to its compute (a law of compute alone answers only these). optimum: the targets are the
    minima of isoFLOP budgets, and runs.flops_C holds nominal budgets. ratio: target to largest compute seen, nominal.
    source: the paper that the runs come from; a learned part must leave it out."""

    runs: Family
    compute: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    on_frontier: np.ndarray
    ratio: float
    source: str
    optimum: bool = False

    def __len__(self) -> int:
        return len(self.compute)


@dataclass(frozen=True)
class Answer:
    """median [t], NaN where the method has no answer; quantiles [t, len(LEVELS)] or None for a point forecast; flagged
    [t]: the method itself says that the number is not worth much."""

    median: np.ndarray
    quantiles: np.ndarray | None
    flagged: np.ndarray

    @classmethod
    def points(cls, median: np.ndarray) -> Answer:
        return cls(median, None, np.zeros(len(median), dtype=bool))

    @classmethod
    def nothing(cls, count: int) -> Answer:
        return cls.points(np.full(count, np.nan))


@dataclass(frozen=True)
class TaskQuestion:
    """One task of runs with sizes and lengths: params, tokens, compute, loss [n] (NaN where missing), value [n] in
    0..1, higher is better; targets: at_params, at_tokens, at_compute, at_loss [t]. chance: what guessing scores, as the
    smallest runs show it."""

    params: np.ndarray
    tokens: np.ndarray
    compute: np.ndarray
    loss: np.ndarray
    value: np.ndarray
    at_params: np.ndarray
    at_tokens: np.ndarray
    at_compute: np.ndarray
    at_loss: np.ndarray
    chance: float
    source: str


class Method(Protocol):
    """name: the key of its column. learned_from: sources that its learned part saw. leaves_out: forecast() leaves
    question.source out of the learned part. conformal: its intervals are made by the scorecard from its errors on the
    other sources (conformal.py); its own quantiles are then ignored. only_tasks: it answers nothing about losses.
    """

    name: str
    learned_from: tuple[str, ...]
    leaves_out: bool
    conformal: bool
    only_tasks: bool

    def forecast(self, question: Question) -> Answer: ...

    def curve(self, x: np.ndarray, y: np.ndarray, at: np.ndarray, source: str) -> np.ndarray | None:
        """Loss at `at` of the curve (x, y); None when the method forecasts no curves."""
        ...

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        """Task values at the targets; None when the method forecasts no tasks."""
        ...


class Baseline:
    """A method that learned nothing and forecasts neither curves nor tasks, unless it says otherwise."""

    name = ""
    learned_from: tuple[str, ...] = ()
    leaves_out = False
    conformal = False
    only_tasks = False

    def curve(self, x: np.ndarray, y: np.ndarray, at: np.ndarray, source: str) -> np.ndarray | None:
        return None

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        return None


__all__ = ["LEVELS", "Answer", "Baseline", "Method", "Question", "TaskQuestion"]
