"""What the pages show works: their Python runs, their commands exist with these options, their links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
import typer

ROOT = Path(__file__).parents[1]
PAGES = (
    "docs/forecast.md",
    "docs/registry.md",
    "docs/peers.md",
    "docs/ladders.md",
    "docs/evals.md",
    "docs/scale.md",
    "docs/autograd.md",
    "docs/muon.md",
    "docs/distributed.md",
    "docs/safety.md",
    "docs/engine.md",
)


def commands(page: str) -> list[str]:
    """Lines that show a command of gnomon's, comments cut off."""
    text = (ROOT / page).read_text()
    return [line.split("  #")[0].strip() for line in re.findall(r"^ *\$ (gnomon .*)$", text, re.MULTILINE)]


SHOWN = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_every_command_that_a_page_shows_is_one(page, command) -> None:
    from gnomon.cli import app

    words = shlex.split(command)[1:]
    here = typer.main.get_command(app)
    while isinstance(here, click.Group):
        here = here.commands[words.pop(0)]
    here.make_context("gnomon", words)  # parses, and calls nothing


def test_the_python_of_docs_forecast_runs(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/forecast.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks:
            exec(compile(block, "docs/forecast.md", "exec"), names)
    assert len(blocks) == 4 and "A is better with probability" in said.getvalue()


def test_the_example_runs_on_the_sample(capsys) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "forecast_your_runs.py"))
    answer = example["main"](example["sample"](), 2.5e13)
    printed = capsys.readouterr().out
    assert f"{answer.median:.3f}" in printed and "A beats B with probability 0.50" in printed
    assert "worth running next" in printed


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page) -> None:
    text = (ROOT / page).read_text()
    anchors = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in anchors
        elif not link.startswith("http"):
            assert (ROOT / page).parent.joinpath(link.split("#")[0]).exists(), link
