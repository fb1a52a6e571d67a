"""A or B: which of two recipes or corpora is better at a compute that neither has been run at.

The two ladders share what makes single runs scatter (the same sizes, lengths, seeds, rates), so the log ratio of their
losses is modelled directly, from pairs of runs: a level, and a trend that is small unless the pairs insist, and that
dies out as reducible loss does (C^-0.15). Two full forecasts would each bring errors that the pair cancels. Where both
tables are isoFLOP sweeps the pairs are the minima of equal budgets; where no runs can be paired, two forecasts are
subtracted.

n pairs, p constants of the trend.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.advice.basin import Basin, basin_of
from gnomon.forecast.combine import fit
from gnomon.forecast.runs import Runs, admissible
from gnomon.forecast.table import RunTable

# Runs whose size and tokens differ by no more than this (sum of log distances) are a pair.
SAME = 0.06
# Trend: prior deviation of the log ratio's slope per unit of log size, tokens or compute at the top of the pairs, the
# rate at which it dies out (arXiv:2203.15556: reducible loss falls as C^-0.155), and how far down pairs still count.
SLOPE_DEVIATION, FADE, MEMORY = 0.0015, 0.15, np.log(10)
LEVEL_DEVIATION = 0.3
# No pair is known better than this. Per decade beyond the pairs the ratio may move by so much unseen by any trend, and
# by this share of itself: what makes 90 % intervals hold 85, 86 and 91 % of the gaps at 10, 30 and 100 times
# (benchmarks/score_compare.py; four sources, round numbers chosen on all of them together).
SMALLEST_NOISE, DRIFT_PER_DECADE, DRIFT_SHARE = 0.005, 0.01, 0.3
DRAWS = 4000
UNPAIRED_DRAWS = 100  # refits behind each of two forecasts that are subtracted
FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Comparison:
    """A against B at a compute. gap_pct: how much lower A's loss is than B's, in percent (negative: B is lower), with
    the ends of its 90 % interval; p_a_better; crossover: {median, low, high: compute (80 % interval), probability: that
    the order changes between the largest pair and 10,000 times that}, or None where it is unlikely; regret_pct: loss
    to be expected from trusting the better one now and being wrong; largest_pair_gap_pct: what the largest pair says.
    """

    compute: float
    better: str
    p_a_better: float
    gap_pct: float
    gap_low_pct: float
    gap_high_pct: float
    crossover: dict[str, float] | None
    regret_pct: float
    largest_pair_gap_pct: float
    pairs: int
    how: str
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Pairs:
    """x [n, p]: logs of what the trend runs along; log_ratio [n]: log(loss A / loss B); compute [n]; how: in words."""

    x: np.ndarray
    log_ratio: np.ndarray
    compute: np.ndarray
    how: str

    def __len__(self) -> int:
        return len(self.log_ratio)

    def select(self, keep: np.ndarray) -> Pairs:
        return Pairs(self.x[keep], self.log_ratio[keep], self.compute[keep], self.how)


@dataclass(frozen=True)
class Trend:
    """The log ratio's law: normal constants (level, then slopes) about the largest pair; noise: of one pair."""

    reference: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the expected log ratio at x [m, p], without drift."""
        columns = self.columns(x)
        return columns @ self.mean, np.einsum("mi,ij,mj->m", columns, self.covariance, columns)

    def columns(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones((len(x), 1)), -np.expm1(-FADE * (x - self.reference)) / FADE], axis=1)


def compare(
    table_a: RunTable,
    table_b: RunTable,
    at_compute: float,
    metric: str = "bits_per_byte_codebase",
    parameters: float | None = None,
    seed: int = 0,
) -> Comparison:
    """Which of two ladders reaches the lower loss at this compute.

    parameters: of the run in question, for ladders that are paired run by run; the size in the middle of what such a
    compute was given in the tables, when None. Raises GnomonError when the metric is missing in one, the compute is not
    positive, or too few runs can be paired and one table alone carries no law.
    """
    if not (np.isfinite(at_compute) and at_compute > 0):
        raise GnomonError(f"compute is {at_compute!r}; a positive number of FLOPs is expected")
    runs_a, runs_b = admissible(table_a, metric), admissible(table_b, metric)
    pairs = pairs_of(runs_a, runs_b)
    if len(pairs) < FEWEST_PAIRS:
        return _unpaired(table_a, table_b, at_compute, metric, seed)
    return compared(pairs, at_compute, _position(pairs, runs_a, at_compute, parameters), seed)


def compared(pairs: Pairs, at_compute: float, x: np.ndarray, seed: int = 0) -> Comparison:
    """The comparison that these pairs support, at x [p]."""
    trend = trend_of(pairs)
    top = float(pairs.compute.max())
    decades = max(0.0, float(np.log10(at_compute / top)))
    mean, variance = (float(v[0]) for v in trend.at(x[None]))
    drift = np.hypot(DRIFT_PER_DECADE, DRIFT_SHARE * mean) * decades
    deviation = float(np.sqrt(variance + drift**2 + trend.noise**2))  # the outcome, too, is one pair of runs
    sample = mean + deviation * _normal(DRAWS, seed)
    largest = float(pairs.log_ratio[pairs.compute.argmax()])
    warnings = []
    if decades == 0:
        warnings.append("the compute lies inside the pairs: this is a reading, no forecast")
    if decades > 2.5:
        warnings.append(f"{10**decades:.3g} times the largest pair: orders have been tested up to 100 times")
    return _comparison(
        at_compute, sample, crossover_of(pairs, trend, seed), largest, len(pairs), pairs.how, tuple(warnings)
    )


def trend_of(pairs: Pairs) -> Trend:
    """Bayesian regression of the log ratio; near the top counts more, and the noise is what the pairs show."""
    log_compute = np.log(pairs.compute)
    weight = np.exp(-(log_compute.max() - log_compute) / MEMORY)
    start = Trend(pairs.x[log_compute.argmax()], np.zeros(0), np.zeros((0, 0)), 0.0)
    columns = start.columns(pairs.x)
    n, p = columns.shape
    gram, right = columns.T @ (weight[:, None] * columns), columns.T @ (weight * pairs.log_ratio)
    free = np.linalg.solve(gram + 1e-7 * np.eye(p), right)
    residual = (weight * (pairs.log_ratio - columns @ free) ** 2).sum()
    noise = max(residual / max(1.0, weight.sum() * (1 - p / n)), SMALLEST_NOISE**2)
    prior = np.diag(np.array([LEVEL_DEVIATION] + [SLOPE_DEVIATION] * (p - 1)) ** -2.0)
    covariance = np.linalg.inv(gram / noise + prior)
    return Trend(start.reference, covariance @ right / noise, covariance, float(np.sqrt(noise)))


def crossover_of(pairs: Pairs, trend: Trend, seed: int) -> dict[str, float] | None:
    """Where beyond the largest pair the order changes, from draws of the trend and of its drift; None if in fewer than
    one draw in ten."""
    decades = np.linspace(0.0, 4.0, 81)
    step = decades * np.log(10)
    share = np.full(pairs.x.shape[1], 1.0 / pairs.x.shape[1])  # compute grows through size and tokens alike
    rng = np.random.default_rng(seed + 1)
    constants = rng.multivariate_normal(trend.mean, trend.covariance, size=DRAWS, method="eigh")
    path = constants @ trend.columns(trend.reference + step[:, None] * share).T
    drift = rng.standard_normal((2, DRAWS, 1)) * decades
    path = path * (1 + DRIFT_SHARE * drift[0]) + DRIFT_PER_DECADE * drift[1]
    now = np.sign(trend.mean[0])
    crossed = np.sign(path) == -now
    any_crossed = crossed.any(axis=1)
    probability = float(any_crossed.mean())
    if probability < 0.1:
        return None
    at = pairs.compute.max() * 10 ** decades[crossed[any_crossed].argmax(axis=1)]
    low, median, high = (float(q) for q in np.quantile(at, [0.1, 0.5, 0.9]))
    return {"median": median, "low": low, "high": high, "probability": probability}


def pairs_of(a: Runs, b: Runs) -> Pairs:
    """Minima of equal budgets where both tables are isoFLOP sweeps with three of them; else runs of equal size and
    tokens, seeds averaged."""
    basin_a, basin_b = basin_of(a), basin_of(b)
    if basin_a is not None and basin_b is not None:
        minima = _pairs_of_minima(basin_a, basin_b)
        if len(minima) >= FEWEST_PAIRS:
            return minima
    return _pairs_of_runs(a, b)


def _pairs_of_minima(a: Basin, b: Basin) -> Pairs:
    distance = np.abs(np.log(a.compute[:, None] / b.compute[None]))
    i, j = np.nonzero((distance == distance.min(1, keepdims=True)) & (distance < 0.1))
    compute = np.sqrt(a.compute[i] * b.compute[j])
    return Pairs(np.log(compute)[:, None], a.log_loss[i] - b.log_loss[j], compute, "minima of equal budgets")


def _pairs_of_runs(a: Runs, b: Runs) -> Pairs:
    (size_a, tokens_a, loss_a, compute), (size_b, tokens_b, loss_b, _) = _settings(a), _settings(b)
    distance = np.abs(size_a[:, None] - size_b) + np.abs(tokens_a[:, None] - tokens_b)
    i = np.flatnonzero(distance.min(1, initial=np.inf) < SAME)
    j = distance[i].argmin(1) if len(i) else i
    _, first = np.unique(j, return_index=True)  # each run of B is paired once
    i, j = i[first], j[first]
    x = np.stack([size_a[i], tokens_a[i]], axis=1)
    return Pairs(x, loss_a[i] - loss_b[j], compute[i], "runs of equal size and tokens")


def _settings(runs: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Log size, log tokens, mean log loss and compute of each (size, tokens)."""
    if not len(runs):
        return (np.zeros(0),) * 4
    keys = np.round(np.log(np.stack([runs.size, runs.tokens], axis=1)), 4)
    cells, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    count = np.bincount(which)
    loss = np.bincount(which, np.log(runs.loss)) / count
    return cells[:, 0], cells[:, 1], loss, np.bincount(which, runs.compute) / count


