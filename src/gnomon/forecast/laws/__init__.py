"""Laws: what loss is as a function of compute, or of parameters and tokens. One page each, with its source."""

from __future__ import annotations

from collections.abc import Iterable

from gnomon.forecast.laws.bed import AlongBed, BedValley, Floor, Slowing, beds
from gnomon.forecast.laws.compute import power, power_floor
from gnomon.forecast.laws.drift import Drift
from gnomon.forecast.laws.law import Inputs, Law, PowerSum
from gnomon.forecast.laws.repetition import Repetition
from gnomon.forecast.laws.sparse import Sparse
from gnomon.forecast.laws.surface import surface, surface_tied
from gnomon.forecast.laws.valley import Valley

__all__ = [
    "AlongBed",
    "BedValley",
    "Drift",
    "Floor",
    "Inputs",
    "Law",
    "PowerSum",
    "Repetition",
    "Slowing",
    "Sparse",
    "Valley",
    "beds",
    "power",
    "power_floor",
    "standard_laws",
    "surface",
    "surface_tied",
]


def standard_laws(left_out: Iterable[str] | str = ()) -> list[Law]:
    """The laws a forecast uses unless told otherwise: four of the minima, two of the surface, and three valleys.

    left_out: sources that the priors of the beds must not have seen.
    """
    both = beds(left_out)
    minima = [power(), power_floor(), *(AlongBed(bed) for bed in both)]
    return [*minima, surface(), surface_tied(), Valley(), *(BedValley(bed) for bed in both)]
