"""Pair bootstrap of one law: how far its constants move when the table's runs are drawn again with replacement.

A draw is a row of counts, not a copy of the table, so all draws share the runs' logarithms; every draw starts from the
point fit and is followed to its own bottom by newton.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.fitting.projection import Solution, solve
from gnomon.forecast.fitting.robust import Loss, published_loss
from gnomon.forecast.laws import Law
from gnomon.forecast.runs import Runs

DRAWS_PER_BATCH = 500  # counts and residuals of more would only fill memory


@dataclass(frozen=True)
class Bootstrap:
    """point: the fit to all runs, S = 1; draws: one fit a draw, S = draws. Objectives of draws are those of their own
    counts."""

    point: Solution
    draws: Solution

    def deviations(self) -> dict[str, float]:
        """Standard deviation of every constant over the draws."""
        law = self.draws.law
        spread = (*self.draws.coefficients.std(0), *self.draws.exponents.std(0))
        return {n: float(s) for n, s in zip((*law.coefficients, *law.exponents), spread, strict=True)}


def bootstrap(law: Law, runs: Runs, draws: int = 4000, seed: int = 0, loss: Loss | None = None) -> Bootstrap:
    """Fit the law to the runs, then to `draws` tables of as many runs drawn with replacement.

    loss: what is minimised; it may carry weights of the rows [n], which the counts multiply. None: the published
    objective (robust.published_loss, Huber 1e-3 on logarithms) without the law's prior, so that `point.objective` can
    be compared with arXiv:2404.10102: on its 240 runs 0.00101827558, E 1.817, A 477.8, B 2143, alpha 0.3473,
    beta 0.3672. This is the call behind the cost figures fit_s, bootstrap_4000_s and objective of a scorecard; see
    benchmarks/forecast_cost.py. Deterministic for a seed.
    Raises GnomonError when the runs are fewer than the law's constants, or lack one of its inputs.
    """
    if draws < 1:
        raise GnomonError(f"bootstrap of {law.name}: {draws} draws asked for; at least 1 is needed")
    known = runs.inputs()
    missing = [name for name in law.inputs if name not in known]
    if missing:
        raise GnomonError(f"law {law.name}: the runs have no {', '.join(missing)}; it needs {', '.join(law.inputs)}")
    if len(runs) < law.minimum_points:
        raise GnomonError(f"law {law.name}: {len(runs)} runs; its constants need {law.minimum_points}")
    inputs = {name: known[name] for name in law.inputs}
    law = law.centred(inputs)
    if loss is None:
        law, loss = law.free(), published_loss(len(runs))
    point = solve(law, inputs, runs.loss, loss)
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, draws, DRAWS_PER_BATCH):
        counts = _counts(rng, min(DRAWS_PER_BATCH, draws - first), len(runs))
        parts.append(solve(law, inputs, runs.loss, loss.counting(counts), near=point))
    together = [np.concatenate([getattr(p, n) for p in parts]) for n in ("exponents", "coefficients", "objective")]
    return Bootstrap(point, Solution(law, *together))


def _counts(rng: np.random.Generator, draws: int, runs: int) -> np.ndarray:
    """[draws, runs]: how often each run was drawn."""
    drawn = rng.integers(runs, size=(draws, runs)) + runs * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * runs).reshape(draws, runs).astype(float)
