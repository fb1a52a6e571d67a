"""The bed of the valley: how the lowest loss falls with compute, written about the largest budget of a table.

Two beds, each of a level a and a local slope s = -d ln L / d ln C at that budget C0, with x = ln(C/C0):

    floor      L = a (1 - r + r exp(-s x / r))     the form of arXiv:2303.08774 §3.1, floor a (1 - r), exponent s/r
    slowing    L = a (1 + k s x)^(-1/k)            a power of log compute: 1/s grows by k with every e-fold

Both bend by the same when k = 1/r - 1. Written so, the constants have no unit and mean the same in every table, and
what published sweeps agree on can be said of them; an exponent and a floor in nats cannot. Slopes at the top budget of
published sweeps are 0.037 to 0.05 from 1e19 to 5e21 operations, a little more below; curvature over one or two decades
is hardly larger than the noise of the minima, so its prior does most of the work, and only two numbers state it. A
local slope of 0.15, as careless sweeps of tiny models have it, falls within a decade under both, where a floor with
the usual exponent lets it go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.forecast.laws.law import Inputs, Law

# k is 1.3 on average over the minima of four sources (0.7 to 2.1) and 1.7 with the surfaces of three more, whose floors
# run high (1.8 to 2.5); taken is the middle of both. s is 0.037 to 0.05 at their top budgets, and they had more compute
# than most tables. Ladders of this house's own small models only checked them (docs/log.md).
SLOPE_PRIOR = (0.05, 0.0125)
SLOWING_PRIOR = (1.5, 0.5)
SHARE_PRIOR = (0.40, 0.07)
# k without one source, so that a source can be scored by numbers that never saw it.
SLOWING_WITHOUT = {
    "chinchilla": 1.33,
    "gadre": 1.45,
    "gemstone": 1.49,
    "marin": 1.69,
    "porian": 1.58,
    "steplaw": 1.43,
    "xlstm": 1.55,
}
STRAY = 0.002  # 0.001 to 0.006 do alike on published sweeps
GROWTH_PRIOR = (0.5, 0.1)  # N* as a power of compute: 0.5 in arXiv:2203.15556


@dataclass(frozen=True)
class Floor:
    """The bed with a floor. Its walls stand on the reducible part: curvature is of log reducible loss."""

    name: str = "floor"
    source: str = "arXiv:2303.08774 §3.1"
    exponents: tuple[str, str] = ("s", "r")
    bounds: tuple[tuple[float, float], tuple[float, float]] = ((0.003, 0.5), (0.05, 1.0))
    prior: tuple[tuple[float, float], tuple[float, float]] = (SLOPE_PRIOR, SHARE_PRIOR)
    curvature: tuple[float, float] = (0.05, 0.05)

    def level(self, s: np.ndarray, r: np.ndarray, x: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Loss over a at log compute x, with walls of height `lift` in log loss."""
        return 1 - r + r * np.exp(np.minimum(lift - s * x / r, 60.0))

    def slopes(self, s: np.ndarray, r: np.ndarray, x: np.ndarray, lift: np.ndarray | float = 0.0) -> list[np.ndarray]:
        """Derivatives of level() by s, r and lift."""
        wall = np.exp(np.minimum(lift - s * x / r, 60.0))
        return [-x * wall, wall - 1 + s * x / r * wall, r * wall]


