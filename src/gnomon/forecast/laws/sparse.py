"""Sparse models: experts that a token does not meet count for something, but less than those that it meets.

    L = E + A/M^alpha + B/D^beta,   M = active^(1 - omega) total^omega

M is an effective count of parameters: arXiv:2202.01169 fits loss to a bilinear form in the logarithms of active size
and experts, and reads it as the size of the dense model that is as good; this is that form without its product term,
with a floor and a data term. omega = 0: only active parameters count; omega = 1: all count alike. A dense model has
active = total, so dense and sparse runs may share a table.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.laws.law import Inputs, Law
from gnomon.forecast.laws.surface import SURFACE_PRIOR

OMEGA_PRIOR = (0.4, 0.3)  # an assumption, wide: between active parameters alone and all of them


class Sparse(Law):
    """The law above; needs active and total parameters."""

    name = "surface, sparse"
    source = "arXiv:2202.01169, without the product term"
    inputs = ("active", "total", "tokens")
    coefficients = ("E", "A", "B")
    exponents = ("alpha", "beta", "omega")
    bounds = ((0.02, 2.0), (0.02, 2.0), (0.0, 1.0))
    prior = (SURFACE_PRIOR, SURFACE_PRIOR, OMEGA_PRIOR)

    @property
    def floors(self) -> tuple[bool, ...]:
        return (True, False, False)

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        alpha, beta, omega = (exponents_Sq[:, i, None] for i in range(3))
        active, total, tokens = (np.log(np.asarray(inputs[name], dtype=float))[None, :] for name in self.inputs)
        size = np.exp(-alpha * (active + omega * (total - active)))
        return np.stack([np.ones_like(size), size, np.exp(-beta * tokens)], axis=-1)

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        alpha, _, omega = (exponents_Sq[:, i, None] for i in range(3))
        active, total, tokens = (np.log(np.asarray(inputs[name], dtype=float))[None, :] for name in self.inputs)
        columns = self.columns(exponents_Sq, inputs)
        slopes = np.zeros((*columns.shape, 3))
        slopes[..., 1, 0] = -(active + omega * (total - active)) * columns[..., 1]
        slopes[..., 1, 2] = -alpha * (total - active) * columns[..., 1]
        slopes[..., 2, 1] = -tokens * columns[..., 2]
        return slopes
