"""Laws of parameters and tokens, for all runs of a table."""

from __future__ import annotations

from gnomon.forecast.laws.law import PowerSum

# Exponents of the surface at published sizes are about 0.34 with spread 0.08 (research record of 23 families). Tiny
# models lie elsewhere, so the deviation here is wide: it only stops exponents that no data speak about from running
# away.
SURFACE_PRIOR = (0.34, 0.2)


def surface() -> PowerSum:
    """L = E + A/N^alpha + B/D^beta."""
    terms = (("E", "", ""), ("A", "parameters", "alpha"), ("B", "tokens", "beta"))
    bounds = ((0.02, 2.0), (0.02, 2.0))
    return PowerSum("surface", "arXiv:2203.15556 §3.3", terms, bounds, (SURFACE_PRIOR, SURFACE_PRIOR))


def surface_tied() -> PowerSum:
    """L = E + A/N^alpha + B/D^alpha: one exponent; steadier where sizes and lengths are few (arXiv:2305.16264 §3)."""
    terms = (("E", "", ""), ("A", "parameters", "alpha"), ("B", "tokens", "alpha"))
    return PowerSum("surface, tied", "arXiv:2305.16264 §3", terms, ((0.02, 2.0),), (SURFACE_PRIOR,))
