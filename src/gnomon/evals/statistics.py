"""How sure a score is: clustered errors, Wilson intervals, paired differences, bootstraps, what could be detected.

Items that share a passage, a template or a translation stand or fall together; their cluster is the unit that varies
(arXiv:2411.00640). A rate's interval is Wilson's (1927) with the sample size that the clusters leave of it, so it stays
inside [0, 1] and is right at 3 of 40 as well as at 300 of 4,000. Two models are compared item by item.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnomon.common.errors import GnomonError

LEVEL = 0.95
FEWEST = 2  # clusters without which nothing is known of how they vary


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval. error: standard error. n: items. clusters: independent groups among them.

    low, high: bounds at `level`; nan when one cluster alone was seen and nothing can be said.
    """

    value: float
    low: float
    high: float
    error: float
    n: int
    clusters: int
    level: float = LEVEL

    def text(self, percent: bool = True) -> str:
        """value [low, high], for people."""
        scale, unit = (100.0, " %") if percent else (1.0, "")
        return f"{self.value * scale:.1f}{unit} [{self.low * scale:.1f}, {self.high * scale:.1f}]"


@dataclass(frozen=True)
class Comparison:
    """B minus A over the same items. p: two-sided. detectable: the smallest true difference found 4 times in 5."""

    difference: Estimate
    p: float
    detectable: float
    both_right: int
    only_a: int
    only_b: int
    both_wrong: int


def _numbers(values: ArrayLike, what: str) -> NDArray[np.float64]:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != 1 or not len(out):
        raise GnomonError(f"{what}: {out.shape} values; a list of at least one number is needed")
    if not np.isfinite(out).all():
        raise GnomonError(f"{what}: value {int(np.flatnonzero(~np.isfinite(out))[0])} is not a number")
    return out


def cluster_index(clusters: Sequence[str] | None, n: int) -> NDArray[np.int64]:
    """Which group each of n items belongs to, [n] from 0; every item is its own when clusters is None.

    Raises GnomonError when their numbers differ or a name is empty: an item without its cluster would count as one more
    independent witness.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise GnomonError(f"clusters: {len(clusters)} names for {n} items; one an item")
    if any(not name for name in clusters):
        raise GnomonError(f"clusters: item {list(clusters).index('')} has none; give every item one, or none to all")
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _squared_error(values: NDArray[np.float64], index: NDArray[np.int64]) -> float:
    """Squared standard error of the mean when whole clusters vary (CR1). nan for one cluster."""
    groups = int(index.max()) + 1
    if groups < FEWEST:
        return math.nan
    sums = np.bincount(index, values - values.mean(), minlength=groups)
    return groups / (groups - 1) * float(sums @ sums) / len(values) ** 2


@functools.cache
def _quantile(level: float, clusters: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, max(1, clusters - 1)))


def mean(values: ArrayLike, clusters: Sequence[str] | None = None, level: float = LEVEL) -> Estimate:
    """Mean of any numbers [n], Student's interval over clusters. Raises GnomonError for empty or non-finite values."""
    x = _numbers(values, "mean")
    index = cluster_index(clusters, len(x))
    groups = int(index.max()) + 1
    error = math.sqrt(_squared_error(x, index)) if groups >= FEWEST else math.nan
    half = _quantile(level, groups) * error
    value = float(x.mean())
    return Estimate(value, value - half, value + half, error, len(x), groups, level)


def rate(correct: ArrayLike, clusters: Sequence[str] | None = None, level: float = LEVEL) -> Estimate:
    """Share of right answers among [n] zeros and ones, with Wilson's interval.

    With clusters, n in Wilson's formula is what they leave of it: p(1-p) over the clustered squared error, never more
    than n, and Student's quantile takes the place of the normal one. All right or all wrong: the clusters are the n.
    """
    x = _numbers(correct, "rate")
    if not np.isin(x, (0.0, 1.0)).all():
        raise GnomonError("rate: values other than 0 and 1; take mean() for scores between them")
    index = cluster_index(clusters, len(x))
    groups, p = int(index.max()) + 1, float(x.mean())
    if groups < FEWEST:
        return Estimate(p, math.nan, math.nan, math.nan, len(x), groups, level)
    squared = _squared_error(x, index)
    clustered = groups < len(x)
    n = min(float(len(x)), p * (1 - p) / squared) if squared > 0 else float(groups)
    low, high = wilson(p, n, _quantile(level, groups) if clustered else _normal(level))
    return Estimate(p, low, high, math.sqrt(squared), len(x), groups, level)


