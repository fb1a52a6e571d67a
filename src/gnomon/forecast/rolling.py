"""Rolling origin: hide the top of the ladder, forecast it from the rest, see how far off each law was.

This is the only test that a table gives of its own future. It is short (a factor of 3, where the target is 30 away), so
its error is scaled up by the distance, see intervals.py, and no law is dropped for it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.laws import Law
from gnomon.forecast.members import Shape, fit_members, shape_of
from gnomon.forecast.noise import SeedNoise
from gnomon.forecast.runs import Runs


@dataclass(frozen=True)
class Trial:
    """One hidden budget, forecast from those below.

    errors: law's name -> log(forecast / seen); decades: from the largest compute that was kept to the hidden one; span: decades that were kept; noise: deviation of what was seen (log).
    """

    compute: float
    decades: float
    span: float
    errors: dict[str, float]
    noise: float


def trials(runs: Runs, laws: list[Law], shape: Shape, seeds: SeedNoise, most: int = 2) -> list[Trial]:
    """Up to `most` trials, each hiding one more of the top budgets. Tables without isoFLOP groups hide their top third
    of a decade once; what is left must still carry a law."""
    if len(shape.minima) >= 4:
        tops = shape.minima[3:][::-1][:most]
        done = [_trial(runs, laws, seeds, t.compute, t.size, t.tokens, t.loss, t.log_loss_deviation) for t in tops]
        return [t for t in done if t is not None]
    if len(shape.minima) > 0:
        return []
    hidden = runs.compute > runs.compute.max() / 3
    if hidden.all():
        return []
    best = np.flatnonzero(hidden)[np.argmin(runs.loss[hidden])]
    deviation = float(seeds.at(runs.compute[best]))
    at = (float(runs.compute[best]), float(runs.size[best]), float(runs.tokens[best]), float(runs.loss[best]))
    done = [_trial(runs, laws, seeds, *at, deviation, runs.compute.max() / 3)]
    return [t for t in done if t is not None]


def _trial(
    runs: Runs,
    laws: list[Law],
    seeds: SeedNoise,
    compute: float,
    size: float,
    tokens: float,
    loss: float,
    deviation: float,
    cut: float = 0.0,
) -> Trial | None:
    """Fit the runs below `cut` (default: 30 % below the hidden compute) and forecast (compute, size, tokens)."""
    kept = runs.select(runs.compute < (cut or 0.7 * compute))
    if len(kept) < 4:
        return None
    members = fit_members(kept, laws, shape_of(kept, seeds), seeds)
    at = {"compute": np.array([compute]), "parameters": np.array([size]), "tokens": np.array([tokens])}
    errors = {m.law.name: float(np.log(m.point.predict(at)[0, 0] / loss)) for m in members}
    if not errors:
        return None
    top, bottom = np.log10(kept.compute.max()), np.log10(kept.compute.min())
    return Trial(compute, float(np.log10(compute) - top), float(top - bottom), errors, deviation)
