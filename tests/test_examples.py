"""The examples run, and what they add takes part."""

from __future__ import annotations

import random
import runpy
from pathlib import Path

import pytest

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
EXTEND = Path(__file__).parents[1] / "examples" / "extend.py"


@pytest.fixture(scope="module")
def extend():
    pytest.importorskip("torch")
    return runpy.run_path(str(EXTEND))


@pytest.fixture
def table(tmp_path) -> Path:
    """Five budgets of five sizes each, on a known surface, as anybody's CSV."""
    lines = ["run_id,budget,flops,parameters_matmul,tokens,bits_per_byte_documents,stderr_documents"]
    for budget in (1e10, 3e10, 1e11, 3e11, 1e12):
        for size in (0.25, 0.5, 1, 2, 4):
            parameters = size * (budget / 6 / 30) ** 0.5
            tokens = budget / 6 / parameters
            loss = 0.6 + 9 / parameters**0.3 + 20 / tokens**0.28
            lines.append(f"{budget:g}-{size},{budget},{budget},{parameters},{tokens},{loss},0.001")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_law_takes_part_in_the_forecast(extend, table):
    given = extend["forecast_with_my_law"](table)
    members = {c["name"]: c for c in given.components}
    assert "log power" in members and len(members) > 6
    assert 0 < given.median < given.last_point
    assert 0 < members["log power"]["median"] < given.last_point


def test_the_term_is_minimised_and_seen_in_the_metrics(extend, tmp_path):
    from gnomon.train.metrics import read_metrics

    text = tmp_path / "text"
    text.mkdir()
    chosen = random.Random(0)
    for i in range(150):
        (text / f"{i}.txt").write_text(" ".join(f"{chosen.choice(WORDS)} {chosen.randrange(100)}" for _ in range(60)))
    result = extend["train_with_my_term"](text, tmp_path / "home")
    assert result.status == "done"
    assert any("ConfidencePenalty(weight=0.1" in term for term in result.terms)
    (run,) = (tmp_path / "home" / "runs").iterdir()
    curve = read_metrics(run / "metrics.parquet")
    assert curve[-1]["loss_nats"] < curve[0]["loss_nats"]
    assert curve[-1]["confidence_penalty"] < 0
