"""Laws of compute alone, for the minima of isoFLOP groups."""

from __future__ import annotations

from gnomon.forecast.laws.law import PowerSum


def power() -> PowerSum:
    """L = a C^-b: too optimistic far out, since it has no floor."""
    return PowerSum("power", "arXiv:2001.08361 §6.1", (("a", "compute", "b"),), ((0.005, 1.0),), (None,))


def power_floor() -> PowerSum:
    """L = a C^-b + c: the form of arXiv:2303.08774 §3.1; too pessimistic where c is fitted to tiny models'
    curvature."""
    terms = (("c", "", ""), ("a", "compute", "b"))
    return PowerSum("power+floor", "arXiv:2303.08774 §3.1", terms, ((0.01, 1.5),), ((0.15, 0.1),))
