"""From forecasts and outcomes to figures: errors by family and source, CRPS, Winkler score, coverage and its test.

Errors are in percent of the outcome. A family median keeps big families from deciding; a source average keeps papers
with many families from doing so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.forecast import scoring
from gnomon.forecast.values import LEVELS


@dataclass(frozen=True)
class Row:
    """One target that a method was asked about. median is NaN where it gave no answer; quantiles at LEVELS, None for a
    point forecast; clean: the family is a clean isoFLOP sweep."""

    family: str
    source: str
    outcome: float
    median: float
    quantiles: tuple[float, ...] | None
    flagged: bool
    clean: bool = False

    @property
    def answered(self) -> bool:
        return math.isfinite(self.median)

    @property
    def error(self) -> float:
        """Percent of the outcome."""
        return 100 * abs(self.median / self.outcome - 1)

    def crps(self) -> float:
        """Percent of the outcome; a point forecast's is its error."""
        if self.quantiles is None:
            return self.error
        named = {str(level): q for level, q in zip(LEVELS, self.quantiles, strict=True)}
        if self.quantiles[-1] - self.quantiles[0] < 1e-12 * self.outcome:
            return self.error
        return 100 * scoring.crps(named, self.outcome) / self.outcome

    def interval(self, nominal: float) -> tuple[float, float]:
        """Ends of the central interval of 80 or 90 percent."""
        assert self.quantiles is not None
        tail = (1 - nominal / 100) / 2
        low, high = (min(range(len(LEVELS)), key=lambda i: abs(LEVELS[i] - p)) for p in (tail, 1 - tail))
        return self.quantiles[low], self.quantiles[high]


def by(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    """Rows by "family" or "source", in order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, name), []).append(row)
    return groups


def errors(rows: Sequence[Row]) -> dict[str, Any]:
    """family_median_ape: median over families of each family's median; pooled_*: over all targets; source_p90_ape: the
    90th percentile of each source's targets, averaged over sources. Percent; None where nothing was answered."""
    answered = [r for r in rows if r.answered]
    if not answered:
        return {
            "family_median_ape": None,
            "pooled_median_ape": None,
            "pooled_p90_ape": None,
            "source_p90_ape": None,
            "crps": None,
            "targets": 0,
            "families": 0,
            "sources": 0,
        }
    families, sources = by(answered, "family"), by(answered, "source")
    pooled = [r.error for r in answered]
    return {
        "family_median_ape": float(np.median([np.median([r.error for r in g]) for g in families.values()])),
        "pooled_median_ape": float(np.median(pooled)),
        "pooled_p90_ape": float(np.quantile(pooled, 0.9)),
        "source_p90_ape": float(np.mean([np.quantile([r.error for r in g], 0.9) for g in sources.values()])),
        "crps": float(np.mean([np.mean([r.crps() for r in g]) for g in families.values()])),
        "targets": len(answered),
        "families": len(families),
        "sources": len(sources),
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """errors() of all targets; of those that the method did not flag; the share it flagged; how many of the targets it
    gave no number for."""
    kept = [r for r in rows if not r.flagged]
    answered = [r for r in rows if r.answered]
    flagged = sum(r.flagged for r in answered) / len(answered) if answered else 0.0
    return errors(rows) | {
        "flagged_share": flagged,
        "unanswered": len(rows) - len(answered),
        "unflagged": errors(kept) if flagged else None,
        "by_family": {
            name: {"source": g[0].source, "median_ape": _median_error(g), "targets": len(g)}
            for name, g in by(rows, "family").items()
        },
    }


def _median_error(rows: Sequence[Row]) -> float | None:
    known = [r.error for r in rows if r.answered]
    return float(np.median(known)) if known else None


def coverage(rows: Sequence[Row]) -> dict[str, Any] | None:
    """How intervals held: share of outcomes inside the 80 and 90 % intervals, each family alike; half width and Winkler
    score of the 80 % one, percent of the outcome, mean over families of the family's median and mean; and the test of
    each level. None for point forecasts."""
    rows = [r for r in rows if r.answered and r.quantiles is not None]
    if not rows:
        return None
    families = by(rows, "family")
    result: dict[str, Any] = {}
    for nominal in (80, 90):
        inside = {
            name: [r.interval(nominal)[0] <= r.outcome <= r.interval(nominal)[1] for r in g]
            for name, g in families.items()
        }
        result[str(nominal)] = float(np.mean([np.mean(hits) for hits in inside.values()]))
        result[f"test_{nominal}"] = clustered_test(
            [float(np.mean(hits)) - nominal / 100 for hits in inside.values()], [g[0].source for g in families.values()]
        )
        half = [np.median([_half_width(r, nominal) for r in g]) for g in families.values()]
        result[f"half_width_{nominal}"] = float(np.mean(half))
        score = [np.mean([_winkler(r, nominal) for r in g]) for g in families.values()]
        result[f"winkler_{nominal}"] = float(np.mean(score))
    result["crps"] = errors(rows)["crps"]
    return result | {"targets": len(rows), "families": len(families), "sources": len(by(rows, "source"))}


def _half_width(row: Row, nominal: float) -> float:
    low, high = row.interval(nominal)
    return 50 * (high - low) / row.outcome


def _winkler(row: Row, nominal: float) -> float:
    low, high = row.interval(nominal)
    return 100 * scoring.winkler(low, high, row.outcome, 1 - nominal / 100) / row.outcome


def clustered_test(excess: Sequence[float], sources: Sequence[str]) -> dict[str, Any]:
    """Is coverage its nominal value? excess: each family's coverage minus nominal; sources: the paper of each.

    Families of one paper miss together, so their excesses are summed and the sums of S sources are tested against zero
    with a t of S - 1 degrees. p is two-sided; None with fewer than three sources. rejected: p < 0.05.
    """
    from scipy.stats import t as student

    names = sorted(set(sources))
    sums = np.array([sum(e for e, s in zip(excess, sources, strict=True) if s == name) for name in names])
    count = len(names)
    if count < 3:
        return {"p": None, "rejected": None, "sources": count}
    spread = float(sums.std(ddof=1) * math.sqrt(count))
    total = float(sums.sum())
    exact = 1.0 if total == 0.0 else 0.0  # all sums equal: there is no spread to test against
    p = float(2 * student.sf(abs(total) / spread, count - 1)) if spread > 0 else exact
    return {"p": p, "rejected": p < 0.05, "sources": count}
