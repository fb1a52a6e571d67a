"""Does a model that says 70 % get 70 % right? Calibration error, Brier score, reliability bins, one temperature.

Per choice, as Figure 8 of arXiv:2303.08774 has it: the probability of each of A, B, C, D is a claim of its own, four
points a question. Top label (arXiv:1706.04599): only the answer given counts. Each with bins of equal width or of equal
count (adaptive). The temperature is refitted on other items than those it is judged on.

I items, K choices of an item (ragged lists are allowed), M claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError

Bins = Literal["equal", "adaptive"]
BINS = 10
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Bin:
    """Claims between low and high: how many, what they said on average, how often they were right."""

    low: float
    high: float
    count: int
    claimed: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """ece: mean gap between claim and outcome, weighted by the claims in each bin. worst: the largest gap of a bin."""

    bins: tuple[Bin, ...]
    ece: float
    worst: float
    claims: int


def probabilities(log_probabilities: Sequence[float], temperature: float = 1.0) -> NDArray[np.float64]:
    """[K] choice log-probabilities in nats -> [K] shares among the choices, at a temperature."""
    scores = np.asarray(log_probabilities, dtype=np.float64) / temperature
    if not len(scores) or not np.isfinite(scores).all():
        raise GnomonError(f"calibration: choice log-probabilities {list(log_probabilities)}; finite numbers are needed")
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def per_choice(shares: Sequence[NDArray[np.float64]], gold: Sequence[int]) -> tuple[NDArray, NDArray]:
    """Every choice as a claim: (claimed [M], right [M] of 0 and 1)."""
    _check(shares, gold)
    right = [np.arange(len(s)) == g for s, g in zip(shares, gold, strict=True)]
    return np.concatenate(list(shares)), np.concatenate(right).astype(np.float64)


def top_label(shares: Sequence[NDArray[np.float64]], gold: Sequence[int]) -> tuple[NDArray, NDArray]:
    """The answer given as the only claim: (claimed [I], right [I])."""
    _check(shares, gold)
    claimed = np.array([s.max() for s in shares])
    return claimed, np.array([float(int(s.argmax()) == g) for s, g in zip(shares, gold, strict=True)])


def _check(shares: Sequence[NDArray[np.float64]], gold: Sequence[int]) -> None:
    if not len(shares) or len(shares) != len(gold):
        raise GnomonError(f"calibration: {len(shares)} items and {len(gold)} right answers; as many, and at least one")
    for i, (s, g) in enumerate(zip(shares, gold, strict=True)):
        if not 0 <= g < len(s):
            raise GnomonError(f"calibration: item {i} has {len(s)} choices and its right answer is number {g}")


def reliability(claimed: NDArray, right: NDArray, bins: int = BINS, kind: Bins = "equal") -> Reliability:
    """Claims [M] sorted into bins. Adaptive bins hold equal counts; equal claims stay in one bin."""
    if kind == "equal":
        edges = np.linspace(0, 1, bins + 1)
    else:
        edges = np.unique(np.concatenate([[0.0], np.quantile(claimed, np.linspace(0, 1, bins + 1)[1:-1]), [1.0]]))
    at = np.clip(np.searchsorted(edges, claimed, side="right") - 1, 0, len(edges) - 2)
    out = []
    for b in range(len(edges) - 1):
        inside = at == b
        if inside.any():
            out.append(Bin(float(edges[b]), float(edges[b + 1]), int(inside.sum()),
                           float(claimed[inside].mean()), float(right[inside].mean())))  # fmt: skip
    gaps = [abs(b.claimed - b.right) for b in out]
    ece = sum(gap * b.count for gap, b in zip(gaps, out, strict=True)) / len(claimed)
    return Reliability(tuple(out), float(ece), max(gaps), len(claimed))


def brier(shares: Sequence[NDArray[np.float64]], gold: Sequence[int]) -> float:
    """Mean over items of the sum of squared differences between shares and truth: 0 is perfect, 2 surely wrong."""
    _check(shares, gold)
    return float(np.mean([
        ((s - (np.arange(len(s)) == g)) ** 2).sum() for s, g in zip(shares, gold, strict=True)
    ]))  # fmt: skip


def nats(log_probabilities: Sequence[Sequence[float]], gold: Sequence[int], temperature: float = 1.0) -> float:
    """Mean -log share of the right choice at a temperature."""
    shares = [probabilities(row, temperature) for row in log_probabilities]
    _check(shares, gold)
    return float(np.mean([-np.log(max(s[g], 1e-300)) for s, g in zip(shares, gold, strict=True)]))


def fit_temperature(log_probabilities: Sequence[Sequence[float]], gold: Sequence[int]) -> float:
    """The temperature that makes the right choices likeliest. Fit on some items, judge on others."""
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(
        lambda t: nats(log_probabilities, gold, float(np.exp(t))), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def halves(ids: Sequence[str]) -> NDArray[np.bool_]:
    """[I] True for the half on which a temperature is fitted: by a hash of the id, the same in every run and order."""
    from gnomon.common.hashing import content_hash

    return np.array([int(content_hash(["half", i])[:8], 16) % 2 == 0 for i in ids])