@functools.cache
def _normal(level: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(0.5 + level / 2))


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a rate p seen in n trials; z: quantile of the level."""
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def macro(
    values: ArrayLike, strata: Sequence[str], clusters: Sequence[str] | None = None, level: float = LEVEL
) -> Estimate:
    """Mean of the strata's means (MMLU: subjects count alike). The strata are fixed; items inside them vary.

    Raises GnomonError when a stratum has a single cluster: its error would be unknown.
    """
    x, index = _numbers(values, "macro"), cluster_index(strata, len(values))  # type: ignore[arg-type]
    names = None if clusters is None else np.asarray(clusters)
    parts = []
    for g in range(int(index.max()) + 1):
        inside = index == g
        part = mean(x[inside], None if names is None else names[inside].tolist(), level)
        if part.clusters < FEWEST:
            name = np.asarray(strata)[inside][0]
            raise GnomonError(f"macro: {name} has a single cluster; at least {FEWEST} in each stratum")
        parts.append(part)
    value = float(np.mean([part.value for part in parts]))
    error = math.sqrt(sum(part.error**2 for part in parts)) / len(parts)
    groups = sum(part.clusters for part in parts)
    half = _quantile(level, groups - len(parts) + 1) * error
    return Estimate(value, value - half, value + half, error, len(x), groups, level)


def compare(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[str] | None = None, level: float = LEVEL, power: float = 0.8
) -> Comparison:
    """B against A on the same items, in the same order; scores [n] each.

    The difference of each item is what varies, so what both find hard does not blur the comparison. p is Student's;
    detectable: the true difference that would be found with probability `power`.
    """
    from scipy.stats import norm, t

    x, y = _numbers(a, "compare"), _numbers(b, "compare")
    if len(x) != len(y):
        raise GnomonError(f"compare: {len(x)} and {len(y)} items; a paired comparison needs the same items in both")
    difference = mean(y - x, clusters, level)
    if difference.error > 0:
        p = 2 * float(t.sf(abs(difference.value) / difference.error, difference.clusters - 1))
    else:
        p = 1.0 if difference.value == 0 else math.nan
    detectable = (_quantile(level, difference.clusters) + float(norm.ppf(power))) * difference.error
    right_x, right_y = x > 0.5, y > 0.5
    return Comparison(
        difference, p, detectable, int((right_x & right_y).sum()), int((right_x & ~right_y).sum()),
        int((~right_x & right_y).sum()), int((~right_x & ~right_y).sum()),
    )  # fmt: skip


def items_for(difference: float, spread: float, level: float = LEVEL, power: float = 0.8) -> int:
    """Items needed to find a true difference, given the standard deviation `spread` of an item's difference."""
    if difference <= 0 or spread < 0:
        raise GnomonError(f"items_for: difference {difference}, spread {spread}; the first is positive")
    from scipy.stats import norm

    return max(FEWEST, math.ceil(((_normal(level) + float(norm.ppf(power))) * spread / difference) ** 2))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    clusters: Sequence[str] | None = None,
    level: float = LEVEL,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile interval of any statistic of item indices [m], whole clusters drawn with replacement.

    statistic: called with the indices of a resample. For what is no mean: calibration error, a median, a ratio.
    """
    index = cluster_index(clusters, n)
    groups = int(index.max()) + 1
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(seed)
    seen = np.array([
        statistic(np.concatenate([members[g] for g in rng.integers(0, groups, groups)])) for _ in range(draws)
    ])  # fmt: skip
    low, high = np.quantile(seen, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(float(statistic(np.arange(n))), float(low), float(high), float(seen.std(ddof=1)), n, groups, level)
