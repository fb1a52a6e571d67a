"""What closed forecasts teach the next one: by how much the shipped widths were off, in this home."""

from __future__ import annotations

from pathlib import Path

from gnomon.forecast.intervals import updated_factor
from gnomon.forecast.values import Forecast
from gnomon.registry import Registry
from gnomon.workflow.verdict import outcomes, sealed_forecasts


def closed_forecasts(registry: Registry) -> list[tuple[Forecast, float]]:
    """Every sealed forecast whose target went as planned, with its outcome."""
    closed = []
    for entry in registry.entries("forecast"):
        outcome = registry.outcome(entry.hash)
        if outcome is None or registry.status(entry.hash) != "finished":
            continue
        forecasts = sealed_forecasts(entry)
        closed += [(forecasts[name], value) for name, value in outcomes(entry, outcome.body["evaluations"]).items()]
    return closed


def width_factor(home: Path) -> float:
    """By what to multiply the interval of the next forecast; 1 where nothing has been closed."""
    path = home / "forecasts.jsonl"
    if not path.exists():
        return 1.0
    return updated_factor(closed_forecasts(Registry(path)))
