"""What a fit costs: seconds of the processor for one point fit of the Chinchilla form and for 4,000 bootstraps of it.

On the digitised table of arXiv:2404.10102 where the folder has it, else on the largest family. The objective is that
paper's: the sum of Huber's loss, knee 1e-3, on log residuals, without prior.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from gnomon.forecast.fitting.bootstrap import bootstrap
from gnomon.forecast.fitting.projection import solve
from gnomon.forecast.fitting.robust import published_loss
from gnomon.forecast.laws import surface
from gnomon.forecast.runs import Runs
from gnomon.forecast.scorecard.families import Family

TABLE = "chinchilla_fig4"
DRAWS = 4000


def measure(families: Sequence[Family], draws: int = DRAWS) -> dict[str, Any] | None:
    """fit_s: one fit; bootstrap_4000_s: the same and the draws; objective: of the point fit. None without families."""
    if not families:
        return None
    named = [f for f in families if f.name == TABLE]
    family = named[0] if named else max(families, key=len)
    count = len(family)
    runs = Runs(
        np.arange(count),
        family.flops_C,
        family.params_N,
        family.tokens_D,
        family.loss,
        np.full(count, -1),
        np.arange(count),
    )
    inputs = {"parameters": runs.size, "tokens": runs.tokens}
    start = time.process_time()
    solve(surface().free(), inputs, runs.loss, published_loss(count))
    fit_s = time.process_time() - start
    start = time.process_time()
    result = bootstrap(surface(), runs, draws, seed=0)
    return {
        "fit_s": fit_s,
        f"bootstrap_{draws}_s": time.process_time() - start,
        "objective": float(result.point.objective[0]),
        "family": family.name,
        "runs": count,
    }
