"""The compute-optimal loss of an isoFLOP budget, forecast from the budgets of at most a tenth, a hundredth of it.

The truth is the bottom of a parabola through the target budget's runs (minima.py); the method is told the size and
tokens at that bottom. Three bracketed budgets below are needed; budgets count as nominal ones, within 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.scorecard.method import Question
from gnomon.forecast.scorecard.minima import minima
from gnomon.forecast.scorecard.protocols.asking import Asked

RATIOS = (10, 100)
FEWEST_BUDGETS = 3
SLACK = 1.05


def plan(families: Sequence[Family], ratio: int) -> list[Asked]:
    """One question for each budget of each family that has three bracketed ones far enough below."""
    asked = []
    for family in families:
        inside = family.select(np.isfinite(family.budget))
        runs = replace(inside, flops_C=inside.budget)
        found = minima(runs)
        for target in found:
            cut = SLACK * target.budget / ratio
            if sum(m.budget <= cut for m in found) < FEWEST_BUDGETS:
                continue
            question = Question(
                runs=runs.select(runs.budget <= cut),
                compute=np.array([target.budget]),
                params=np.array([target.size]),
                tokens=np.array([target.tokens]),
                on_frontier=np.array([True]),
                ratio=float(ratio),
                source=family.source,
                optimum=True,
            )
            asked.append(Asked(question, family.name, np.array([target.loss]), family.clean))
    return asked
