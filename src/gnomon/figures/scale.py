"""Scales and ticks: from a value to a place on the paper, and where the paper gets its marks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Scale:
    """Maps low..high (data) onto start..end (SVG units), straight or by logarithm.

    Raises ValueError when low is not below high, or is not positive on a logarithmic scale.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a scale from {self.low} to {self.high} has no extent")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic scale cannot begin at {self.low}")

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, 1e-300)), math.log(low), math.log(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self, wanted: int) -> list[float]:
        """About `wanted` round values within the scale."""
        return log_ticks(self.low, self.high, wanted) if self.log else linear_ticks(self.low, self.high, wanted)


def linear_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, at most wanted + 1 of them."""
    raw = (high - low) / max(wanted, 1)
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Powers of ten, thinned when there are too many, with 2 and 5 (or plain round values) when there are too few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = list(range(first, last + 1))
    if len(powers) > wanted:
        stride = math.ceil(len(powers) / wanted)
        powers = powers[(len(powers) - 1) % stride :: stride]
    if len(powers) >= 2:
        return [10.0**e for e in powers]
    around = range(first - 1, last + 1)
    dense = [m * 10.0**e for e in around for m in (1, 2, 5) if low * 0.999 <= m * 10.0**e <= high * 1.001]
    return dense if len(dense) >= 2 else linear_ticks(low, high, wanted)


def padded(values: Iterable[float], below: float = 0.06, above: float = 0.06) -> tuple[float, float]:
    """The range of values with some air, as shares of the range. Raises ValueError without a finite value."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        raise ValueError("no finite value to draw")
    low, high = min(finite), max(finite)
    extent = (high - low) or abs(high) * 0.1 or 1.0
    return low - below * extent, high + above * extent


def padded_log(values: Iterable[float], below: float = 0.05, above: float = 0.05) -> tuple[float, float]:
    """The same for positive values on a logarithmic scale."""
    low, high = padded([math.log10(v) for v in values if v > 0 and math.isfinite(v)], below, above)
    return 10.0**low, 10.0**high


def tick_text(value: float, ticks: list[float]) -> str:
    """A tick with as many decimals as its neighbours need."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:.{decimals}f}"