def _position(pairs: Pairs, runs: Runs, compute: float, parameters: float | None) -> np.ndarray:
    """x of the run in question [p]."""
    if pairs.x.shape[1] == 1:
        return np.array([np.log(compute)])
    cost = float(np.exp(np.log(runs.compute / runs.size / runs.tokens).mean()))
    if parameters is None:
        ratio = float(np.median(pairs.x[:, 1] - pairs.x[:, 0]))
        size = 0.5 * (np.log(compute / cost) - ratio)
    else:
        size = float(np.log(parameters))
    return np.array([size, np.log(compute / cost) - size])


def _unpaired(table_a: RunTable, table_b: RunTable, compute: float, metric: str, seed: int) -> Comparison:
    """Two forecasts, subtracted as if their errors were their own."""
    samples: list[np.ndarray] = []
    best: list[float] = []
    for name, table in (("A", table_a), ("B", table_b)):
        try:
            fitted = fit(table, metric, draws=UNPAIRED_DRAWS)
            sample = fitted.spread(fitted.target(compute)).log_sample
        except GnomonError as error:
            message = f"compare: no runs can be paired, and table {name} alone says too little: {error}"
            raise GnomonError(message) from None
        samples.append(np.random.default_rng(seed + len(samples)).choice(sample, DRAWS))
        best.append(float(np.log(fitted.last_point)))
    difference = samples[0] - samples[1]
    warning = f"fewer than {FEWEST_PAIRS} runs of equal size and tokens: two forecasts are subtracted, errors and all"
    return _comparison(compute, difference, None, best[0] - best[1], 0, "two forecasts", (warning,))