@dataclass(frozen=True)
class Slowing:
    """The bed whose slope falls as 1 / log compute; it has no floor."""

    name: str = "slowing"
    source: str = "a power of log compute; compare arXiv:2001.08361 §6.1"
    exponents: tuple[str, str] = ("s", "k")
    bounds: tuple[tuple[float, float], tuple[float, float]] = ((0.003, 0.5), (0.05, 6.0))
    prior: tuple[tuple[float, float], tuple[float, float]] = (SLOPE_PRIOR, SLOWING_PRIOR)
    curvature: tuple[float, float] = (0.03, 0.03)

    def level(self, s: np.ndarray, k: np.ndarray, x: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """As Floor.level()."""
        return np.exp(np.minimum(lift - np.log(self._inside(s, k, x)) / k, 60.0))

    def slopes(self, s: np.ndarray, k: np.ndarray, x: np.ndarray, lift: np.ndarray | float = 0.0) -> list[np.ndarray]:
        """As Floor.slopes()."""
        inside, level = self._inside(s, k, x), self.level(s, k, x, lift)
        moving = 1 + k * s * x > 0.05
        by_k = (np.log(inside) / k - moving * s * x / inside) / k
        return [-x * moving / inside * level, by_k * level, level]

    @staticmethod
    def _inside(s: np.ndarray, k: np.ndarray, x: np.ndarray) -> np.ndarray:
        # Far below C0 a power of log compute has a pole; no table reaches it with constants that fit its top.
        return np.maximum(1 + k * s * x, 0.05)


Bed = Floor | Slowing


def beds(left_out: Iterable[str] | str = ()) -> tuple[Floor, Slowing]:
    """Both beds; without a source their bends are centred on what the others say (the lowest, for several)."""
    names = [left_out] if isinstance(left_out, str) else left_out
    known = [SLOWING_WITHOUT[source] for source in names if source in SLOWING_WITHOUT]
    if not known:
        return Floor(), Slowing()
    k = min(known)
    return (
        Floor(prior=(SLOPE_PRIOR, (1 / (1 + k), SHARE_PRIOR[1]))),
        Slowing(prior=(SLOPE_PRIOR, (k, SLOWING_PRIOR[1]))),
    )


class AlongBed(Law):
    """A bed alone, for the minima of isoFLOP budgets. compute0: C0, 1 until centred() has seen a table."""

    inputs = ("compute",)
    coefficients = ("a",)
    stray = STRAY

    def __init__(self, bed: Bed, compute0: float = 1.0) -> None:
        self.bed, self.compute0 = bed, compute0
        self.name, self.source = f"minima, {bed.name}", bed.source
        self.exponents, self.bounds, self.prior = bed.exponents, bed.bounds, bed.prior

    def centred(self, inputs: Inputs) -> AlongBed:
        return AlongBed(self.bed, float(np.max(inputs["compute"])))

    @property
    def fixed(self) -> dict[str, float]:
        return {"C0": self.compute0}

    @property
    def minimum_points(self) -> int:
        return 4  # members that have a prior on both exponents are fitted to three minima

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        s, bend = (exponents_Sq[:, i, None] for i in range(2))
        return self.bed.level(s, bend, self._x(inputs))[..., None]

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        s, bend = (exponents_Sq[:, i, None] for i in range(2))
        by_s, by_bend, _ = self.bed.slopes(s, bend, self._x(inputs))
        return np.stack([by_s, by_bend], axis=-1)[..., None, :]

    def _x(self, inputs: Inputs) -> np.ndarray:
        return np.log(np.asarray(inputs["compute"], dtype=float) / self.compute0)[None, :]


class BedValley(Law):
    """One law for all runs near their budget's minimum: a bed along N*(C) = rho N0 (C/C0)^g, and across it walls that
    rise by kappa (ln N/N*)^2 in log loss (of the reducible part, where the bed has a floor).

    It smooths the minima of all budgets at once, in level, place and curvature, so a budget of few sizes or none on one
    side of its minimum still says what it knows. compute0, size0: C0 and N0; 1 until centred() has seen a table.
    """

    inputs = ("compute", "parameters")
    coefficients = ("a",)
    stray = STRAY

    def __init__(self, bed: Bed, compute0: float = 1.0, size0: float = 1.0) -> None:
        self.bed, self.compute0, self.size0 = bed, compute0, size0
        self.name, self.source = f"valley, {bed.name}", f"{bed.source} along, arXiv:2203.15556 §3.2 across"
        self.exponents = (*bed.exponents, "kappa", "g", "rho")
        self.bounds = (*bed.bounds, (0.002, 1.0), (0.15, 1.2), (1 / 30, 30.0))
        self.prior = (*bed.prior, bed.curvature, GROWTH_PRIOR, None)

    @property
    def family(self) -> str:
        return "valley"

    def centred(self, inputs: Inputs) -> BedValley:
        """This law about the largest compute, and about the size that the middle one grows to by then."""
        log_compute, log_size = (np.log(np.asarray(inputs[name], dtype=float)) for name in self.inputs)
        top = float(log_compute.max())
        grown = float(log_size.mean()) + GROWTH_PRIOR[0] * (top - float(log_compute.mean()))
        return BedValley(self.bed, float(np.exp(top)), float(np.exp(grown)))

    @property
    def fixed(self) -> dict[str, float]:
        return {"C0": self.compute0, "N0": self.size0}

    def best_size(self, constants: Mapping[str, Any], compute: float) -> float:
        """N*(compute), in parameters."""
        return self.size0 * constants["rho"] * (compute / self.compute0) ** constants["g"]

    def grid(self) -> list[np.ndarray]:
        """Few points: the bed and the growth are held by their priors, only rho is free over a wide range."""
        (s, _), (bend, spread) = self.bed.prior
        return [
            np.array([0.6, 1.0, 1.6]) * s,
            bend + spread * np.array([-1.0, 1.0]),
            self.bed.curvature[0] * np.array([0.4, 1.0, 2.5]),
            np.array([0.4, 0.5, 0.65]),
            np.geomspace(*self.bounds[4], 9),
        ]

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        s, bend, kappa, _, _ = (exponents_Sq[:, i, None] for i in range(5))
        x, off = self._places(exponents_Sq, inputs)
        return self.bed.level(s, bend, x, kappa * off**2)[..., None]

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        s, bend, kappa, _, rho = (exponents_Sq[:, i, None] for i in range(5))
        x, off = self._places(exponents_Sq, inputs)
        by_s, by_bend, by_lift = self.bed.slopes(s, bend, x, kappa * off**2)
        by_off = 2 * kappa * off * by_lift
        parts = [by_s, by_bend, off**2 * by_lift, -x * by_off, -by_off / rho]
        return np.stack(parts, axis=-1)[..., None, :]

    def _places(self, exponents_Sq: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Log compute from C0 [1, n], and log size from the bed [S, n]."""
        compute, size = (np.asarray(inputs[name], dtype=float)[None, :] for name in self.inputs)
        x = np.log(compute / self.compute0)
        return x, np.log(size / self.size0) - np.log(exponents_Sq[:, 4, None]) - exponents_Sq[:, 3, None] * x
