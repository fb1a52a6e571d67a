"""The runs of one task: columns checked, rows by rising compute, and what their shape says before any law is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnomon.common.errors import GnomonError

Numbers = Sequence[float] | np.ndarray | float
FEWEST_RUNS = 5
CLEAR = 3.0  # standard errors
HIGHEST_CHANCE = 0.6


@dataclass(frozen=True)
class TaskRuns:
    """score in 0..1, compute; parameters, tokens, loss, None where unknown for any run: [n] each. chance: what guessing
    scores. items: questions of the task, None where unknown."""

    score: np.ndarray
    compute: np.ndarray
    parameters: np.ndarray | None = None
    tokens: np.ndarray | None = None
    loss: np.ndarray | None = None
    chance: float = 0.0
    items: int | None = None

    def __len__(self) -> int:
        return len(self.score)

    def at(self, rows: np.ndarray) -> TaskRuns:
        """Some of the runs."""
        names = ("score", "compute", "parameters", "tokens", "loss")
        return replace(self, **{n: v[rows] for n in names if (v := getattr(self, n)) is not None})

    def inputs(self, other: TaskRuns) -> dict[str, np.ndarray]:
        """What the laws read of other runs: logarithms against the largest of these (n, d, c), and the loss (l)."""
        found = {"c": np.log(other.compute / self.compute[-1])}
        for key, name in (("n", "parameters"), ("d", "tokens")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None and len(np.unique(mine)) >= 3:
                found[key] = np.log(theirs / mine[-1])
        if self.loss is not None and other.loss is not None:
            found["l"] = other.loss
        return found


def read_runs(columns: Mapping[str, Numbers | None]) -> TaskRuns:
    """Runs in the order given, without those that lack a score or compute.

    Raises GnomonError when columns differ in length or hold text, or numbers that cannot be.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        if values is None:
            continue
        try:
            arrays[name] = np.atleast_1d(np.asarray(values, dtype=float)).ravel()
        except (TypeError, ValueError):
            raise GnomonError(f"task: {name} holds something that is not a number") from None
        if len(arrays[name]) != len(arrays["score"]):
            raise GnomonError(
                f"task: {len(arrays[name])} {name} but {len(arrays['score'])} scores; one a run is expected"
            )
        bad = (arrays[name] < 0) | (arrays[name] > 1) if name == "score" else ~(arrays[name] > 0)
        bad &= ~np.isnan(arrays[name])
        if bad.any():
            right = "fractions from 0 to 1, higher is better" if name == "score" else "positive numbers"
            raise GnomonError(f"task: {name} {arrays[name][bad][0]:g} cannot be; {right} are expected")
    kept = np.isfinite(arrays["score"]) & np.isfinite(arrays["compute"])
    known = {name: array[kept] for name, array in arrays.items() if np.isfinite(array[kept]).all()}
    return TaskRuns(**known)


def prepare(runs: TaskRuns, chance: float | None, items: int | None) -> TaskRuns:
    """Rows by rising compute, with chance: what was given, or the median score of the smallest third (0 where that is
    more than guessing ever gets)."""
    if len(runs) < FEWEST_RUNS:
        raise GnomonError(f"task: {len(runs)} runs have a score and compute; at least {FEWEST_RUNS} are needed")
    runs = runs.at(np.lexsort((runs.score, runs.compute)))
    lowest = float(np.median(runs.score[: max(3, len(runs) // 3)]))
    guess = lowest * (lowest <= HIGHEST_CHANCE) if chance is None else float(chance)
    if not 0 <= guess < 1:
        raise GnomonError(f"task: chance is {guess:g}; a number from 0 to below 1 is expected")
    return replace(runs, chance=guess if guess >= 0.03 else 0.0, items=items)


def rise(runs: TaskRuns) -> float:
    """How clearly the score rises with log compute: its slope in standard errors (0 where nothing moves)."""
    x = np.log(runs.compute) - np.log(runs.compute).mean()
    y = runs.score - runs.score.mean()
    if not (x @ x > 0 and y @ y > 1e-12):
        return 0.0
    slope = x @ y / (x @ x)
    left = ((y - slope * x) ** 2).sum() / max(len(x) - 2, 1)
    return float(slope / np.sqrt(max(left, 1e-9) / (x @ x)))


def scatter(runs: TaskRuns) -> float:
    """Deviation of the scores about a parabola in log compute."""
    if len(runs) < 6 or np.ptp(runs.compute) == 0:
        return 0.03
    x = np.log(runs.compute / runs.compute[-1])
    x = x / np.abs(x).max()
    left = runs.score - np.polyval(np.polyfit(x, runs.score, 2), x)
    return float(np.sqrt((left**2).sum() / (len(x) - 3)))


def turning_point(runs: TaskRuns) -> int | None:
    """The row from which a score that first fell clearly rises again (arXiv:2211.02011), None where it does not."""
    if len(runs) < 9:
        return None
    third = len(runs) // 3
    parts = [runs.score[:third], runs.score[third : 2 * third], runs.score[2 * third :]]
    means = [part.mean() for part in parts]
    error = np.sqrt(sum(part.var() / len(part) for part in parts) / 3) + 1e-3
    if means[0] - means[1] < CLEAR * error or means[2] - means[1] < CLEAR * error:
        return None
    return third + int(np.argmin(np.convolve(runs.score[third : 2 * third], np.ones(3) / 3, mode="same")))


def findings(runs: TaskRuns) -> list[str]:
    """What a forecast of these runs should say: no signal, falls with compute, fell first and rose again."""
    slope, third = rise(runs), runs.score[-max(3, len(runs) // 3) :]
    said = []
    if turning_point(runs) is not None:
        said.append(
            "the score fell first and rose again with compute; the laws were fitted past the turn where they could"
        )
    elif slope < -CLEAR:
        said.append("the score falls with compute (inverse scaling): the mean of the largest runs is given, no law")
    elif slope < 2 and third.mean() - runs.chance < 2 * (scatter(runs) / np.sqrt(len(third)) + 0.005):
        said.append(
            f"no signal: all runs score as chance does ({runs.chance:.3g}); when it will rise is not in this table"
        )
    elif slope < 2:
        said.append("the score does not move with compute in this table")
    return said
