"""The valley: one law for all isoFLOP budgets at once, a power of compute with a floor along its bed.

    L = c + a (C/C0)^-b exp(kappa (ln N/N*(C))^2),   N*(C) = rho N0 (C/C0)^g

C0 and N0 are the table's own middle, so that the constants mean something at every scale. Along the bed it is the
form of arXiv:2303.08774 §3.1; across it, the parabola of arXiv:2203.15556 §3.2, of one curvature for all budgets.
Six constants serve a ladder where separate parabolas take three a budget, and a budget whose minimum is not
bracketed still says what it knows. The sum E + A/N^alpha + B/D^beta ties the walls of the valley to the slope of
its bed; where that tie is wrong, as for models of 20 to 200 thousand parameters (docs/log.md), so is its floor.

What the table cannot say is the floor: curvature over a decade or two is smaller than its noise. The prior on b says
it. Reducible loss along the bed falls as C^-0.155 in arXiv:2203.15556 (alpha beta / (alpha + beta)); for the small
models of this house it fell as C^-0.10 on text like that of training and as C^-0.125 on foreign text (development
sets alone).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gnomon.forecast.laws.law import Inputs, Law

SLOPE_PRIOR = (0.12, 0.03)
CURVATURE_PRIOR = (0.05, 0.05)  # of log reducible loss over squared log size
GROWTH_PRIOR = (0.5, 0.1)  # N* as a power of compute: 0.5 in arXiv:2203.15556


class Valley(Law):
    """The law above. compute0, size0: C0 and N0; 1 until centred() has seen a table."""

    name = "valley"
    source = "arXiv:2303.08774 §3.1 along, arXiv:2203.15556 §3.2 across"
    inputs = ("compute", "parameters")
    coefficients = ("c", "a")
    exponents = ("b", "kappa", "g", "rho")
    bounds = ((0.01, 0.8), (0.002, 1.0), (0.15, 1.2), (1 / 30, 30.0))
    prior = (SLOPE_PRIOR, CURVATURE_PRIOR, GROWTH_PRIOR, None)

    @property
    def family(self) -> str:
        return "valley"

    @property
    def floors(self) -> tuple[bool, ...]:
        return (True, False)

    def __init__(self, compute0: float = 1.0, size0: float = 1.0) -> None:
        self.compute0, self.size0 = compute0, size0

    def centred(self, inputs: Inputs) -> Valley:
        """This law about the geometric middle of a table."""
        return Valley(*(float(np.exp(np.log(inputs[name]).mean())) for name in self.inputs))

    @property
    def fixed(self) -> dict[str, float]:
        return {"C0": self.compute0, "N0": self.size0}

    def best_size(self, constants: Mapping[str, float], compute: float) -> float:
        """N*(compute), in parameters."""
        return self.bed(constants, compute)

    def bed(self, constants: Mapping[str, float], compute: float) -> float:
        """N*(compute): the best size, in parameters."""
        return self.size0 * constants["rho"] * (compute / self.compute0) ** constants["g"]

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        b, kappa, g, rho = (exponents_Sq[:, i, None] for i in range(4))
        x, u = self._logs(inputs)
        off = u - np.log(rho) - g * x
        wall = np.exp(np.minimum(kappa * off**2 - b * x, 60.0))
        return np.stack([np.ones_like(wall), wall], axis=-1)

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        _, kappa, g, rho = (exponents_Sq[:, i, None] for i in range(4))
        x, u = self._logs(inputs)
        off = u - np.log(rho) - g * x
        wall = self.columns(exponents_Sq, inputs)[..., 1]
        slopes = np.zeros((*wall.shape, 2, 4))
        slopes[..., 1, 0] = -x * wall
        slopes[..., 1, 1] = off**2 * wall
        slopes[..., 1, 2] = -2 * kappa * off * x * wall
        slopes[..., 1, 3] = -2 * kappa * off / rho * wall
        return slopes

    def _logs(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Log compute and log size from the table's middle, [1, n] each."""
        compute, size = (np.asarray(inputs[name], dtype=float)[None, :] for name in self.inputs)
        return np.log(compute / self.compute0), np.log(size / self.size0)
