"""Rolling origin: forecast each run from the runs of at most a tenth, a hundredth ... of its compute.

Targets are all runs, at ratio 10 those of the top two decades. A fit needs 8 runs of 3 sizes and 3 lengths over 3 times
in compute. Neighbouring targets share a fit made on the runs that the smallest of them allows (slightly pessimistic).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnomon.forecast.scorecard.baselines.compute import frontier
from gnomon.forecast.scorecard.families import Family
from gnomon.forecast.scorecard.method import Question
from gnomon.forecast.scorecard.protocols.asking import Asked, enough

RATIOS = (10, 100, 1000, 10000)
REFITS = 12
DECADES_AT_10 = 2


def plan(families: Sequence[Family], ratio: int, refits: int = REFITS) -> list[Asked]:
    """The questions at this ratio; refits: most fits a family."""
    return [asked for family in families for asked in _of_family(family, ratio, refits)]


def _of_family(family: Family, ratio: int, refits: int) -> list[Asked]:
    runs = family.rolling()
    compute = runs.flops_C
    lowest = compute.max() / 10**DECADES_AT_10 if ratio == 10 else 0.0
    best = np.isin(np.arange(len(runs)), frontier(runs))
    ordered = np.argsort(compute, kind="stable")
    allowed = {c: enough(runs.select(compute <= c / ratio)) for c in np.unique(compute[compute >= lowest])}
    targets = np.array([i for i in ordered if allowed.get(compute[i], False)], dtype=np.int64)
    groups = np.array_split(targets, min(refits, len(targets))) if len(targets) else []
    return [
        Asked(
            Question(
                runs=runs.select(compute <= compute[group].min() / ratio),
                compute=compute[group],
                params=runs.params_N[group],
                tokens=runs.tokens_D[group],
                on_frontier=best[group],
                ratio=float(ratio),
                source=family.source,
            ),
            family.name,
            runs.loss[group],
            family.clean,
        )
        for group in groups
    ]
