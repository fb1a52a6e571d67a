"""Closed forecasts set the width of the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon.forecast import Forecast, read
from gnomon.registry import Registry
from gnomon.workflow.learning import closed_forecasts, width_factor
from gnomon.workflow.registering import Wish, register_table, report_outcome


def table_of(folder: Path) -> Path:
    lines = ["run_id,flops,parameters_matmul,tokens,loss"]
    for budget in (1e18, 3e18, 1e19, 3e19, 1e20):
        for k in (0.25, 0.5, 1, 2, 4):
            size = k * (budget / 6 / 20) ** 0.5
            tokens = budget / 6 / size
            lines.append(f"{budget:g}-{k},{budget},{size},{tokens},{1.7 + 400 / size**0.34 + 410 / tokens**0.28}")
    path = folder / "mine.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def seal(home: Path, compute: float, name: str) -> Forecast:
    """The forecast that registering the table's run of that compute sealed."""
    wish = Wish(table_of(home), compute, name=name, deadline="2999-01-31", tuning_flops=0.0)
    list(register_table(wish, read(wish.table), home))
    entry = Registry(home / "forecasts.jsonl").entries("forecast")[-1]
    return Forecast.from_dict(next(iter(entry.body["forecasts"].values())))


@pytest.mark.parametrize(("off", "wider"), [(1.0, False), (1.3, True)])
def test_a_closed_forecast_narrows_or_widens_the_next(tmp_path: Path, off: float, wider: bool) -> None:
    assert width_factor(tmp_path) == 1.0
    first = seal(tmp_path, 1e22, "first")
    assert width_factor(tmp_path) == 1.0 == first.seen["width_factor"]
    registry = Registry(tmp_path / "forecasts.jsonl")
    list(report_outcome(tmp_path, registry.entries("forecast")[0].hash[:12], first.median * off))
    assert len(closed_forecasts(registry)) == 1
    second = seal(tmp_path, 1.1e22, "second")
    assert second.seen["width_factor"] == pytest.approx(width_factor(tmp_path))
    assert (second.half_width_pct > first.half_width_pct) is wider and second.seen["width_factor"] != 1.0
