"""`gnomon forecast`, the registry's verbs: seal a forecast, report what came, check everything, find witnesses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.forecast import forecast_app
from gnomon.cli.options import HOME, Columns, Home, Json, Metric, Overrides, Parameters, Tokens, Unit, write_json

Prefix = Annotated[str, typer.Argument(metavar="ENTRY", help="Hash of the forecast, or the start of it.")]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="PEM certificates to trust for time stamps; default: this machine's.")
]


@forecast_app.command("register")
def forecast_register(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A table of runs, or a recipe's name or YAML file.")],
    overrides: Overrides = None,
    target: Annotated[float | None, typer.Option("--target", "--compute", help="FLOPs of a table's target.")] = None,
    metric: Metric = None,
    parameters: Parameters = None,
    tokens: Tokens = None,
    name: Annotated[str, typer.Option("--name", help="What the target is called.")] = "",
    definition: Annotated[str, typer.Option("--definition", help="Which number counts as the outcome.")] = "",
    deadline: Annotated[str, typer.Option("--deadline", help="Day by which the outcome is known, YYYY-MM-DD.")] = "",
    tuning: Annotated[float, typer.Option("--tuning-flops", min=0, help="Spent on tuning before, in FLOPs.")] = 0.0,
    columns: Columns = None,
    unit: Unit = None,
    home: Home = HOME,
) -> None:
    """Seal a forecast: of any run, from a table (--target), or of a gnomon recipe's target from its finished ladder."""
    from gnomon.common.errors import GnomonError
    from gnomon.workflow.registering import Wish, is_table, register_table

    if is_table(what, target is not None):
        from gnomon.workflow.forecasting import open_table

        if target is None:
            raise GnomonError(f"{what} is taken as a table of runs; --target FLOPS says how big the run to forecast is")
        if overrides:
            raise GnomonError(f"{overrides[0]}: overrides belong to a recipe, and {what} is taken as a table of runs")
        wish = Wish(Path(what), target, metric, parameters, tokens, name, definition, deadline, tuning)
        lines = register_table(wish, open_table(wish.table, columns, unit), home)
    else:
        given: dict[str, object] = {"--metric": metric, "--parameters": parameters, "--tokens": tokens, "--name": name}
        given |= {"--target": target, "--definition": definition, "--deadline": deadline, "--tuning-flops": tuning}
        given |= {"--column": columns, "--unit": unit}
        for option, value in given.items():
            if value:
                raise GnomonError(
                    f"{option} belongs to a table of runs, and {what} is taken as a recipe, which says it"
                )
        from gnomon.recipe.load import load_recipe
        from gnomon.workflow.forecasting import register

        print(f"{what}: taken as a recipe")
        lines = register(load_recipe(what, overrides or ()), home)
    for line in lines:
        print(line)


@forecast_app.command("outcome")
def forecast_outcome(
    entry: Prefix,
    value: Annotated[float | None, typer.Argument(metavar="[VALUE]", help="What the run reached.")] = None,
    stderr: Annotated[float | None, typer.Option("--stderr", help="Standard error of the value.")] = None,
    status: Annotated[str, typer.Option("--status", help="done, diverged or abandoned.")] = "done",
    why: Annotated[str, typer.Option("--why", help="A note; the reason of an abandoned run.")] = "",
    run: Annotated[str, typer.Option("--run", help="What you call the run.")] = "",
    deviated: Annotated[str, typer.Option("--deviated", help="How the run differed from what was registered.")] = "",
    home: Home = HOME,
) -> None:
    """Close a forecast of a run that gnomon did not train; the registry marks it as reported by hand."""
    from gnomon.workflow.registering import report_outcome

    for line in report_outcome(home, entry, value, stderr, status, why, run, deviated):
        print(line)


@forecast_app.command("anchor")
def forecast_anchor(
    entry: Prefix,
    commit: Annotated[str, typer.Option("--commit", help="A pushed commit that holds the entry.")] = "",
    file: Annotated[Path | None, typer.Option("--file", help="What was committed; default: the registry.")] = None,
    stamp: Annotated[str, typer.Option("--stamp", help="An RFC 3161 authority's address, or its response file.")] = "",
    ca_file: Authority = None,
    home: Home = HOME,
) -> None:
    """Note an outside witness: without one a forecast is self-attested. --stamp URL asks over the network."""
    from gnomon.workflow.registering import anchor

    for line in anchor(home, entry, commit, file, stamp, ca_file):
        print(line)


@forecast_app.command("verify")
def forecast_verify(home: Home = HOME, ca_file: Authority = None, json_file: Json = None) -> None:
    """Check the chain against the runs, and score every forecast that has its outcome."""
    from gnomon.workflow.verdict import verify_home

    verdict = verify_home(home, ca_file)
    for line in verdict.lines:
        print(line)
    write_json(json_file, {"forecasts": verdict.forecasts, "registry_ok": not verdict.problems})
    if verdict.problems:
        raise typer.Exit(1)


@forecast_app.command("list")
def forecast_list(home: Home = HOME, ca_file: Authority = None) -> None:
    """Every forecast: what it says, where it stands, who vouches for it."""
    from gnomon.workflow.verdict import list_lines

    for line in list_lines(home, ca_file):
        print(line)


@forecast_app.command("log")
def forecast_log(home: Home = HOME) -> None:
    """How many forecasts were registered, finished, deviated, abandoned; then what happened, in order."""
    from gnomon.workflow.verdict import log_lines

    for line in log_lines(home):
        print(line)


@forecast_app.command("abandon")
def forecast_abandon(
    entry: Prefix,
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
    entry: Prefix,
    out: Annotated[Path, typer.Option("--out", help="The file to commit or to send.")],
    home: Home = HOME,
) -> None:
    """Export an entry with its chain, as a file that others can check."""
    from gnomon.workflow.verdict import export

    print(export(home, entry, out))


@forecast_app.command("check-proof")
def forecast_check_proof(
    proof: Annotated[Path, typer.Argument(metavar="FILE", help="What `gnomon forecast proof` wrote.")],
    home: Annotated[Path | None, typer.Option("--home", help="The home it came from, to compare with.")] = None,
) -> None:
    """Check a proof that somebody handed you; with --home also that its registry still says the same."""
    from gnomon.workflow.registering import check_proof

    lines, holds = check_proof(proof, home)
    for line in lines:
        print(line)
    if not holds:
        raise typer.Exit(1)
