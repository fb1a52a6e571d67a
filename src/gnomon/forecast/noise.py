"""Where a run's loss would land if it were run again.

Three noises are kept apart. Seed noise: runs that differ by their seeds alone, pooled over settings, in log loss.
Minimum-finding noise: what scatters about the isoFLOP parabola beyond the seeds (rates that fit one size better than
another, rounded batches, the parabola itself); see isoflop.py. Evaluation noise: all runs are read on the same rows, so
an easy or hard draw of rows moves every run alike and cancels from a forecast for those rows; it enters only where the
outcome is read on other rows than the rungs (the whole held-out set instead of a subset; see subset.py), or as the
outcome_stderr that predict() is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast.runs import Runs

# Seed noise of small runs when no seed is repeated; reruns of published ladders differ by 0.015 to 0.03 %, tiny ones
# by more.
UNKNOWN_SEED_NOISE = 0.003


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of log loss over seeds: deviation * (compute/reference)^slope, within a factor of two.

    degrees: degrees of freedom behind it; 0 where no seed is repeated and the deviation is only an assumption.
    """

    deviation: float
    slope: float
    reference: float
    degrees: int

    def at(self, compute: float | np.ndarray) -> np.ndarray:
        return self.deviation * np.clip((np.asarray(compute) / self.reference) ** self.slope, 0.5, 2.0)


def seed_noise(runs: Runs) -> SeedNoise:
    """Pooled over the settings that were run with several seeds.

    The trend with compute is a regression of log variances (their own sampling variance is that of a log chi-square),
    pulled to zero by a prior of deviation 0.2 on the slope, since three seeds tell little.
    """
    variances, degrees, computes = [], [], []
    for setting in np.unique(runs.setting):
        log_loss = np.log(runs.loss[runs.setting == setting])
        if len(log_loss) > 1:
            variances.append(log_loss.var(ddof=1))
            degrees.append(len(log_loss) - 1)
            computes.append(np.log(runs.compute[runs.setting == setting][0]))
    if not degrees:
        reference = float(np.exp(np.log(runs.compute).mean())) if len(runs) else 1.0
        return SeedNoise(UNKNOWN_SEED_NOISE, 0.0, reference, 0)
    s2, nu, x = np.array(variances), np.array(degrees, dtype=float), np.array(computes)
    pooled = float((nu * s2).sum() / nu.sum())
    centre = float((nu * x).sum() / nu.sum())
    slope = _variance_slope(s2, nu, x - centre) / 2 if pooled > 0 else 0.0
    return SeedNoise(max(float(np.sqrt(pooled)), 1e-6), slope, float(np.exp(centre)), int(nu.sum()))


def _variance_slope(s2: np.ndarray, nu: np.ndarray, x: np.ndarray, prior_deviation: float = 0.4) -> float:
    """d ln(variance) / d ln(compute)."""
    from scipy.special import digamma, polygamma

    log_variance = np.log(np.maximum(s2, 1e-300)) - digamma(nu / 2) + np.log(nu / 2)
    weight = 1 / polygamma(1, nu / 2)
    level = (weight * log_variance).sum() / weight.sum()
    return float((weight * x * (log_variance - level)).sum() / ((weight * x**2).sum() + prior_deviation**-2))
