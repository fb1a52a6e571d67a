"""Coverage: one fit a family on the runs below a third of the ratio, and every run of the top third-decade as a target.

The fit sees compute <= Cmax / 3k, the targets have at least Cmax / 3, so each is at least k times away. All targets of
a family hang on one fit and miss together, as those of a paper do; the test of coverage clusters by source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnomon.forecast.scorecard.baselines.compute import frontier
from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.scorecard.method import Question
from gnomon.forecast.scorecard.protocols.asking import Asked, enough

RATIOS = (10, 100, 1000)


def plan(families: Sequence[Family], ratio: int) -> list[Asked]:
    """One question for each family that has runs on both sides."""
    asked = []
    for family in families:
        runs = family.rolling()
        top = float(runs.flops_C.max())
        seen = runs.select(runs.flops_C <= top / (3 * ratio))
        if not len(seen) or not enough(seen):
            continue
        target = np.flatnonzero(runs.flops_C >= top / 3)
        best = np.isin(target, frontier(runs))
        question = Question(
            runs=seen,
            compute=runs.flops_C[target],
            params=runs.params_N[target],
            tokens=runs.tokens_D[target],
            on_frontier=best,
            ratio=float(ratio),
            source=family.source,
        )
        asked.append(Asked(question, family.name, runs.loss[target], family.clean))
    return asked
