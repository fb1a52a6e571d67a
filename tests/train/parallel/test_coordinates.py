"""The coordinate check under FSDP2: names, and so roles and rates, survive the sharding."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon.workflow.coordinates import DEPTHS, OPTIMISATION, SEEDS, WIDTHS


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2", "tensor=2"])
def test_what_a_step_moves_is_the_same_in_two_processes(ranks: Any, mesh: str) -> None:
    seeds = list(SEEDS) if mesh == "data=2" else [0]
    sizes = {"width": list(WIDTHS), "depth": list(DEPTHS[:3]), "seeds": seeds}
    (alone,) = ranks("coordinates", 1, **sizes).values
    together = ranks("coordinates", 2, mesh, **sizes).values[0]
    assert together["changes"] == pytest.approx(alone["changes"], rel=1e-3)
    if mesh == "data=2":
        slopes = together["width"]
        assert abs(slopes.pop("head")) <= 0.15
        assert slopes.pop("embedding") == pytest.approx(OPTIMISATION.embedding_exponent, abs=0.1)
        assert not {module: slope for module, slope in slopes.items() if abs(slope) > 0.1}
        assert together["depth"]["added"] == pytest.approx(-1, abs=0.15)
        assert abs(together["depth"]["stream"]) <= 0.1 and abs(together["depth"]["head"]) <= 0.15
