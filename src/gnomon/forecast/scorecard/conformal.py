"""Intervals from errors elsewhere: as wide as the misses on the other sources at the same distance were.

Split conformal with the source as the unit (leave one out): the targets of one paper never widen or narrow their own
interval. Every family counts alike. Where fewer than three other sources are at hand, nothing is learned here and the
record of the published families that the scorecard was made with stands in (RECORD).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gnomon.forecast.scorecard.scores import Row, by
from gnomon.forecast.values import LEVELS

FEWEST_SOURCES = 3
# Quantiles of |log(outcome/forecast)| of chinchilla_prior on the developer families: the coverage protocol at 10 and
# 100 times, rolling origin at 1000 (8 targets); every family alike. From `gnomon forecast scorecard`, 2026-11-22.
RECORD_LEVELS = (0.5, 0.8, 0.9)
RECORD: dict[int, tuple[float, float, float]] = {
    10: (0.0185, 0.0451, 0.0557),
    100: (0.0372, 0.0641, 0.2633),
    1000: (0.0894, 0.1040, 0.1937),
}
RECORD_SOURCES = ("chinchilla", "gadre", "gemstone", "marin", "misfitting", "opt", "porian")


def with_intervals(rows: Sequence[Row], ratio: int) -> list[Row]:
    """The same rows with quantiles at LEVELS about the median, from the errors on the other sources."""
    answered = [r for r in rows if r.answered]
    sources = by(answered, "source")
    widths = {name: _widths([r for r in answered if r.source != name], ratio, name) for name in sources}
    return [_widened(r, widths[r.source]) if r.answered else r for r in rows]


def _widened(row: Row, width: np.ndarray | None) -> Row:
    if width is None:
        return row
    return replace(row, quantiles=tuple(float(q) for q in row.median * np.exp(width)))


def _widths(others: Sequence[Row], ratio: int, source: str) -> np.ndarray | None:
    """Offsets of log loss at LEVELS for this source; None when nothing is known at this ratio but its own errors."""
    inner = np.array([abs(2 * level - 1) for level in LEVELS])
    sign = np.sign(np.array(LEVELS) - 0.5)
    if len(by(others, "source")) >= FEWEST_SOURCES:
        error = np.abs([np.log(r.outcome / r.median) for r in others])
        count = {name: len(g) for name, g in by(others, "family").items()}
        weight = np.array([1 / count[r.family] for r in others])
        return sign * weighted_quantile(error, weight, inner)
    if ratio not in RECORD or source in RECORD_SOURCES:
        return None
    return sign * np.interp(inner, (0.0, *RECORD_LEVELS), (0.0, *RECORD[ratio]))


def weighted_quantile(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The smallest value below which at least the level's share of the weight lies."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    at = np.minimum(np.searchsorted(share, levels - 1e-12), len(values) - 1)
    return np.where(levels > 0, values[order][at], 0.0)
