"""The verbs next, compare and allocate on the shipped table: words, JSON, and one line on bad input."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gnomon.cli import app
from gnomon.common.errors import GnomonError
from gnomon.forecast import sample


def test_next_prints_proposals_and_writes_them(tmp_path: Path) -> None:
    out = tmp_path / "next.json"
    call = ["forecast", "next", str(sample()), "--target", "2.5e13", "--budget", "2e12", "--json", str(out)]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    proposals = json.loads(out.read_text())
    assert sum(p["cost_flops"] for p in proposals) <= 2e12 * (1 + 1e-9)
    assert proposals[0]["half_width_after_pct"] < proposals[0]["half_width_before_pct"]
    assert "together" in result.output


def test_compare_and_allocate_name_what_is_wrong() -> None:
    for call in (
        ["forecast", "compare", str(sample()), str(sample()), "--at", "-1"],
        ["forecast", "allocate", str(sample()), "--compute", "1e13", "--flops-per-s", "0"],
    ):
        result = CliRunner().invoke(app, call)
        assert isinstance(result.exception, GnomonError) and "positive" in str(result.exception)
