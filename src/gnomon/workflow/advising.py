"""`gnomon forecast next`, `compare`, `allocate`: anybody's run tables in, advice in words and as values out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gnomon.forecast import fit, metric_of, target_of
from gnomon.forecast.advice.allocation import Advice, Price, advice_lines, allocate
from gnomon.forecast.advice.compare import Comparison, compare, comparison_lines
from gnomon.forecast.advice.design import Proposal, next_rung, proposal_lines
from gnomon.workflow.forecasting import open_table

Columns = Sequence[str] | None


def next_lines(
    path: Path,
    compute: float,
    budget: float,
    metric: str | None,
    parameters: float | None,
    tokens: float | None,
    most: int,
    columns: Columns = None,
    unit: str | None = None,
) -> tuple[list[Proposal], list[str]]:
    """Runs to do next for a forecast of that compute, within a budget of FLOPs."""
    table = open_table(path, columns, unit)
    name = metric_of(table, metric)
    fitted = fit(table, name)
    target = target_of(fitted, compute, parameters, tokens)
    proposals = next_rung(fitted, target, budget, most=most)
    return proposals, proposal_lines(proposals, target, name)


def compare_lines(
    path_a: Path,
    path_b: Path,
    at: float,
    metric: str | None,
    parameters: float | None,
    columns: Columns = None,
    unit: str | None = None,
) -> tuple[Comparison, list[str]]:
    """Two tables at a compute; the metric is the first table's."""
    table_a, table_b = (open_table(path, columns, unit) for path in (path_a, path_b))
    name = metric_of(table_a, metric)
    result = compare(table_a, table_b, at, name, parameters)
    return result, comparison_lines(result, name)


def allocate_lines(
    path: Path,
    compute: float,
    serve: float,
    threshold: float | None,
    price: Price | None,
    metric: str | None,
    columns: Columns = None,
    unit: str | None = None,
) -> tuple[Advice, list[str]]:
    """Size and tokens for a compute; one more rung is always priced."""
    table = open_table(path, columns, unit)
    name = metric_of(table, metric)
    advice = allocate(table, compute, name, serve, threshold, price, rung=True)
    return advice, advice_lines(advice, name)
