"""Repeated data: a token seen again is worth less, and so is a parameter that has no new data to learn from.

    L = E + A/N'^alpha + B/D'^beta
    D' = U + U R_D (1 - exp(-(D/U - 1) / R_D)),   U unique tokens of D
    N' = V + V R_N (1 - exp(-(N/V - 1) / R_N)),   V = min(N, U / tokens_per_parameter)

arXiv:2305.16264 §3.2 (there alpha = beta, R_D 15.4 and R_N 5.3, in epochs beyond the first; V is the size that is
compute-optimal for U, which depends on A and B; here it is a ratio, so that the law stays linear in its coefficients).
Where no token is seen twice and no parameter lacks data it is E + A/N^alpha + B/D^beta.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.laws.law import Inputs, Law
from gnomon.forecast.laws.surface import SURFACE_PRIOR

DATA_PRIOR = (15.4, 8.0)
SIZE_PRIOR = (5.3, 3.0)
TOKENS_PER_PARAMETER = 20.0  # arXiv:2203.15556


class Repetition(Law):
    """The law above; needs unique_tokens."""

    name = "surface, repeated data"
    source = "arXiv:2305.16264 §3.2"
    inputs = ("parameters", "tokens", "unique_tokens")
    coefficients = ("E", "A", "B")
    exponents = ("alpha", "beta", "R_D", "R_N")
    bounds = ((0.02, 2.0), (0.02, 2.0), (0.3, 100.0), (0.3, 100.0))
    prior = (SURFACE_PRIOR, SURFACE_PRIOR, DATA_PRIOR, SIZE_PRIOR)

    def __init__(self, tokens_per_parameter: float = TOKENS_PER_PARAMETER) -> None:
        self.tokens_per_parameter = tokens_per_parameter

    @property
    def floors(self) -> tuple[bool, ...]:
        return (True, False, False)

    def effective(self, reach_S: np.ndarray, amount: np.ndarray, unique: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `amount` of which `unique` are new is worth, and its derivative by the reach R, [S, n] each."""
        again = np.maximum(amount / unique - 1.0, 0.0) / reach_S[:, None]
        kept = np.exp(-again)
        worth = unique * (1.0 + reach_S[:, None] * (1.0 - kept))
        return worth, unique * (1.0 - kept - again * kept)

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        (size, _), (tokens, _) = self._worth(exponents_Sq, inputs)
        powers = [np.exp(-exponents_Sq[:, i, None] * np.log(worth)) for i, worth in enumerate((size, tokens))]
        return np.stack([np.ones_like(size), *powers], axis=-1)

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        columns = self.columns(exponents_Sq, inputs)
        slopes = np.zeros((*columns.shape, 4))
        (size, by_size), (tokens, by_tokens) = self._worth(exponents_Sq, inputs)
        for i, (worth, slope, reach) in enumerate(((size, by_size, 3), (tokens, by_tokens, 2))):
            slopes[..., i + 1, i] = -np.log(worth) * columns[..., i + 1]
            slopes[..., i + 1, reach] = -exponents_Sq[:, i, None] * columns[..., i + 1] * slope / worth
        return slopes

    def _worth(self, exponents_Sq: np.ndarray, inputs: Inputs) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Effective parameters and effective tokens, each with its slope."""
        size, tokens, unique = (np.asarray(inputs[name], dtype=float)[None, :] for name in self.inputs)
        fed = np.minimum(size, unique / self.tokens_per_parameter)
        return self.effective(exponents_Sq[:, 3], size, fed), self.effective(exponents_Sq[:, 2], tokens, unique)
