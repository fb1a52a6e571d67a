"""How far off each law has been: its record on ladders whose targets are known, as a prior for its weight.

A table can test its laws over a factor of 3 (rolling.py), and a target lies 30 away. What a law did out there on other
ladders says more than its fit. For models below five million parameters the record is this house's own: two
development texts, 27 runs from 5e10 to 8e11 FLOPs, a target of 2.5e13 (docs/log.md, 2026-11-22). Above, published
ladders show no winner (the note in combine.py), and every law counts alike.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.runs import Runs

SMALL_MODELS = 5e6  # parameters
# Root mean square of log(forecast / outcome) at 31 times the compute, on text like that of training and foreign text.
SMALL_MODEL_ERRORS = {
    "power": 0.029,  # -2.1 %, -3.6 %
    "power+floor": 0.025,  # between the two: its floor follows the noise of the minima
    "surface": 0.075,  # +9.5 %, +4.8 %: the walls of the valley decide its floor
    "surface, tied": 0.075,
    "valley": 0.01,  # -0.5 %, +0.1 %; taken as 1 % since two texts of one study are little
}
UNKNOWN_ERROR = 0.03  # of a law that has no record, such as a user's own


def expected_errors(names: list[str], runs: Runs) -> list[float]:
    """The error that each law's record leads one to expect, in log loss; zeros where the record says nothing."""
    if float(np.median(runs.size)) >= SMALL_MODELS:
        return [0.0] * len(names)
    return [SMALL_MODEL_ERRORS.get(name, UNKNOWN_ERROR) for name in names]
