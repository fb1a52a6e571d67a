"""What became of the forecasts: scores, the log, verification of chain and runs, proofs for others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.forecast import Forecast, Score, score
from gnomon.registry import Entry, Registry, attestation
from gnomon.registry.proof import export_proof
from gnomon.workflow.study import verify_home_registry


def sealed_forecasts(entry: Entry) -> dict[str, Forecast]:
    """The forecasts in an entry, by metric, as they were sealed."""
    return {metric: Forecast.from_dict(value) for metric, value in entry.body["forecasts"].items()}


def outcomes(entry: Entry, evaluations: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What each metric of an entry came to; a metric without its evaluation is missing."""
    found = {}
    for metric in entry.body["metrics"]:
        name = metric.removeprefix("bits_per_byte_")
        if name in evaluations:
            found[metric] = float(evaluations[name]["bits_per_byte"])
    return found


def scores(entry: Entry, result: dict[str, Any]) -> dict[str, Score]:
    """Each metric's score against the sealed forecast; empty when the target diverged."""
    if result["status"] != "done":
        return {}
    forecasts = sealed_forecasts(entry)
    return {metric: score(forecasts[metric], value) for metric, value in outcomes(entry, result["evaluations"]).items()}


def forecast_rows(entry: Entry, result: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One object a metric for machines; without an outcome its last five values are null."""
    found = scores(entry, result) if result else {}
    values = outcomes(entry, result["evaluations"]) if result and result["status"] == "done" else {}
    rows = []
    for metric, forecast in sealed_forecasts(entry).items():
        verdict = found.get(metric)
        rows.append(
            {
                "metric": metric,
                "unit": forecast.unit,
                "median": forecast.median,
                "q05": forecast.quantiles["0.05"],
                "q95": forecast.quantiles["0.95"],
                "outcome": values.get(metric),
                "error_pct": verdict.error_pct if verdict else None,
                "last_point_error_pct": verdict.last_point_error_pct if verdict else None,
                "inside_90": verdict.inside_90 if verdict else None,
                "crps": verdict.crps if verdict else None,
            }
        )
    return rows


@dataclass(frozen=True)
class Verdict:
    """lines: for people. forecasts: rows for machines, with target and status. problems: of the registry."""

    lines: list[str]
    forecasts: list[dict[str, Any]]
    problems: list[str]


def verify_home(home: Path) -> Verdict:
    """Check the chain and its runs, and score every forecast that is closed."""
    registry = _registry(home)
    problems = [f"{p.kind}: {p.message}" for p in verify_home_registry(home)]
    lines = [f"PROBLEM  {p}" for p in problems]
    rows: list[dict[str, Any]] = []
    if not any(p.startswith(("edited", "deleted", "reordered", "duplicate", "torn", "newer")) for p in problems):
        for entry in registry.entries("forecast"):
            rows += _scored(registry, entry, lines)
        lines.append(registry.log().text)
    lines.append("registry ok" if not problems else f"registry NOT ok: {len(problems)} problems")
    return Verdict(lines, rows, problems)


def _scored(registry: Registry, entry: Entry, lines: list[str]) -> list[dict[str, Any]]:
    status = registry.status(entry.hash)
    outcome = registry.outcome(entry.hash)
    rows = forecast_rows(entry, outcome.body if outcome else None)
    lines.append(
        f"{entry.hash[:12]}  {entry.body['target'].get('study', '')}  {status}  {attestation(registry, entry).label}"
    )
    for row in rows:
        interval = f"{row['q05']:.4f}–{row['q95']:.4f}"
        if row["outcome"] is None:
            lines.append(f"  {row['metric']}: {row['median']:.4f} ({interval} at 90 %), no outcome yet")
            continue
        inside = "inside" if row["inside_90"] else "OUTSIDE"
        lines.append(
            f"  {row['metric']}: said {row['median']:.4f} ({interval}), was {row['outcome']:.4f}: "
            f"off by {row['error_pct']:.2f} %, {inside} the 90 % interval; the last point was off by "
            f"{row['last_point_error_pct']:.1f} %; CRPS {row['crps']:.4f}"
        )
    return [
        {"entry": entry.hash, "study": entry.body["target"].get("study", ""), "status": status, **row} for row in rows
    ]


def log_lines(home: Path) -> Iterator[str]:
    """The log line, then a line a forecast."""
    registry = _registry(home)
    yield registry.log().text
    for entry in registry.entries("forecast"):
        said = ", ".join(f"{m} {f.median:.4f} ± {f.half_width_pct:.1f} %" for m, f in sealed_forecasts(entry).items())
        spent = math.fsum(entry.body["compute_before_registration"].values())
        yield (
            f"{entry.hash[:12]}  {entry.time}  {registry.status(entry.hash):9}  "
            f"{entry.body['target'].get('study', '')}  {said}; "
            f"{spent:.3g} FLOPs spent before it"
        )


def abandon(home: Path, prefix: str, why: str) -> str:
    """Give a forecast up, for ever."""
    registry = _registry(home)
    entry = registry.entry(prefix)
    registry.abandon(entry.hash, why)
    return f"{entry.hash[:12]} is abandoned: {why}"


def export(home: Path, prefix: str, out: Path) -> str:
    """Write a proof of an entry that others can check without this home."""
    registry = _registry(home)
    entry = registry.entry(prefix)
    export_proof(registry, entry.hash, out)
    return f"{out}: commit it to a place you do not control, and the forecast has a witness"


def _registry(home: Path) -> Registry:
    path = home / "forecasts.jsonl"
    if not path.exists():
        raise GnomonError(
            f"{path}: no forecast was registered here; `gnomon quickstart` or `gnomon forecast register` makes one"
        )
    return Registry(path)


def mend(home: Path) -> str:
    """Set a last line aside that a power cut left half written."""
    return _registry(home).mend() or f"{home / 'forecasts.jsonl'}: its last line is whole; there is nothing to mend"
