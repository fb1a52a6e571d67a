"""`gnomon forecast`: laws and intervals, from any run table. The registry's verbs are in cli/registry.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import Columns, Json, Metric, Parameters, TargetCompute, Tokens, Unit, group, write_json

forecast_app = group("Forecasts: laws, intervals, the registry.")


@forecast_app.command("doctor")
def forecast_doctor(
    table: Path, metric: Metric = None, columns: Columns = None, unit: Unit = None, json_file: Json = None
) -> None:
    """What would ruin a forecast from this table, before any fit."""
    from gnomon.workflow.forecasting import doctor_lines, doctor_table, open_table

    name, findings = doctor_table(open_table(table, columns, unit), metric)
    for line in doctor_lines(findings):
        print(line)
    write_json(json_file, {"metric": name, "findings": findings})


@forecast_app.command("fit")
def forecast_fit(
    table: Path,
    compute: TargetCompute,
    metric: Metric = None,
    parameters: Parameters = None,
    tokens: Tokens = None,
    columns: Columns = None,
    unit: Unit = None,
    json_file: Json = None,
) -> None:
    """Forecast a target from a run table, with every law's opinion."""
    from gnomon.workflow.forecasting import fit_table, open_table

    forecast, lines = fit_table(open_table(table, columns, unit), metric, compute, parameters, tokens)
    for line in lines:
        print(line)
    write_json(json_file, forecast)


@forecast_app.command("sample")
def forecast_sample(out: Annotated[Path, typer.Argument(help="Where to put it.")] = Path("runs.csv")) -> None:
    """Write a table of 23 real runs to try the verbs on."""
    from gnomon.workflow.forecasting import copy_sample

    print(copy_sample(out))


@forecast_app.command("plot")
def forecast_plot(
    table: Path,
    compute: TargetCompute,
    out: Annotated[Path, typer.Option("--out", help="Folder for four SVG files and one page.")],
    metric: Metric = None,
    parameters: Parameters = None,
    tokens: Tokens = None,
    columns: Columns = None,
    unit: Unit = None,
) -> None:
    """Draw a forecast: runs and interval, what each law says and leaves over, what would have been said earlier."""
    from gnomon.workflow.forecasting import open_table
    from gnomon.workflow.picturing import plot

    for line in plot(open_table(table, columns, unit), table.name, compute, out, metric, parameters, tokens):
        print(line)
