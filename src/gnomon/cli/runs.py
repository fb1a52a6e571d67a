"""`gnomon runs`: list, show, prune."""

from __future__ import annotations

from typing import Annotated

import typer

from gnomon.cli.options import HOME, Home, group

runs_app = group("Runs: list, show, prune.")


@runs_app.command("list")
def runs_list(home: Home = HOME) -> None:
    """Every run, its state, its loss and its place on disk."""
    from gnomon.workflow.runs import list_lines

    for line in list_lines(home):
        print(line)


@runs_app.command("show")
def runs_show(run: str, home: Home = HOME) -> None:
    """One run: plan, state, results."""
    from gnomon.workflow.runs import show_lines

    for line in show_lines(home, run):
        print(line)


@runs_app.command("prune")
def runs_prune(
    home: Home = HOME, yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what.")] = False
) -> None:
    """Free the disk of checkpoints that finished runs no longer need."""
    from gnomon.workflow.runs import prune_lines

    for line in prune_lines(home, yes):
        print(line)
