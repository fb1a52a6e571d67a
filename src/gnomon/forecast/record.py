"""How far off each law has been: its record on ladders whose targets are known, as a prior for its weight.

A table can test its laws over a factor of 3 (rolling.py), and a target lies 30 or 300 away. What a law did out there on
other ladders says more than its fit. For models below five million parameters the record is this house's own: two
development texts, 27 runs from 5e10 to 8e11 FLOPs, a target of 2.5e13 (docs/log.md, 2026-11-22). Above, it is that of
published ladders, tested at 10 and 100 times the compute (learned.py).
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.learned import Learned
from gnomon.forecast.runs import Runs

SMALL_MODELS = 5e6  # parameters
# Root mean square of log(forecast / outcome) at 31 times the compute, on text like that of training and foreign text.
SMALL_MODEL_ERRORS = {
    "power": 0.029,  # -2.1 %, -3.6 %
    "power+floor": 0.025,  # between the two: its floor follows the noise of the minima
    "surface": 0.075,  # +9.5 %, +4.8 %: the walls of the valley decide its floor
    "surface, tied": 0.075,
    "surface with misfit": 0.045,  # between -6.4 and +0.4 % on the eight forecasts of docs/studies
    "valley": 0.016,  # -0.5 %, +0.1 %, and up to 2 % on the four studies
    "valley, floor": 0.022,
    "valley, slowing": 0.019,
    "minima, floor": 0.026,
    "minima, slowing": 0.024,
}
UNKNOWN_ERROR = 0.03  # of a law that has no record, such as a user's own
# Weights fall as this power of a law's error. On published ladders the surface with a misfit is ahead of the others by
# a factor of two to four, and squares leave the others more weight than they earn.
SHARPNESS = 4.0


def is_small(runs: Runs) -> bool:
    """The ladder is one of small models, whose record is the house's own."""
    return float(np.median(runs.size)) < SMALL_MODELS


def expected_errors(names: list[str], runs: Runs, learned: Learned, decades: float, kind: str) -> list[float]:
    """The error that each law's record leads one to expect this far out, in log loss. kind: "any" or "optimum"."""
    if is_small(runs):
        return [SMALL_MODEL_ERRORS.get(name, UNKNOWN_ERROR) for name in names]
    return [learned.expected_error(name, decades, kind) for name in names]


def tested_ratios(runs: Runs) -> list[float]:
    """Target to largest compute seen, at which the record behind the weights was taken."""
    return [31.0] if is_small(runs) else [10.0, 100.0]
