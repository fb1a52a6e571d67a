"""From many forecasts to one interval: draws of every law, what the form may hide, and the outcome's own noise.

The interval's width has five sources, reported as shares of the variance of log loss:
seed (other seeds in the ladder move the fit), minimum (scatter about the parabolas or the surface does), form (laws
that fit alike disagree far out, and all may be wrong), evaluation (the outcome is read on other rows than the rungs),
outcome (the target, too, is one seed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gnomon.forecast.learned import Width
from gnomon.forecast.record import SHARPNESS
from gnomon.forecast.rolling import Trial
from gnomon.forecast.values import LEVELS, Forecast

# Why a straight line per decade and why these numbers. Over 16 published isoFLOP families (4 sources: massivetext,
# Marin, Porian et al., xLSTM; 320 forecasts from 4 or more budgets) the combined forecast's error, divided by the
# decades ahead and by the per-decade error of the same table's trials, has the same spread at 3x, 10x, 30x and 100x: a
# median of 0.9 and a 90th percentile of 2.1, a normal of deviation 1.3. Squares or roots of the distance fan out or in.
SPREAD_PER_TRIAL_ERROR = 1.3
# What the record of small ladders says of a trial (eleven outcomes at 31 times the compute, 1.7 % root mean square),
# and how many trials that counts as. Many: a table's own are three at most, over a factor of two, all of one ladder,
# and over those eleven they told nothing about the error at the target (docs/log.md).
USUAL_RATE, USUAL_TRIALS = 0.009, 9
# A table too short to try itself gets what covers careless published ladders of three budgets.
UNTRIED_RATE = 0.025
SAMPLES = 6000
FAR_SCORE = 4.5
# Trials nearer than the noise of a minimum allows say little about laws: errors below this are not told apart.
SMALLEST_ERROR = 0.003


def member_error(trials: list[Trial], name: str) -> float:
    """Root mean square error of a law over the trials that it took part in; NaN when there were none."""
    errors = [t.errors[name] for t in trials if name in t.errors]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else float("nan")


def weights(
    families: list[str], errors: list[float], expected: list[float], sharpness: float = SHARPNESS
) -> np.ndarray:
    """Weight of each law: every family of laws alike, then by the law's error to the power -sharpness.

    errors: in the table's own trials; a law that could not be tried is taken to be as good as the best of the others.
    expected: from the law's record elsewhere (record.py); the squares of both add up.
    """
    rms = np.array(errors)
    rms = np.where(np.isnan(rms), np.nanmin(rms) if np.isfinite(rms).any() else 0.0, rms)
    share = np.array([1 / families.count(family) for family in families])
    raw = share * (rms**2 + np.square(expected) + SMALLEST_ERROR**2) ** (-sharpness / 2)
    return raw / raw.sum()


def error_rate(trials: list[Trial], names: list[str], weight: np.ndarray) -> float:
    """Error of the combined forecast per decade of extrapolation, as this table's trials show it (log loss)."""
    squares = []
    for trial in trials:
        tried = [(w, trial.errors[n]) for n, w in zip(names, weight, strict=True) if n in trial.errors]
        total = sum(w for w, _ in tried)
        if total > 0:
            # The fit below is taken to be as noisy as what it forecast; the noise is no fault of the law's.
            lawful = max(0.0, sum(w * e * e for w, e in tried) / total - 2 * trial.noise**2)
            squares.append(lawful / trial.decades**2)
    if not squares:
        return UNTRIED_RATE
    return float(np.sqrt((USUAL_TRIALS * USUAL_RATE**2 + sum(squares)) / (USUAL_TRIALS + len(squares))))


@dataclass(frozen=True)
class Reach:
    """How far a forecast may be off, this far out.

    decades: from the largest run to the target. width: learned on published ladders; None for small models, where
    deviation says what the laws' disagreement should have (error rate times decades): where they agree better than that
    by chance, the rest is added. factor: by which closed forecasts have shown the widths to be off.
    """

    decades: float
    width: Width | None = None
    deviation: float = 0.0
    factor: float = 1.0


# Closed forecasts that the shipped width is worth: it takes that many to move the factor half way.
PRIOR_FORECASTS = 20.0


def updated_factor(closed: Sequence[tuple[Forecast, float]]) -> float:
    """By what to multiply the width after these forecasts have met their outcomes.

    closed: all (forecast, outcome) pairs, as the registry has them. The mean square of log(outcome / median) over the
    deviation that the shipped width gave (from the 80 % interval, less the factor that the forecast was made with) is
    pulled towards 1 as by PRIOR_FORECASTS forecasts that went as they should; a surprise counts as nine at most.
    """
    squares = []
    for forecast, outcome in closed:
        q = forecast.quantiles
        deviation = float(np.log(q["0.9"] / q["0.1"])) / (2 * 1.2816) / float(forecast.seen.get("width_factor", 1.0))
        squares.append(min(9.0, (float(np.log(outcome / forecast.median)) / max(deviation, 1e-9)) ** 2))
    return float(np.sqrt((PRIOR_FORECASTS + sum(squares)) / (PRIOR_FORECASTS + len(squares))))


@dataclass(frozen=True)
class Spread:
    """A sample of the target's log loss, and the variance that each source gives it (SOURCES)."""

    log_sample: np.ndarray
    variances: dict[str, float]

    def quantiles(self) -> np.ndarray:
        """Of the loss, at LEVELS."""
        return np.exp(np.quantile(self.log_sample, LEVELS))


