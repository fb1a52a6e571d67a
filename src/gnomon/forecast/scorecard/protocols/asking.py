"""What the loss protocols share: a plan of questions, asked of a method, gives rows of forecast and outcome.

A method whose learned part saw a source is not asked about it unless it leaves that source out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.scorecard.conformal import with_intervals
from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.scorecard.method import Answer, Method, Question
from gnomon.forecast.scorecard.scores import Row

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A question and the truth: outcome [t], which the method never sees."""

    question: Question
    family: str
    outcome: np.ndarray
    clean: bool


def enough(runs: Family) -> bool:
    """Eight runs of three sizes and three lengths over three times in compute."""
    return (
        len(runs) >= 8
        and len(np.unique(runs.params_N)) >= 3
        and len(np.unique(runs.tokens_D)) >= 3
        and float(runs.flops_C.max() / runs.flops_C.min()) >= 3
    )


def refuse_seen(method: Method, source: str) -> None:
    """Raises GnomonError when the method learned from this source and cannot leave it out."""
    if source in method.learned_from and not method.leaves_out:
        raise GnomonError(
            f"scorecard: {method.name} learned from {source} and cannot leave it out; "
            f"remove its files from the folder or score another method"
        )


def ask(method: Method, plan: Sequence[Asked], ratio: int, tick: Tick = lambda _: None) -> list[Row]:
    """Rows in the order of the plan; with conformal intervals where the method asks for them. A question that the
    method refuses (GnomonError) or is too short for leaves its targets without an answer."""
    rows: list[Row] = []
    for asked in plan:
        refuse_seen(method, asked.question.source)
        try:
            answer = method.forecast(asked.question)
        except (GnomonError, np.linalg.LinAlgError, FloatingPointError):
            answer = Answer.nothing(len(asked.question))
        rows += _rows(asked, answer)
        tick(asked.family)
    return with_intervals(rows, ratio) if method.conformal else rows


def _rows(asked: Asked, answer: Answer) -> list[Row]:
    rows = []
    for i, outcome in enumerate(asked.outcome):
        quantiles = None if answer.quantiles is None else tuple(float(q) for q in answer.quantiles[i])
        median = float(answer.median[i])
        rows.append(
            Row(
                family=asked.family,
                source=asked.question.source,
                outcome=float(outcome),
                median=median if median > 0 else float("nan"),
                quantiles=quantiles,
                flagged=bool(answer.flagged[i]),
                clean=asked.clean,
            )
        )
    return rows
