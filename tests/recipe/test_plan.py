"""A run keeps its name for ever: fields that came later do not move the ids of plans that do without them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.registry.bodies import hash_of_target

# The target of the study in docs/studies/2026-11-22-later-forecasts.jsonl, and the ids that its outcome names.
TARGET = Plan(
    shape=ModelShape(
        vocab=2048, context=64, width=128, depth=2, head_dim=8, rope_base=100.0, branch_multiplier=2.0, mlp_ratio=3.0
    ),
    optimisation=Optimisation(
        rate=0.0028690482950780786, base_width=64, base_depth=4, embed_ratio=16.0, timescale=0.3, beta1=0.9,
        beta2=0.9875, warmup_fraction=0.02, decay_fraction=0.6, clip=0.0,
    ),
    steps=9238,
    batch_rows=10,
    seed=3927291424815893663,
    order_seed=4747414028933773269,
    corpus="1e6e90bf6cffe00bdcce98f65aeb254842826f0441c919788c8518a6951c75d8",
    study="quickstart-1",
    numerics=1,
)  # fmt: skip
RUN_ID = "2cd335706693664c"
TARGET_HASH = "53cad55360b4a45c19aedfa0808620a0636d1d5799736d0241d9d15d577edb00"


def test_a_run_that_was_trained_before_keeps_its_id():
    assert TARGET.run_id == RUN_ID
    assert hash_of_target(TARGET.to_dict()) == TARGET_HASH


def test_the_hash_of_a_plan_is_that_of_what_is_stored():
    changed = replace(TARGET, shape=replace(TARGET.shape, kv_heads=4, tied=True))
    for plan in (TARGET, changed):
        assert plan.run_id == content_hash(plan.to_dict())[:16]
        assert Plan.from_dict(plan.to_dict()) == plan
    assert changed.run_id != TARGET.run_id
    assert changed.to_dict()["shape"]["kv_heads"] == 4 and "exact_mlp" not in changed.to_dict()["shape"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 3}, "shape.kv_heads is 3, which does not divide 16 query heads"),
        ({"kv_heads": -1}, "shape.kv_heads is -1; it is 0"),
        ({"exact_mlp": -8}, "shape.exact_mlp is -8; it is 0"),
        ({"head_dim": 24}, "which heads of 24 do not divide"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(GnomonError, match=message):
        replace(TARGET.shape, **changes)


def test_heads_need_not_be_as_wide_as_the_stream():
    shape = replace(TARGET.shape, head_dim=24, query_heads=4, kv_heads=2, exact_mlp=77)
    assert (shape.query_width, shape.key_width, shape.mlp_width) == (96, 48, 77)
