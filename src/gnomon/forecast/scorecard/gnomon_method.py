"""gnomon's own automatic method, as the scorecard asks it: the question's runs become a table, `fit` does the rest.

The source of the question is passed on as `left_out`, so that the learned part (prior, weights, conformal factors) is
the one that never saw that source.
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.combine import fit
from gnomon.forecast.scorecard.method import LEVELS, Answer, Question, TaskQuestion
from gnomon.forecast.values import Target


class Gnomon:
    """fit(table, left_out=source).predict(target), fit_curve(x, y).predict(x), fit_task(score, …).predict(…)."""

    name = "gnomon"
    conformal = False
    only_tasks = False

    def __init__(self) -> None:
        self.leaves_out = "left_out" in inspect.signature(fit).parameters
        self.learned_from: tuple[str, ...] = tuple(learned_sources())

    def forecast(self, question: Question) -> Answer:
        """Raises GnomonError when the table is beyond what fit() takes."""
        more: dict[str, Any] = {"left_out": question.source} if self.leaves_out else {}
        fitted = fit(question.runs.table(), "loss_nats_scored", **more)
        medians, quantiles, flags = [], [], []
        for compute, params, tokens in zip(question.compute, question.params, question.tokens, strict=True):
            forecast = fitted.predict(Target(float(compute), float(params), float(tokens)))
            medians.append(forecast.median)
            quantiles.append([forecast.quantiles[str(level)] for level in LEVELS])
            flags.append(forecast.flag)
        return Answer(np.array(medians), np.array(quantiles), np.array(flags))

    def curve(self, x: np.ndarray, y: np.ndarray, at: np.ndarray, source: str) -> np.ndarray | None:
        from gnomon.forecast.curves import fit_curve

        try:
            return fit_curve(x, y).predict(at).median
        except GnomonError:
            return np.full(len(at), y[-1])

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        """The target's true loss (question.at_loss) is not used: it would be an oracle."""
        from gnomon.forecast.downstream import fit_task

        q = question
        try:
            fitted = fit_task(
                q.value, compute=q.compute, parameters=q.params, tokens=q.tokens, loss=q.loss, chance=q.chance
            )
            return fitted.predict(compute=q.at_compute, parameters=q.at_params, tokens=q.at_tokens).median
        except GnomonError:
            return None


def learned_sources() -> list[str]:
    """The sources that the learned part of the method saw; empty when nothing is learned."""
    return list(getattr(_learned(), "SOURCES", ()))


def method_version() -> str | None:
    """METHOD_VERSION of the method that is scored; None while it has none."""
    version = getattr(_learned(), "METHOD_VERSION", None)
    return None if version is None else str(version)


def _learned() -> ModuleType | None:
    try:
        return importlib.import_module("gnomon.forecast.learned")
    except ModuleNotFoundError:
        return None
