"""How good a forecast was, once the outcome is known: error, interval, CRPS, Winkler score.

CRPS and the Winkler score are proper: a forecaster can lower them only by saying what he believes (Gneiting and Raftery
2007). Both are in the metric's unit, lower is better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.values import Forecast


@dataclass(frozen=True)
class Score:
    """error_pct: |median/outcome - 1| in percent; last_point_error_pct: the same for the best rung."""

    outcome: float
    error_pct: float
    last_point_error_pct: float
    inside_90: bool
    inside_80: bool
    crps: float
    winkler_90: float


def score(forecast: Forecast, outcome: float) -> Score:
    """Raises GnomonError when the outcome is no positive number (a run that diverged has none)."""
    if not (math.isfinite(outcome) and outcome > 0):
        raise GnomonError(f"outcome is {outcome!r}; a positive number is expected, and a diverged run has none")
    q, outcome = forecast.quantiles, float(outcome)
    return Score(
        outcome=outcome,
        error_pct=100 * abs(forecast.median / outcome - 1),
        last_point_error_pct=100 * abs(forecast.last_point / outcome - 1),
        inside_90=q["0.05"] <= outcome <= q["0.95"],
        inside_80=q["0.1"] <= outcome <= q["0.9"],
        crps=crps(q, outcome),
        winkler_90=winkler(q["0.05"], q["0.95"], outcome, 0.1),
    )


def crps(quantiles: dict[str, float], outcome: float) -> float:
    """Integral of (F(y) - [y >= outcome])^2, exact for F linear between the quantiles.

    Beyond the outermost quantiles F goes on in a straight line to 0 and to 1, at half the slope of the last piece:
    tails are thinner than middles.
    """
    levels, values = _extended(quantiles)
    # The outcome splits one piece in two, so that the step lies on a corner.
    at = float(np.interp(outcome, values, levels, left=0.0, right=1.0))
    x = np.concatenate([values, [outcome]])
    f = np.concatenate([levels, [at]])
    order = np.argsort(x, kind="stable")
    x, f = x[order], f[order]
    middle = (x[:-1] + x[1:]) / 2
    above = middle >= outcome
    left, right = f[:-1] - above, f[1:] - above
    return float((np.diff(x) * (left**2 + left * right + right**2) / 3).sum())


def _extended(quantiles: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    pairs = sorted((float(level), value) for level, value in quantiles.items())
    levels, values = (np.array(column) for column in zip(*pairs, strict=True))
    low = values[0] - 2 * levels[0] * (values[1] - values[0]) / (levels[1] - levels[0])
    high = values[-1] + 2 * (1 - levels[-1]) * (values[-1] - values[-2]) / (levels[-1] - levels[-2])
    return np.concatenate([[0.0], levels, [1.0]]), np.concatenate([[low], values, [high]])


def winkler(low: float, high: float, outcome: float, alpha: float) -> float:
    """Width of the interval, plus 2/alpha for each unit that the outcome lies outside."""
    return (high - low) + 2 / alpha * (max(low - outcome, 0.0) + max(outcome - high, 0.0))


def scored_row(forecast: Forecast, outcome: float | None) -> dict[str, Any]:
    """One element of the machine-readable list of forecasts; what needs an outcome is None while there is none."""
    done = score(forecast, outcome) if outcome is not None else None
    return {
        "metric": forecast.metric,
        "unit": forecast.unit,
        "median": forecast.median,
        "q05": forecast.quantiles["0.05"],
        "q95": forecast.quantiles["0.95"],
        "outcome": outcome,
        "error_pct": done.error_pct if done else None,
        "last_point_error_pct": done.last_point_error_pct if done else None,
        "inside_90": done.inside_90 if done else None,
    }
