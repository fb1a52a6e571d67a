"""Rolling origin: hide the top of the ladder, forecast it from the rest, see how far off each law was.

This is the only test that a table gives of its own future. It is short (a factor of 3, where the target is 30 away), so
its error is scaled up by the distance, see intervals.py, and no law is dropped for it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.kriging import Setting
from gnomon.forecast.laws import Law
from gnomon.forecast.members import KNEE, Shape, fit_members, shape_of
from gnomon.forecast.noise import SeedNoise
from gnomon.forecast.runs import Runs


@dataclass(frozen=True)
class Trial:
    """One hidden budget, forecast from those below.

    errors: law's name -> log(forecast / seen). decades: from the largest compute that was kept to the hidden one.
    noise: deviation of the log loss that was hidden.
    """

    compute: float
    decades: float
    errors: dict[str, float]
    noise: float = 0.0


@dataclass(frozen=True)
class Hidden:
    """What a trial must forecast: the lowest loss at a compute, the size and tokens that reached it, and how well it is
    known (deviation of log loss)."""

    compute: float
    size: float
    tokens: float
    loss: float
    noise: float


def trials(
    runs: Runs, laws: list[Law], shape: Shape, seeds: SeedNoise, worse: float = KNEE, setting: Setting | None = None
) -> list[Trial]:
    """Hide the top budget, then the top two; what is left must still hold three. Tables without isoFLOP groups hide the
    runs of their top half decade once."""
    hidden = _lowest(runs, shape, seeds)
    done: list[Trial] = []
    if hidden:
        for kept in (len(hidden) - 1, len(hidden) - 2):
            if kept >= 3:
                done += _trials(runs, laws, seeds, 0.7 * hidden[kept].compute, hidden[kept:], worse, setting)
        return done
    top = runs.compute > runs.compute.max() / 3
    best = np.flatnonzero(top)[np.argmin(runs.loss[top])]
    cut = float(runs.compute.max() / 3)
    compute, size, tokens, loss = (float(a[best]) for a in (runs.compute, runs.size, runs.tokens, runs.loss))
    at = Hidden(compute, size, tokens, loss, float(seeds.at(compute)))
    return _trials(runs, laws, seeds, cut, [at], worse, setting)


def _lowest(runs: Runs, shape: Shape, seeds: SeedNoise) -> list[Hidden]:
    """The lowest loss of every budget, smallest first: its minimum, or its best size where none is bracketed."""
    lowest = [Hidden(m.compute, m.size, m.tokens, m.loss, m.log_loss_deviation) for m in shape.minima]
    for budget, _ in shape.refused:
        inside = np.flatnonzero(runs.budget == budget)
        sizes = np.unique(runs.size[inside])
        means = [runs.loss[inside[runs.size[inside] == size]].mean() for size in sizes]
        size, loss = sizes[int(np.argmin(means))], float(np.min(means))
        at = inside[runs.size[inside] == size][0]
        compute = float(runs.compute[at])
        lowest.append(Hidden(compute, float(size), float(runs.tokens[at]), loss, float(seeds.at(compute))))
    return sorted(lowest, key=lambda h: h.compute)


def _trials(
    runs: Runs,
    laws: list[Law],
    seeds: SeedNoise,
    cut: float,
    hidden: list[Hidden],
    worse: float,
    setting: Setting | None,
) -> list[Trial]:
    """Fit the runs whose compute is at most `cut` and forecast the hidden ones."""
    kept = runs.select(runs.compute <= cut)
    members = fit_members(kept, laws, shape_of(kept, seeds), seeds, worse=worse, setting=setting) if len(kept) else []
    done = []
    for h in hidden if members else []:
        at = {"compute": np.array([h.compute]), "parameters": np.array([h.size]), "tokens": np.array([h.tokens])}
        errors = {m.law.name: float(np.log(m.point.predict(at)[0, 0] / h.loss)) for m in members}
        done.append(Trial(h.compute, float(np.log10(h.compute / kept.compute.max())), errors, h.noise))
    return done
