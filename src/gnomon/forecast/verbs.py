"""The short way in: a table, a target, a forecast; and the sample table that the documentation uses.

    forecast(sample(), target=2.5e13, metric="bits_per_byte_codebase").median

The other verbs (read, fit, compare, next_rung) are this room's own functions; see gnomon.forecast.
"""

from __future__ import annotations

from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.forecast.combine import Fit, fit
from gnomon.forecast.metrics import choose_metric
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Forecast, Target


def sample() -> Path:
    """The shipped table: 23 runs of gnomon's quickstart ladder, seed 1: 5e10 to 8e11 FLOPs, two held-out sets.

    Its target, 2.5e13 FLOPs, was trained after the forecast was sealed; docs/forecast.md tells what came.
    """
    return Path(__file__).with_name("sample.csv")


def forecast(
    table: RunTable | Path | str,
    target: Target | float,
    metric: str | None = None,
    parameters: float | None = None,
    tokens: float | None = None,
) -> Forecast:
    """What the target will reach, by gnomon's own method.

    table: runs, or the file that holds them. target: a Target, or training FLOPs; then parameters (default: the best
    size for that compute) and tokens (default: as many as the compute pays for) may be given. metric: the column to
    forecast, in its unit; default: the likeliest loss. Raises GnomonError with what rules a forecast out.
    """
    runs = table if isinstance(table, RunTable) else _read(table)
    fitted = fit(runs, metric_of(runs, metric))
    if isinstance(target, Target):
        return fitted.predict(target)
    return fitted.predict(target_of(fitted, target, parameters, tokens))


def target_of(fitted: Fit, compute: float, parameters: float | None = None, tokens: float | None = None) -> Target:
    """The run asked about: compute in FLOPs; size and tokens where they are not the best ones for it.

    Raises GnomonError when tokens are given without parameters, or a number is not positive.
    """
    if tokens is None:
        Target(compute, parameters or 1.0, 1.0)  # names what is not positive
        return fitted.target(compute, parameters)
    if parameters is None:
        raise GnomonError("target: tokens are given and parameters are not; give both, or neither for the best size")
    return Target(compute, parameters, tokens)


def metric_of(table: RunTable, metric: str | None = None) -> str:
    """The metric to forecast: the one asked for, else the likeliest loss; see metrics.choose_metric."""
    return choose_metric(table, metric)[0]


def _read(path: Path | str) -> RunTable:
    from gnomon.forecast import read

    return read(path)