# What would make a share smaller.
SHRINK = {
    "seed": "repeat the largest runs with other seeds",
    "minimum": "more sizes around the best one at the largest budgets, or more runs near the largest",
    "form": "a rung three times larger than the largest run",
    "evaluation": "read the rungs on the rows that the outcome will be read on",
    "outcome": "nothing: the target, too, is one seed",
}


def shares(variances: dict[str, float]) -> dict[str, float]:
    """As fractions of their sum."""
    total = sum(variances.values()) or 1.0
    return {name: value / total for name, value in variances.items()}


def spread(
    log_points_M: np.ndarray,
    log_draws_MB: np.ndarray,
    misfit_M: np.ndarray,
    weight_M: np.ndarray,
    reach: Reach,
    seed_share: float,
    evaluation: float,
    outcome: float,
    seed: int,
) -> Spread:
    """Everything that the target's loss may turn out to be.

    log_points_M: each law's point forecast (log loss); log_draws_MB: its bootstrap draws; misfit_M: deviation about the
    law that the law itself expects. seed_share: the seeds' part of the runs' noise. evaluation, outcome: deviations of
    log loss. seed: two calls with the same seed are comonotone: their samples may be added as errors that go together.
    """
    centre = float(weight_M @ log_points_M)
    between, fitting, misfit = expected_variances(log_points_M, log_draws_MB, misfit_M, weight_M)
    variances = {
        "seed": fitting * seed_share,
        "evaluation": evaluation**2,
        "minimum": fitting * (1 - seed_share),
        "form": between + misfit,
        "outcome": outcome**2,
    }
    rng = np.random.default_rng(seed)
    level = rng.permutation((np.arange(SAMPLES) + 0.5) / SAMPLES)
    if reach.width is not None:
        return _of_width(centre, level, variances, reach)
    missing = max(0.0, reach.deviation**2 - between)
    variances["form"] += missing
    order = np.argsort(log_points_M, kind="stable")
    law = order[np.minimum(np.searchsorted(np.cumsum(weight_M[order]), level), len(order) - 1)]
    draw = np.arange(SAMPLES) % log_draws_MB.shape[1]
    own = np.sqrt(missing + misfit_M[law] ** 2 + evaluation**2 + outcome**2)
    noise = log_draws_MB - np.median(log_draws_MB, axis=1, keepdims=True)
    shape = log_points_M[law] - centre + noise[law, draw] + own * rng.standard_normal(SAMPLES)
    return Spread(centre + shape * reach.factor, {n: v * reach.factor**2 for n, v in variances.items()})


def expected_variances(
    log_points_M: np.ndarray, log_draws_MB: np.ndarray, misfit_M: np.ndarray, weight_M: np.ndarray
) -> tuple[float, float, float]:
    """What the fit itself expects, of log loss: between laws, within a law's draws, about a law; see spread()."""
    centre = float(weight_M @ log_points_M)
    # A law's draws are taken about its own point: a bootstrap is trusted for spread, not for level.
    noise = log_draws_MB - np.median(log_draws_MB, axis=1, keepdims=True)
    between = float(weight_M @ (log_points_M - centre) ** 2)
    return between, float(weight_M @ noise.var(axis=1)), float(weight_M @ misfit_M**2)


def _of_width(centre: float, level: np.ndarray, variances: dict[str, float], reach: Reach) -> Spread:
    """A sample about the centre whose width is the learned one; what the parts do not explain of it is form."""
    assert reach.width is not None
    own = sum(v for name, v in variances.items() if name not in ("evaluation", "outcome"))
    scale = reach.factor * reach.width.scale(reach.decades, float(np.sqrt(own)))
    grown = float(np.hypot(scale, np.sqrt(variances["evaluation"])))
    sample = centre + grown * _quantiles(reach.width, level)
    known = {name: v * min(1.0, scale**2 / max(own, 1e-300)) for name, v in variances.items() if name != "evaluation"}
    known["form"] += max(0.0, scale**2 - sum(known.values()))
    return Spread(sample, {name: known.get(name, variances["evaluation"]) for name in variances})


def _quantiles(width: Width, level: np.ndarray) -> np.ndarray:
    """The learned distribution of error over scale at these levels: symmetric, between the learned shares as a normal
    stretched to pass through them."""
    shares = sorted(width.factors)
    score_of, normal, grid = _normal()
    scores = [score_of(0.5 + share / 2) for share in shares]
    factors = [width.factors[share] for share in shares]
    knots = np.array([0.0, *scores, FAR_SCORE])
    heights = np.array([0.0, *factors, factors[-1] * FAR_SCORE / scores[-1]])  # beyond, the tail goes on as a normal's
    score = np.interp(np.abs(level - 0.5) + 0.5, normal, grid)
    return np.asarray(np.sign(level - 0.5) * np.interp(score, knots, heights))


@lru_cache(maxsize=1)
def _normal() -> tuple[Callable[[float], float], np.ndarray, np.ndarray]:
    """The normal's quantile function, and its distribution function over a grid of scores."""
    from statistics import NormalDist

    grid = np.linspace(0.0, FAR_SCORE, 451)
    return NormalDist().inv_cdf, np.array([NormalDist().cdf(z) for z in grid]), grid
