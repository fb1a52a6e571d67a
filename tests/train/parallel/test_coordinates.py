"""The coordinate check under FSDP2: names, and so roles and rates, survive the sharding."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon.workflow.coordinates import DEPTHS, WIDTHS


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2", "tensor=2"])
def test_what_a_step_moves_is_the_same_in_two_processes(ranks: Any, mesh: str) -> None:
    sizes = {"width": list(WIDTHS[:3]), "depth": list(DEPTHS[:2]), "seeds": [0, 1] if mesh == "data=2" else [0]}
    (alone,) = ranks("coordinates", 1, **sizes).values
    together = ranks("coordinates", 2, mesh, **sizes).values[0]
    assert together["changes"] == pytest.approx(alone["changes"], rel=1e-3)
    for axis in ("width", "depth"):  # tests/workflow/test_coordinates.py holds these against their limits
        assert together[axis] == pytest.approx(alone[axis], abs=2e-3)
