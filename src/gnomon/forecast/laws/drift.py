"""A data exponent that drifts with size: bigger models learn from data at another rate.

    L = E + A/N^alpha + B (D/D0)^-beta(N),   beta(N) = beta (N/N0)^delta

arXiv:2506.10972 lets the data term's exponent and its coefficient vary with N, by stretched exponentials with nine
constants in all. This is the smallest law with such a drift: one constant more than E + A/N^alpha + B/D^beta, which it
is at delta = 0. N0 and D0 are the table's own middle (the curves of all sizes cross at D0 but for A/N^alpha, so it must
not lie where there are no runs). A table of a decade or two says little about delta; the prior holds it near zero.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.laws.law import Inputs, Law
from gnomon.forecast.laws.surface import SURFACE_PRIOR

DRIFT_PRIOR = (0.0, 0.05)  # of delta; an assumption: 20 % of the exponent over 40 times the size, at one deviation


class Drift(Law):
    """The law above. size0, tokens0: N0 and D0; 1 until centred() has seen a table."""

    name = "surface, drifting"
    source = "arXiv:2506.10972, reduced to one constant"
    inputs = ("parameters", "tokens")
    coefficients = ("E", "A", "B")
    exponents = ("alpha", "beta", "delta")
    bounds = ((0.02, 2.0), (0.02, 2.0), (-0.3, 0.3))
    prior = (SURFACE_PRIOR, SURFACE_PRIOR, DRIFT_PRIOR)

    def __init__(self, size0: float = 1.0, tokens0: float = 1.0) -> None:
        self.size0, self.tokens0 = size0, tokens0

    def centred(self, inputs: Inputs) -> Drift:
        """This law about the geometric middle of a table."""
        law = Drift(*(float(np.exp(np.log(inputs[name]).mean())) for name in self.inputs))
        law.prior = self.prior
        return law

    @property
    def fixed(self) -> dict[str, float]:
        return {"N0": self.size0, "D0": self.tokens0}

    @property
    def floors(self) -> tuple[bool, ...]:
        return (True, False, False)

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        alpha, beta, delta = (exponents_Sq[:, i, None] for i in range(3))
        u, v = self._logs(inputs)
        data = np.exp(-np.clip(beta * np.exp(delta * u) * v, -300.0, 300.0))
        return np.stack([np.ones_like(data), np.exp(-alpha * u), data], axis=-1)

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        _, beta, delta = (exponents_Sq[:, i, None] for i in range(3))
        u, v = self._logs(inputs)
        columns = self.columns(exponents_Sq, inputs)
        reach = np.exp(delta * u) * v
        slopes = np.zeros((*columns.shape, 3))
        slopes[..., 1, 0] = -u * columns[..., 1]
        slopes[..., 2, 1] = -reach * columns[..., 2]
        slopes[..., 2, 2] = -beta * reach * u * columns[..., 2]
        return slopes

    def _logs(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Log size and log tokens from the table's middle, [1, n] each."""
        size, tokens = (np.asarray(inputs[name], dtype=float)[None, :] for name in self.inputs)
        return np.log(size / self.size0), np.log(tokens / self.tokens0)
