"""From many forecasts to one interval: draws of every law, what the form may hide, and the outcome's own noise.

The interval's width has five sources, reported as shares of the variance of log loss:
seed (other seeds in the ladder move the fit), minimum (scatter about the parabolas or the surface does), form (laws
that fit alike disagree far out, and all may be wrong), evaluation (the outcome is read on other rows than the rungs),
outcome (the target, too, is one seed).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.rolling import Trial
from gnomon.forecast.values import LEVELS

# Why a straight line per decade and why these numbers. Over 16 published isoFLOP families (4 sources: massivetext,
# Marin, Porian et al., xLSTM; 320 forecasts from 4 or more budgets) the combined forecast's error, divided by the
# decades ahead and by the per-decade error of the same table's trials, has the same spread at 3x, 10x, 30x and 100x: a
# median of 0.9 and a 90th percentile of 2.1, a normal of deviation 1.3. Squares or roots of the distance fan out or in.
SPREAD_PER_TRIAL_ERROR = 1.3
# What one more trial of a good table would have shown: 0.6 % a decade. Keeps two lucky trials from closing the
# interval.
USUAL_RATE = 0.006
# A table too short to try itself gets what covers careless published ladders of three budgets.
UNTRIED_RATE = 0.025
SAMPLES = 6000
# Trials nearer than the noise of a minimum allows say little about laws: errors below this are not told apart.
SMALLEST_ERROR = 0.003


def member_error(trials: list[Trial], name: str) -> float:
    """Root mean square error of a law over the trials that it took part in; NaN when there were none."""
    errors = [t.errors[name] for t in trials if name in t.errors]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else float("nan")


def weights(families: list[str], errors: list[float], expected: list[float]) -> np.ndarray:
    """Weight of each law: every family of laws alike, then by the inverse square of the law's error.

    errors: in the table's own trials; a law that could not be tried is taken to be as good as the best of the others.
    expected: from the law's record elsewhere (record.py); the squares of both add up.
    """
    rms = np.array(errors)
    rms = np.where(np.isnan(rms), np.nanmin(rms) if np.isfinite(rms).any() else 0.0, rms)
    share = np.array([1 / families.count(family) for family in families])
    raw = share / (rms**2 + np.square(expected) + SMALLEST_ERROR**2)
    return raw / raw.sum()


def error_rate(trials: list[Trial], names: list[str], weight: np.ndarray) -> float:
    """Error of the combined forecast per decade of extrapolation, as this table's trials show it (log loss)."""
    squares = []
    for trial in trials:
        tried = [(w, trial.errors[n]) for n, w in zip(names, weight, strict=True) if n in trial.errors]
        total = sum(w for w, _ in tried)
        if total > 0:
            squares.append(sum(w * e * e for w, e in tried) / total / trial.decades**2)
    if not squares:
        return UNTRIED_RATE
    return float(np.sqrt((USUAL_RATE**2 + sum(squares)) / (1 + len(squares))))


@dataclass(frozen=True)
class Spread:
    """A sample of the target's log loss, and the variance that each source gives it (SOURCES)."""

    log_sample: np.ndarray
    variances: dict[str, float]

    def quantiles(self) -> np.ndarray:
        """Of the loss, at LEVELS."""
        return np.exp(np.quantile(self.log_sample, LEVELS))


def shares(variances: dict[str, float]) -> dict[str, float]:
    """As fractions of their sum."""
    total = sum(variances.values()) or 1.0
    return {name: value / total for name, value in variances.items()}


def spread(
    log_points_M: np.ndarray,
    log_draws_MB: np.ndarray,
    weight_M: np.ndarray,
    reach: float,
    seed_share: float,
    evaluation: float,
    outcome: float,
    seed: int,
) -> Spread:
    """Everything that the target's loss may turn out to be.

    log_points_M: each law's point forecast (log loss); log_draws_MB: its bootstrap draws. reach: deviation that the
    laws' disagreement should have at this distance (error rate times decades); where they agree better than that by
    chance, the rest is added. seed_share: the seeds' part of the runs' noise. evaluation, outcome: deviations of log
    loss. seed: two calls with the same seed are comonotone: their samples may be added as errors that go together.
    """
    centre = float(weight_M @ log_points_M)
    form = float(weight_M @ (log_points_M - centre) ** 2)
    # A law's draws are taken about its own point: a bootstrap is trusted for spread, not for level.
    noise = log_draws_MB - np.median(log_draws_MB, axis=1, keepdims=True)
    fitting = float(weight_M @ noise.var(axis=1))
    missing = max(0.0, reach**2 - form)
    rng = np.random.default_rng(seed)
    level = rng.permutation((np.arange(SAMPLES) + 0.5) / SAMPLES)
    order = np.argsort(log_points_M, kind="stable")
    law = order[np.minimum(np.searchsorted(np.cumsum(weight_M[order]), level), len(order) - 1)]
    draw = np.arange(SAMPLES) % noise.shape[1]
    own = np.sqrt(missing + evaluation**2 + outcome**2)
    sample = log_points_M[law] + noise[law, draw] + own * rng.standard_normal(SAMPLES)
    variances = {
        "seed": fitting * seed_share,
        "evaluation": evaluation**2,
        "minimum": fitting * (1 - seed_share),
        "form": form + missing,
        "outcome": outcome**2,
    }
    return Spread(sample, variances)
