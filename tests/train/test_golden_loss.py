"""The golden losses that guard NUMERICS_VERSION: the same plan must give the same curve as when they were written.

When a change of the numbers is wanted (another order of operations does not show at this tolerance; another rule for a
rate, an init, a loss, the order of rows does): raise NUMERICS_VERSION in recipe/plan.py, so that no stored row is taken
for a run of the new code, run this file with the new code, paste the losses it prints, and say why in CHANGELOG.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.recipe.plan import NUMERICS_VERSION, Plan
from gnomon.train.execution import AUTOGRAD, decide
from gnomon.train.metrics import METRICS_FILE, read_metrics
from gnomon.train.trainer import train

GOLDEN_VERSION = 1
GOLDEN = (
    4.158883, 4.13512, 4.086491, 4.022333, 3.940993, 3.857707, 3.70862, 3.598475, 3.568888, 3.411223,
    3.372149, 3.314069, 3.151097, 3.021551, 3.006181, 2.924232, 2.949107, 2.741057, 2.852249, 2.814128,
)  # fmt: skip


@pytest.mark.parametrize("kernels", ["torch", "torch-ops", "compiled"])
def test_the_losses_are_those_that_were_written_down(
    corpus: Any, make_plan: Callable[..., Plan], tmp_path: Path, kernels: str
) -> None:
    assert NUMERICS_VERSION == GOLDEN_VERSION, "new numerics: write down their losses here"
    plan = make_plan(
        steps=20, depth=2, width=32, warmup_fraction=0.2, decay_fraction=0.5, branch_multiplier=0.5, embed_ratio=2.0,
        z_loss=1e-3, clip=0.5,
    )  # fmt: skip
    execution = replace(decide(plan), log_every=1, micro_rows=4)
    if kernels != "compiled":
        execution = replace(execution, kernels=kernels)
    elif execution.kernels == AUTOGRAD:
        pytest.skip("no compiled step on this machine")
    train(plan, corpus, tmp_path, execution=execution)
    losses = [round(row["loss_nats"], 6) for row in read_metrics(tmp_path / METRICS_FILE)]
    # Twenty steps let the last bits of another processor grow to some 1e-6; 1e-4 leaves room and hides no rule.
    assert losses == pytest.approx(GOLDEN, rel=1e-4), f"the losses are now {losses}"
