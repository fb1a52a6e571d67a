"""One task's score carried up: fit_task(score, compute=…).predict(compute=…) gives a median and quantiles in 0..1.

Laws of laws/task.py and the best score so far are mixed with weights 1/error^2, each error measured inside the table by
forecasting its largest third and its largest tenth of compute from the rest: nothing is learned from other tables but
weak priors and the width of the interval. For many tasks call it once each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from gnomon.forecast.fitting.gauss_newton import minimise
from gnomon.forecast.laws.task import Direct, TaskLaw, task_laws
from gnomon.forecast.task_runs import (
    CLEAR,
    Numbers,
    TaskRuns,
    findings,
    prepare,
    read_runs,
    rise,
    scatter,
    turning_point,
)
from gnomon.forecast.values import LEVELS

CUTS = (3.0, 10.0)  # largest compute seen over the largest one fitted, inside the table
FEWEST_TO_CUT = 6
LEAST_ERROR = 0.01
MISFIT = (0.02, 0.06)  # of a law, in score: no run weighs more than noise of the first, or less than of the second
BEST = "best so far"
WIDENING = 1.2  # of the interval: 1.0 holds on ladders, 1.35 on collections of models by many makers (docs/log.md)


@dataclass(frozen=True)
class TaskForecast:
    """median [m], quantiles {level: [m]} of the score in 0..1; components: {name, source, weight, error, median [m]}
    a member (error: in score, inside the table; None where it could not be tried); flagged: the number says little."""

    median: np.ndarray
    quantiles: dict[float, np.ndarray]
    components: list[dict[str, Any]]
    flagged: bool
    warnings: list[str]


@dataclass(frozen=True)
class Member:
    """law: None for the best so far. error: root mean square in score inside the table, None where not tried."""

    law: TaskLaw | None
    theta: np.ndarray
    error: float | None = None

    @property
    def name(self) -> str:
        return BEST if self.law is None else self.law.name

    def predict(self, runs: TaskRuns, inputs: dict[str, np.ndarray]) -> np.ndarray:
        if self.law is None:
            return np.full(len(inputs["c"]), runs.score.max())
        return self.law.score(self.theta[None], inputs, runs.chance)[0][0]


@dataclass(frozen=True)
class TaskFit:
    """runs: those fitted; members: laws and the best so far; rise: of the score by log compute, in standard errors."""

    runs: TaskRuns
    members: tuple[Member, ...]
    rise: float
    warnings: tuple[str, ...]

    def predict(
        self,
        *,
        compute: Numbers,
        parameters: Numbers | None = None,
        tokens: Numbers | None = None,
        loss: Numbers | None = None,
        levels: Sequence[float] = LEVELS,
    ) -> TaskForecast:
        """Scores [m] of runs of this compute. The direct law needs parameters and tokens; the way through the loss
        takes `loss` where it was forecast elsewhere, else the table's own E + A/N^a + B/D^b of its losses.

        Raises GnomonError when a column is not of positive numbers or lengths differ.
        """
        count = np.atleast_1d(np.asarray(compute, dtype=float))
        asked = read_runs(
            {"score": np.zeros(len(count)), "compute": count, "parameters": parameters, "tokens": tokens, "loss": loss}
        )
        inputs = self.runs.inputs(asked)
        if "l" not in inputs and self.runs.loss is not None and {"n", "d"} <= set(inputs):
            inputs["l"] = _loss_ahead(self.runs, inputs)
        used = [m for m in self.members if m.law is None or set(m.law.inputs) <= set(inputs)]
        each = np.stack([member.predict(self.runs, inputs) for member in used])
        weight = _weights(used)
        middle = weight @ each
        if self.rise < -CLEAR:
            middle = np.full_like(middle, self.runs.score[-max(1, len(self.runs) // 4) :].mean())
        elif self.rise < 2:
            middle = 0.5 * (middle + self.runs.score.max())
        spread = WIDENING * np.sqrt(weight @ (each - middle) ** 2 + self._noise() ** 2)
        quantiles = {q: np.clip(middle + NormalDist().inv_cdf(q) * spread, 0.0, 1.0) for q in levels}
        rows = [
            {"name": m.name, "source": m.law.source if m.law else "", "weight": float(w), "error": m.error, "median": e}
            for m, w, e in zip(used, weight, each, strict=True)
        ]
        said = list(self.warnings)
        if not {"n", "d"} <= set(inputs):
            said.append("parameters and tokens are not known for all runs: laws of compute alone")
        return TaskForecast(np.clip(middle, 0.0, 1.0), quantiles, rows, bool(self.warnings), said)

    def _noise(self) -> float:
        """Deviation of a score: the best member's error inside the table, and the binomial noise of the items."""
        errors = [m.error for m in self.members if m.error is not None]
        items = self.runs.items
        return float(np.hypot(min(errors, default=0.05), 0.5 / np.sqrt(items) if items else LEAST_ERROR))


