"""Task scores: each task of the biggest runs from the small ones, in points (hundredths of the scale 0..1).

Two kinds of tables. Ladders (the median family has eight runs): the run of most compute of each family from the runs of
at most a tenth, a hundredth of it. Collections of public models (families of a few): every model above a cut of compute
from those below. Only tasks count whose best value is 10 points above what the smallest runs get by guessing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.forecast.scorecard.families import Downstream
from gnomon.forecast.scorecard.method import Method, TaskQuestion
from gnomon.forecast.scorecard.protocols.asking import refuse_seen

RATIOS = (10, 100)
# Cuts of published collections, in FLOPs; of others a hundredth and a thousandth of the largest compute.
CUTS = {"obsscaling_base_llm": (8.4e22, 1e22)}
SIGNAL = 0.10
FEWEST_RUNS, FEWEST_OF_LADDER = 6, 8


@dataclass(frozen=True)
class AskedTask:
    """A question about one task, and the truth [t]."""

    question: TaskQuestion
    name: str
    truth: np.ndarray


def summary(method: Method, tables: Sequence[Downstream]) -> dict[str, Any] | None:
    """{table: {ratio or cut: {median_points, mean_points, average_error_pct, tasks, targets}}}; None when the method
    forecasts no tasks. average_error_pct: error of the mean over all tasks, in percent of that mean."""
    result: dict[str, Any] = {}
    for table in tables:
        refuse_seen(method, table.source)
        for label, questions in plans(table):
            scored = [(a, method.task(a.question)) for a in questions]
            answered = [(a, np.clip(v, 0.0, 1.0)) for a, v in scored if v is not None and np.isfinite(v).all()]
            if answered:
                result.setdefault(table.name, {})[label] = _figures(answered) | {
                    "unanswered": len(scored) - len(answered)
                }
    return result or None


def _figures(answered: list[tuple[AskedTask, np.ndarray]]) -> dict[str, Any]:
    per_task = np.array([100 * np.mean(np.abs(v - a.truth)) for a, v in answered])
    forecast = np.mean([v.mean() for _, v in answered])
    truth = np.mean([a.truth.mean() for a, _ in answered])
    return {
        "median_points": float(np.median(per_task)),
        "mean_points": float(per_task.mean()),
        "average_error_pct": float(100 * abs(forecast / truth - 1)),
        "tasks": len(answered),
        "targets": int(sum(len(a.truth) for a, _ in answered)),
    }


def plans(table: Downstream) -> Iterator[tuple[str, list[AskedTask]]]:
    """(label, questions) for every ratio of a ladder, or every cut of a collection."""
    names, counts = np.unique(table.family, return_counts=True)
    if np.median(counts) >= FEWEST_OF_LADDER:
        for ratio in RATIOS:
            yield str(ratio), [a for name in names for a in _ladder(table, table.family == name, ratio)]
        return
    largest = float(np.nanmax(table.flops_C))
    for cut in CUTS.get(table.name, (largest / 100, largest / 1000)):
        below = table.flops_C <= cut
        above = table.flops_C > cut
        yield f"above {cut:.2g}", list(_tasks(table, below, above))


def _ladder(table: Downstream, rows: np.ndarray, ratio: int) -> list[AskedTask]:
    compute = np.where(rows, table.flops_C, np.nan)
    target = int(np.nanargmax(compute))
    below = rows & (table.flops_C <= compute[target] / ratio)
    return list(_tasks(table, below, np.arange(len(rows)) == target))


def _tasks(table: Downstream, seen: np.ndarray, asked: np.ndarray) -> Iterator[AskedTask]:
    """A question for every task with a signal that both sides were measured on."""
    for i, name in enumerate(table.tasks):
        value = table.values[:, i] / (100.0 if np.nanmax(table.values[:, i]) > 1.5 else 1.0)
        train = np.flatnonzero(seen & np.isfinite(value) & np.isfinite(table.flops_C))
        target = np.flatnonzero(asked & np.isfinite(value) & np.isfinite(table.flops_C))
        if len(train) < FEWEST_RUNS or not len(target):
            continue
        smallest = train[np.argsort(table.flops_C[train], kind="stable")[:3]]
        chance = float(np.mean(value[smallest]))
        if value[np.concatenate([train, target])].max() < chance + SIGNAL:
            continue
        question = TaskQuestion(
            params=table.params_N[train],
            tokens=table.tokens_D[train],
            compute=table.flops_C[train],
            loss=table.loss[train],
            value=value[train],
            at_params=table.params_N[target],
            at_tokens=table.tokens_D[target],
            at_compute=table.flops_C[target],
            at_loss=table.loss[target],
            chance=chance,
            source=table.source,
        )
        yield AskedTask(question, name, value[target])
