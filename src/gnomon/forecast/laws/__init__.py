"""Laws: what loss is as a function of compute, or of parameters and tokens. One page each, with its source."""

from __future__ import annotations

from gnomon.forecast.laws.compute import power, power_floor
from gnomon.forecast.laws.drift import Drift
from gnomon.forecast.laws.law import Inputs, Law, PowerSum
from gnomon.forecast.laws.repetition import Repetition
from gnomon.forecast.laws.sparse import Sparse
from gnomon.forecast.laws.surface import surface, surface_tied
from gnomon.forecast.laws.valley import Valley

__all__ = [
    "Drift",
    "Inputs",
    "Law",
    "PowerSum",
    "Repetition",
    "Sparse",
    "Valley",
    "power",
    "power_floor",
    "standard_laws",
    "surface",
    "surface_tied",
]


def standard_laws() -> list[Law]:
    """The laws a forecast uses unless told otherwise: two of the minima, two of the surface, and the valley."""
    return [power(), power_floor(), surface(), surface_tied(), Valley()]
