"""Learning curves (arXiv:2209.06640): fit the points marked for training, forecast the rest; RMSE of the log loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gnomon.forecast.scorecard.families import Curve
from gnomon.forecast.scorecard.method import Method
from gnomon.forecast.scorecard.protocols.asking import Tick, refuse_seen


def curve_errors(method: Method, curves: Sequence[Curve], tick: Tick = lambda _: None) -> dict[str, float] | None:
    """Curve's name -> RMSE of log loss over the points to forecast; None when the method forecasts no curves."""
    errors: dict[str, float] = {}
    for curve in curves:
        refuse_seen(method, curve.source)
        train, test = curve.is_train, ~curve.is_train
        forecast = method.curve(curve.x[train], curve.y[train], curve.x[test], curve.source)
        if forecast is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.log(np.maximum(forecast, 1e-12) / curve.y[test])
        errors[curve.name] = float(np.sqrt(np.mean(gap**2)))
        tick(curve.name)
    return errors


def summary(errors: dict[str, float], bnsl: dict[str, float] | None, domains: dict[str, str]) -> dict[str, Any]:
    """Mean and median over curves; beats_bnsl: share of curves with a smaller error than BNSL's; by_domain: means."""
    values = np.array(list(errors.values()))
    beats = float(np.mean([errors[n] < bnsl[n] for n in errors])) if bnsl and errors else None
    names = sorted(set(domains.values()))
    return {
        "mean_rmse": float(values.mean()),
        "median_rmse": float(np.median(values)),
        "curves": len(values),
        "beats_bnsl": beats,
        "by_domain": {d: float(np.mean([e for n, e in errors.items() if domains[n] == d])) for d in names},
    }
