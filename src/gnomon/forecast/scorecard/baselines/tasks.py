"""What others use for task scores: error as an exponential of the loss (arXiv:2403.08540), a sigmoid in log compute.

They answer no question about losses. The first is told the target's true loss, as its authors' test is, so it is an
oracle and not a forecast.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.scorecard.method import Answer, Baseline, Question, TaskQuestion


class _TasksOnly(Baseline):
    only_tasks = True

    def forecast(self, question: Question) -> Answer:
        return Answer.nothing(len(question))


class LossToTask(_TasksOnly):
    """error = e - k exp(-g L) with the target's true loss."""

    name = "true_loss_to_error"

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        from scipy.optimize import least_squares

        known = np.isfinite(question.loss)
        if known.sum() < 4 or not np.isfinite(question.at_loss).all():
            return None
        loss, error = question.loss[known], 1 - question.value[known]

        def law(p: np.ndarray, at: np.ndarray) -> np.ndarray:
            return p[0] - np.exp(p[1] - np.exp(p[2]) * (at - loss.mean()))

        begin = [np.array([1 - question.chance, -3.0, g]) for g in (-1.0, 0.0, 1.0)]
        bounds = ([0.0, -20.0, -3.0], [1.5, 3.0, 2.5])
        ends = [least_squares(lambda p: law(p, loss) - error, p, bounds=bounds, max_nfev=300) for p in begin]
        best = min(ends, key=lambda end: end.cost)
        return np.clip(1 - law(best.x, question.at_loss), 0.0, 1.0)


class SigmoidCompute(_TasksOnly):
    """value = chance + (1 - chance) * sigmoid(w log C + b)."""

    name = "sigmoid_in_compute"

    def task(self, question: TaskQuestion) -> np.ndarray | None:
        from scipy.optimize import least_squares

        known = np.isfinite(question.compute)
        if known.sum() < 5:
            return None
        x, y = np.log10(question.compute[known]), question.value[known]
        centre = x.mean()

        def law(p: np.ndarray, at: np.ndarray) -> np.ndarray:
            return question.chance + (1 - question.chance) / (1 + np.exp(-(p[0] * (at - centre) + p[1])))

        bounds = ([0.0, -10.0], [6.0, 10.0])
        ends = [least_squares(lambda p: law(p, x) - y, [w, -1.0], bounds=bounds, max_nfev=300) for w in (0.3, 1.5)]
        best = min(ends, key=lambda end: end.cost)
        return law(best.x, np.log10(question.at_compute))
