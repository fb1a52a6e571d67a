"""`gnomon forecast`, the registry's verbs: seal a forecast, report what came, check everything, find witnesses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.forecast import forecast_app
from gnomon.cli.options import HOME, Home, Json, Overrides, RecipeName, write_json


@forecast_app.command("register")
def forecast_register(recipe: RecipeName = "quickstart", overrides: Overrides = None, home: Home = HOME) -> None:
    """Seal the forecast of a recipe's target from its finished ladder."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.forecasting import register

    for line in register(load_recipe(recipe, overrides or ()), home):
        print(line)


@forecast_app.command("verify")
def forecast_verify(home: Home = HOME, json_file: Json = None) -> None:
    """Check the chain against the runs, and score every forecast that has its outcome."""
    from gnomon.workflow.verdict import verify_home

    verdict = verify_home(home)
    for line in verdict.lines:
        print(line)
    write_json(json_file, {"forecasts": verdict.forecasts, "registry_ok": not verdict.problems})
    if verdict.problems:
        raise typer.Exit(1)


@forecast_app.command("log")
def forecast_log(home: Home = HOME) -> None:
    """How many forecasts were registered, finished, deviated, abandoned; then each of them."""
    from gnomon.workflow.verdict import log_lines

    for line in log_lines(home):
        print(line)


@forecast_app.command("abandon")
def forecast_abandon(
    entry: Annotated[str, typer.Argument(help="Hash of the forecast, or the start of it.")],
    why: Annotated[str, typer.Option("--why", help="The reason, kept for ever.")],
    home: Home = HOME,
) -> None:
    """Give a registered forecast up, in the open."""
    from gnomon.workflow.verdict import abandon

    print(abandon(home, entry, why))


@forecast_app.command("mend")
def forecast_mend(home: Home = HOME) -> None:
    """Set a last line of the registry aside that a power cut left half written; nothing else changes."""
    from gnomon.workflow.verdict import mend

    print(mend(home))


@forecast_app.command("proof")
def forecast_proof(
    entry: Annotated[str, typer.Argument(help="Hash of the forecast, or the start of it.")],
    out: Annotated[Path, typer.Option("--out", help="The file to commit or to send.")],
    home: Home = HOME,
) -> None:
    """Export an entry with its chain, as a file that others can check."""
    from gnomon.workflow.verdict import export

    print(export(home, entry, out))
