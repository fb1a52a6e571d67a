"""Pictures of anybody's table: four files, and one page that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from gnomon.forecast import RunTable
from gnomon.workflow.picturing import frontier, history, loss_table, plot


def table_of(budgets: tuple[float, ...] = (1e18, 3e18, 1e19, 3e19), name: str = "<b>run</b>") -> RunTable:
    rows = []
    for budget in budgets:
        for k in (0.3, 1, 3):
            size = k * (budget / 6 / 20) ** 0.5
            tokens = budget / 6 / size
            loss = 1.7 + 400 / size**0.34 + 410 / tokens**0.28
            row = {"flops": budget, "parameters_matmul": size, "tokens": tokens, "budget": budget, "loss": loss}
            rows.append({"run_id": f"{name}-{budget:g}-{k}", **row})
    return RunTable.from_rows(rows)


@pytest.fixture(scope="module")
def plotted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("plots") / "new"
    return out, list(plot(table_of(), "my <table>.csv", 1e22, out, "loss"))


def test_four_files_and_a_page_are_written_and_named(plotted) -> None:
    out, lines = plotted
    names = {"forecast.svg", "residuals.svg", "forms.svg", "history.svg", "forecast.html"}
    assert {path.name for path in out.iterdir()} == names
    for name in names:
        assert any(str(out / name) in line for line in lines)
    for path in out.glob("*.svg"):
        ET.fromstring(path.read_text().split("?>", 1)[1])


def test_the_page_asks_nobody_and_runs_only_its_own_script(plotted) -> None:
    page = (plotted[0] / "forecast.html").read_text()
    outside = [
        url for url in re.findall(r"""(?:src|href|url\()=?["']?([^"')\s>]+)""", page) if not url.startswith("data:")
    ]
    assert outside == []
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert page.count("<script") == 1


def test_names_from_the_table_stay_data(plotted) -> None:
    out, _ = plotted
    page = (out / "forecast.html").read_text()
    assert "<b>run" not in page and "&lt;b&gt;run&lt;/b&gt;-1e+18-1" in page and "my &lt;table&gt;.csv" in page


def test_the_page_says_that_nothing_is_sealed(plotted) -> None:
    assert "Not sealed" in (plotted[0] / "forecast.html").read_text()
    assert "fit, never sealed" in (plotted[0] / "forecast.svg").read_text()


def test_the_past_is_forecast_from_the_past_alone(fitted) -> None:
    """Losses of later runs do not change what earlier runs would have said of them."""
    table = table_of()
    cuts = history(table, fitted)
    changed = dict(table.columns)
    changed["loss"] = np.where(table["flops"] > 2e19, table["loss"] * 0.9, table["loss"])
    other = history(RunTable(changed), fitted)
    assert cuts and all(look.ratio > 1 for cut in cuts for look in cut.looks)
    earlier = [cut for cut in cuts if cut.compute < 2e19]
    assert earlier and all(cut == o for cut in earlier for o in other if o.compute == cut.compute)


@pytest.fixture(scope="module")
def fitted():
    from gnomon.forecast import fit

    return fit(table_of(), "loss", draws=30)


def test_best_runs_are_those_of_the_budgets_or_else_of_the_frontier(fitted) -> None:
    assert frontier(fitted).sum() == 4
    alone = type(fitted.runs)(**{**fitted.runs.__dict__, "budget": np.full(len(fitted.runs), -1)})
    mask = frontier(type(fitted)(**{**fitted.__dict__, "runs": alone}))
    best = alone.loss[mask][np.argsort(alone.compute[mask], kind="stable")]
    assert (np.diff(best) <= 0).all() and mask.sum() >= 4


def test_a_target_of_odd_size_is_drawn_along_runs_like_itself(fitted) -> None:
    target = fitted.target(1e22, 1e9)
    drawn = loss_table(fitted, target, fitted.predict(target))
    assert drawn.law[-1][0] == pytest.approx(1e22)
    assert drawn.law[-1][1].median == pytest.approx(fitted.predict(target).median)
    assert drawn.law[-1][1].median > fitted.predict(fitted.target(1e22)).median