def _comparison(
    compute: float,
    sample: np.ndarray,
    crossover: dict[str, float] | None,
    largest: float,
    pairs: int,
    how: str,
    warnings: tuple[str, ...],
) -> Comparison:
    """From a sample of log(loss A / loss B)."""
    chance = float((sample < 0).mean())
    wrong = np.maximum(sample, 0) if chance >= 0.5 else np.maximum(-sample, 0)
    low, median, high = (100 * -float(np.expm1(q)) for q in np.quantile(sample, [0.95, 0.5, 0.05]))
    return Comparison(
        compute=compute,
        better="A" if chance >= 0.5 else "B",
        p_a_better=chance,
        gap_pct=median,
        gap_low_pct=low,
        gap_high_pct=high,
        crossover=crossover,
        regret_pct=100 * float(wrong.mean()),
        largest_pair_gap_pct=-100 * float(np.expm1(largest)),
        pairs=pairs,
        how=how,
        warnings=list(warnings),
    )


def _normal(count: int, seed: int) -> np.ndarray:
    """Quantiles of a standard normal, in an order of the seed's."""
    from scipy.special import ndtri

    return ndtri(np.random.default_rng(seed).permutation((np.arange(count) + 0.5) / count))


def comparison_lines(result: Comparison, metric: str) -> list[str]:
    """For people: the decision first."""
    chance = max(result.p_a_better, 1 - result.p_a_better)
    lines = [
        f"{result.better} is better at {result.compute:.3g} FLOPs with probability {chance:.2f} ({metric})",
        f"A's loss is {abs(result.gap_pct):.2f} % {'below' if result.gap_pct > 0 else 'above'} B's (90 %: between "
        f"{result.gap_low_pct:+.2f} and {result.gap_high_pct:+.2f} % below), from {result.pairs} pairs: {result.how}",
        f"the largest pair alone says {result.largest_pair_gap_pct:+.2f} % below",
    ]
    if result.crossover is not None:
        c = result.crossover
        lines.append(
            f"the order changes at {c['median']:.2g} FLOPs (80 % {c['low']:.2g} to {c['high']:.2g}) "
            f"with probability {c['probability']:.2f}"
        )
    lines.append(f"choosing {result.better} now costs {result.regret_pct:.3f} % of loss on average through being wrong")
    return lines + result.warnings