def fit_task(
    score: Numbers,
    *,
    compute: Numbers,
    parameters: Numbers | None = None,
    tokens: Numbers | None = None,
    loss: Numbers | None = None,
    chance: float | None = None,
    items: int | None = None,
) -> TaskFit:
    """Fit one task. score [n] in 0..1, higher is better; compute [n] in operations; parameters, tokens, loss [n] where
    known; chance: what guessing scores (None: the median of the smallest third); items: how many questions it has, for
    a binomial likelihood.

    Runs without a score or compute are left out. Raises GnomonError when fewer than 5 are left or a value cannot be.
    """
    given = {"score": score, "compute": compute, "parameters": parameters, "tokens": tokens, "loss": loss}
    runs = prepare(read_runs(given), chance, items)
    said = findings(runs)
    turn = turning_point(runs)
    if turn is not None and len(runs) - turn >= FEWEST_TO_CUT:
        runs = runs.at(np.arange(turn, len(runs)))
    errors = _errors(runs)
    members = tuple(Member(m.law, m.theta, errors.get(m.name)) for m in _members(runs))
    return TaskFit(runs, members, rise(runs), tuple(said))


def _members(runs: TaskRuns) -> list[Member]:
    """Every law that the runs' columns and number allow, and the best so far."""
    inputs = runs.inputs(runs)
    laws = [law for law in task_laws() if set(law.inputs) <= set(inputs)]
    return [Member(None, np.array([]))] + [Member(law, _constants(law, runs, inputs)) for law in laws]


def _errors(runs: TaskRuns) -> dict[str, float]:
    """Member's name -> root mean square error of its forecasts inside the table."""
    misses: dict[str, list[np.ndarray]] = {}
    for cut in CUTS:
        seen = runs.compute <= runs.compute[-1] / cut
        if seen.sum() < FEWEST_TO_CUT or seen.all():
            continue
        part, rest = runs.at(seen), runs.at(~seen)
        inputs = part.inputs(rest)
        if "l" in inputs and {"n", "d"} <= set(inputs):
            inputs["l"] = _loss_ahead(part, inputs)
        for member in _members(part):
            if member.law is None or set(member.law.inputs) <= set(inputs):
                misses.setdefault(member.name, []).append(member.predict(part, inputs) - rest.score)
    return {name: float(np.sqrt(np.mean(np.concatenate(m) ** 2))) for name, m in misses.items()}


def _weights(members: Sequence[Member]) -> np.ndarray:
    """1/error^2; a member that could not be tried inside the table gets the mean weight of the others."""
    weight = np.array([np.nan if m.error is None else 1 / (m.error**2 + LEAST_ERROR**2) for m in members])
    weight = np.where(np.isnan(weight), 1.0 if np.isnan(weight).all() else np.nanmean(weight), weight)
    return weight / weight.sum()


def _constants(law: TaskLaw, runs: TaskRuns, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Constants of the best start: squares of the residuals, or the binomial deviance where the items are known."""
    misfit = float(np.clip(scatter(runs), *MISFIT))
    trials = None if runs.items is None else 1 / (1 / runs.items + 4 * misfit**2)

    def measure(theta: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        score, slopes = law.score(theta, inputs, runs.chance)
        if trials is None:
            return (score - runs.score) / misfit, slopes / misfit
        residual, by_score = deviance(runs.score, score, trials)
        return residual, slopes * by_score[..., None]

    found, value = minimise(
        measure, np.array(law.begin), np.array(law.centre), np.array(law.spread), 60, tolerance=1e-5
    )
    return found[value.argmin()]


def deviance(seen_n: np.ndarray, score_Sn: np.ndarray, trials: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed root of the binomial deviance [S, n], so that half its square is minus the log likelihood up to a
    constant, and its derivative by the score [S, n]. trials: questions, fewer where the law itself is not exact."""
    score = np.clip(score_Sn, 1e-6, 1 - 1e-6)
    seen = np.broadcast_to(seen_n, score.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(seen > 0, seen * np.log(seen / score), 0.0)
        wrong = np.where(seen < 1, (1 - seen) * np.log((1 - seen) / (1 - score)), 0.0)
    size = np.sqrt(np.maximum(2 * trials * (right + wrong), 0.0))
    residual = np.sign(score - seen) * size
    close = np.abs(score - seen) < 1e-5
    flat = np.sqrt(trials / (score * (1 - score)))
    by_score = np.where(close, flat, (score - seen) * trials / (score * (1 - score)) / np.where(close, 1.0, residual))
    return np.where(close, (score - seen) * flat, residual), by_score


def _loss_ahead(runs: TaskRuns, asked: dict[str, np.ndarray]) -> np.ndarray:
    """Losses of other runs by E + A/N^a + B/D^b fitted to those of these."""
    law, inputs = Direct(), runs.inputs(runs)
    assert runs.loss is not None
    log = np.log(runs.loss)

    def measure(theta: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        loss, slopes = law.surprise(theta, inputs)
        return (np.log(loss) - log) / 0.005, slopes / loss[..., None] / 0.005

    level = float(log[-1])
    begin = np.array([(-0.3, -1.5, -1.5, -1.0, -1.0), (-0.7, -1.0, -1.5, -1.2, -1.2), (-0.7, -1.5, -1.0, -1.2, -1.2)])
    begin[:, :3] += level
    centre = np.array([level - 0.7, level - 1.5, level - 1.5, -1.1, -1.1])
    found, value = minimise(measure, begin, centre, np.array([5.0, 5.0, 5.0, 0.25, 0.25]), 60)
    return law.surprise(found[[value.argmin()]], asked)[0][0]
