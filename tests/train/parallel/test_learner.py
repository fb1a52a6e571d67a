"""Rule 1 over many processes: the same rows, the same loss, the same weights, whatever the mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gnomon.recipe.plan import Plan

DIVIDED = [("data=2", 30), ("tensor=2", 12)]
MANY = [
    (2, "data=2", 100),
    (4, "data=4", 100),
    (2, "tensor=2", 50),
    (4, "data=2,tensor=2", 30),
    (4, "replicate=2,data=2", 30),
    (4, "tensor=4", 20),
]


def farthest(one: dict[str, Any], other: dict[str, Any], what: str) -> float:
    """Largest difference of two curves' losses, norms or weights."""
    if what == "weights":
        pairs = [pair for name in one[what] for pair in zip(one[what][name], other[what][name], strict=True)]
    else:
        pairs = list(zip(one[what], other[what], strict=True))
    return max(abs(a - b) for a, b in pairs)


def compare(ranks: Any, plan: Plan, size: int, mesh: str, steps: int, micro_rows: int) -> tuple[float, float, float]:
    (alone,) = ranks("curve", 1, plan=plan, micro_rows=plan.batch_rows, steps=steps).values
    together = ranks("curve", size, mesh, plan=plan, micro_rows=micro_rows, steps=steps).values
    assert all(part["losses"] == together[0]["losses"] for part in together), "every process sees the same loss"
    assert alone["losses"][-1] < 0.99 * alone["losses"][0], "it learns"
    return tuple(farthest(alone, together[0], what) for what in ("losses", "norms", "weights"))  # type: ignore[return-value]  # three of them


@pytest.mark.parametrize(("mesh", "steps"), DIVIDED)
def test_two_processes_are_one_in_float64(ranks: Any, shared_plan: Callable[..., Plan], mesh: str, steps: int) -> None:
    loss, norm, weight = compare(ranks, shared_plan(dtype="float64", steps=steps), 2, mesh, steps, micro_rows=3)
    assert loss < 1e-10 and norm < 1e-10 and weight < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(("size", "mesh", "steps"), MANY)
def test_any_mesh_is_one(ranks: Any, shared_plan: Callable[..., Plan], size: int, mesh: str, steps: int) -> None:
    plan = shared_plan(dtype="float64", steps=steps, depth=2)
    loss, norm, weight = compare(ranks, plan, size, mesh, steps, micro_rows=1)
    assert loss < 1e-10 and norm < 1e-10 and weight < 1e-10
    loss, *_ = compare(ranks, shared_plan(steps=steps // 2), size, mesh, steps // 2, micro_rows=3)
    assert loss < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2", "tensor=2"])
@pytest.mark.parametrize(
    "shape", [{"tied": True}, {"kv_heads": 2}, {"qk_norm": False}, {"width": 24, "query_heads": 4}], ids=str
)
def test_other_shapes_too(ranks: Any, shared_plan: Callable[..., Plan], mesh: str, shape: dict[str, Any]) -> None:
    loss, norm, weight = compare(ranks, shared_plan(dtype="float64", steps=12, **shape), 2, mesh, 12, micro_rows=2)
    assert loss < 1e-10 and norm < 1e-10 and weight < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2", "tensor=2"])
def test_bfloat16_keeps_master_weights_moments_and_sums_in_fp32(
    ranks: Any, shared_plan: Callable[..., Plan], mesh: str
) -> None:
    """Products in bfloat16 round alike; what is left is the order of sums. A bf16 gradient sum would be off by 1e-2."""
    plan = shared_plan(dtype="bfloat16", steps=20)
    loss, norm, _ = compare(ranks, plan, 2, mesh, steps=20, micro_rows=7)
    assert loss < 2e-3 and norm < 5e-3
