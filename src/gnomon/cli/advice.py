"""`gnomon forecast next`, `compare`, `allocate`: what to run next, which recipe, and how to spend a compute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.forecast import forecast_app
from gnomon.cli.options import Columns, Json, Metric, Parameters, TargetCompute, Tokens, Unit, write_json


@forecast_app.command("next")
def forecast_next(
    table: Path,
    compute: TargetCompute,
    budget: Annotated[float, typer.Option("--budget", help="FLOPs that all new runs may take together.")],
    metric: Metric = None,
    parameters: Parameters = None,
    tokens: Tokens = None,
    most: Annotated[int, typer.Option("--most", min=1, help="No more proposals than this.")] = 8,
    columns: Columns = None,
    unit: Unit = None,
    json_file: Json = None,
) -> None:
    """The runs that narrow the target's forecast most per FLOP: sizes, seeds, rates to tune."""
    from gnomon.workflow.advising import next_lines

    proposals, lines = next_lines(table, compute, budget, metric, parameters, tokens, most, columns, unit)
    for line in lines:
        print(line)
    write_json(json_file, proposals)


@forecast_app.command("compare")
def forecast_compare(
    a: Path,
    b: Path,
    at: Annotated[float, typer.Option("--at", help="Training FLOPs at which A and B are compared.")],
    metric: Metric = None,
    parameters: Parameters = None,
    columns: Columns = None,
    unit: Unit = None,
    json_file: Json = None,
) -> None:
    """Which of two ladders is better at a compute: the gap, its chance, where the order changes, the regret."""
    from gnomon.workflow.advising import compare_lines

    result, lines = compare_lines(a, b, at, metric, parameters, columns, unit)
    for line in lines:
        print(line)
    write_json(json_file, result)


@forecast_app.command("allocate")
def forecast_allocate(
    table: Path,
    compute: Annotated[float, typer.Option("--compute", help="Training FLOPs to spend.")],
    serve: Annotated[float, typer.Option("--serve", help="Tokens to be served over the model's life.")] = 0.0,
    threshold: Annotated[float | None, typer.Option("--threshold", help="A loss whose chance is wanted.")] = None,
    flops_per_s: Annotated[float | None, typer.Option("--flops-per-s", help="Peak of one device.")] = None,
    price: Annotated[float, typer.Option("--price", help="Of one device for an hour.")] = 0.0,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many devices train.")] = 1,
    utilisation: Annotated[float, typer.Option("--utilisation", help="Share of the peak that is reached.")] = 0.4,
    metric: Metric = None,
    columns: Columns = None,
    unit: Unit = None,
    json_file: Json = None,
) -> None:
    """The best size and tokens for a compute, what they cost, and whether one more rung would pay."""
    from gnomon.forecast.advice.allocation import Price
    from gnomon.workflow.advising import allocate_lines

    paid = None if flops_per_s is None else Price(flops_per_s, price, devices, utilisation)
    advice, lines = allocate_lines(table, compute, serve, threshold, paid, metric, columns, unit)
    for line in lines:
        print(line)
    write_json(json_file, advice)
