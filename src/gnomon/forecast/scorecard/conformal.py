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
# Quantiles of |log(outcome/forecast)| of chinchilla_prior on the coverage protocol at 10, 100 and 1000 times.
RECORD_LEVELS = (0.5, 0.8, 0.9)
RECORD: dict[int, tuple[float, float, float]] = {}
RECORD_SOURCES: tuple[str, ...] = ()


def with_intervals(rows: Sequence[Row], ratio: int) -> list[Row]:
    """The same rows with quantiles at LEVELS about the median, from the errors on the other sources."""
    answered = [r for r in rows if r.answered]
    widths = {source: _widths([r for r in answered if r.source != source], ratio) for source in by(answered, "source")}
    return [_widened(r, widths[r.source]) if r.answered else r for r in rows]


def _widened(row: Row, width: np.ndarray | None) -> Row:
    if width is None:
        return row
    return replace(row, quantiles=tuple(float(q) for q in row.median * np.exp(width)))


def _widths(others: Sequence[Row], ratio: int) -> np.ndarray | None:
    """Offsets of log loss at LEVELS; None when nothing is known at this ratio."""
    inner = np.array([abs(2 * level - 1) for level in LEVELS])
    sign = np.sign(np.array(LEVELS) - 0.5)
    if len(by(others, "source")) >= FEWEST_SOURCES:
        error = np.abs([np.log(r.outcome / r.median) for r in others])
        count = {name: len(g) for name, g in by(others, "family").items()}
        weight = np.array([1 / count[r.family] for r in others])
        return sign * weighted_quantile(error, weight, inner)
    if ratio not in RECORD:
        return None
    return sign * np.interp(inner, (0.0, *RECORD_LEVELS), (0.0, *RECORD[ratio]))


def weighted_quantile(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The smallest value below which at least the level's share of the weight lies."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    at = np.minimum(np.searchsorted(share, levels - 1e-12), len(values) - 1)
    return np.where(levels > 0, values[order][at], 0.0)
