"""What became of the forecasts: scores, the log, verification of chain and runs, proofs for others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.forecast import Forecast, Score, score
from gnomon.registry import BY_HAND, Entry, Registry, attestation, by_hand
from gnomon.registry.proof import export_proof
from gnomon.workflow.sealed import home_registry, verify_home_registry


def sealed_forecasts(entry: Entry) -> dict[str, Forecast]:
    """The forecasts in an entry, by metric, as they were sealed."""
    return {metric: Forecast.from_dict(value) for metric, value in entry.body["forecasts"].items()}


def outcomes(entry: Entry, evaluations: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What each metric of an entry came to; a metric without its evaluation is missing."""
    found = {}
    for metric in entry.body["metrics"]:
        name = metric.removeprefix("bits_per_byte_")
        if metric in evaluations:  # reported by hand
            found[metric] = float(evaluations[metric]["value"])
        elif name in evaluations:
            found[metric] = float(evaluations[name]["bits_per_byte"])
    return found


def scores(entry: Entry, result: dict[str, Any]) -> dict[str, Score]:
    """Each metric's score against the sealed forecast; empty when the target diverged."""
    if result["status"] != "done":
        return {}
    forecasts = sealed_forecasts(entry)
    return {metric: score(forecasts[metric], value) for metric, value in outcomes(entry, result["evaluations"]).items()}


def forecast_rows(entry: Entry, result: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One object a metric for machines; what needs an outcome is null while there is none."""
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
                "flag": forecast.flag,
            }
        )
    return rows


@dataclass(frozen=True)
class Verdict:
    """lines: for people. forecasts: rows for machines, with target and status. problems: of the registry."""

    lines: list[str]
    forecasts: list[dict[str, Any]]
    problems: list[str]


def verify_home(home: Path, ca_file: Path | None = None) -> Verdict:
    """Check the chain and its runs, and score every forecast that is closed."""
    registry = home_registry(home)
    problems = [f"{p.kind}: {p.message}" for p in verify_home_registry(home)]
    lines = [f"PROBLEM  {p}" for p in problems]
    rows: list[dict[str, Any]] = []
    if not any(p.startswith(("edited", "deleted", "reordered", "duplicate", "torn", "newer")) for p in problems):
        for entry in registry.entries("forecast"):
            rows += _rows(registry, entry)
            lines += [f"{_named(registry, entry)}  {_witness(registry, entry, ca_file)}"]
            lines += outcome_lines(registry, entry)
        lines.append(registry.log().text)
    lines.append("registry ok" if not problems else f"registry NOT ok: {len(problems)} problems")
    return Verdict(lines, rows, problems)


def _rows(registry: Registry, entry: Entry) -> list[dict[str, Any]]:
    outcome = registry.outcome(entry.hash)
    about = {
        "entry": entry.hash,
        "study": _name(entry),
        "status": registry.status(entry.hash),
        "reported": BY_HAND if outcome and by_hand(outcome.body) else None,
        "deadline": entry.body.get("deadline"),
    }
    return [about | row for row in forecast_rows(entry, outcome.body if outcome else None)]


def _name(entry: Entry) -> str:
    """What people call the target: its study, or the name that its owner gave it."""
    target = entry.body["target"]
    return str(target.get("study") or target.get("name") or "")


def _named(registry: Registry, entry: Entry) -> str:
    due = f", due {entry.body['deadline']}" if "deadline" in entry.body else ""
    return f"{entry.hash[:12]}  {_name(entry)}  {registry.status(entry.hash)}{due}"


def _witness(registry: Registry, entry: Entry, ca_file: Path | None = None) -> str:
    """Who vouches for the forecast's time, and for its outcome."""
    label = attestation(registry, entry, ca_file).label
    outcome = registry.outcome(entry.hash)
    return f"{label}; outcome reported by hand" if outcome is not None and by_hand(outcome.body) else label


def outcome_lines(registry: Registry, entry: Entry) -> Iterator[str]:
    """One line a metric: what was said, what came, how far off it was."""
    outcome = registry.outcome(entry.hash)
    hand = ", reported by hand and verified by no run" if outcome is not None and by_hand(outcome.body) else ""
    if outcome is not None and outcome.body["status"] == "diverged":
        yield f"  the run diverged, which counts as a miss{hand}"
        return
    for row in forecast_rows(entry, outcome.body if outcome else None):
        interval = f"{row['q05']:.4f}–{row['q95']:.4f}"
        if row["outcome"] is None:
            yield f"  {row['metric']}: {row['median']:.4f} ({interval} at 90 %), no outcome yet"
            continue
        inside = "inside" if row["inside_90"] else "OUTSIDE"
        yield (
            f"  {row['metric']}: said {row['median']:.4f} ({interval}), was {row['outcome']:.4f}{hand}: "
            f"off by {row['error_pct']:.2f} %, {inside} the 90 % interval; the last point was off by "
            f"{row['last_point_error_pct']:.1f} %; CRPS {row['crps']:.4f}"
        )


def list_lines(home: Path, ca_file: Path | None = None) -> Iterator[str]:
    """Two lines a forecast: what it is about and where it stands; what it says, and who vouches for it."""
    registry = home_registry(home)
    for entry in registry.entries("forecast"):
        yield _named(registry, entry)
        for metric, f in sealed_forecasts(entry).items():
            q = f.quantiles
            flag = ", flagged as noise when it was sealed" if f.flag else ""
            yield f"  {metric}: {f.median:.4f} ({q['0.05']:.4f}–{q['0.95']:.4f} at 90 %){flag}"
        yield f"  {entry.time[:10]}, {_witness(registry, entry, ca_file)}"


def log_lines(home: Path) -> Iterator[str]:
    """The log line, then what happened, an entry a line, in order."""
    registry = home_registry(home)
    yield registry.log().text
    for entry in registry.entries():
        yield f"{entry.index:4}  {entry.time[:19]}Z  {entry.kind:9}  {_event(registry, entry)}"


def _event(registry: Registry, entry: Entry) -> str:
    body = entry.body
    if entry.kind == "forecast":
        said = ", ".join(f"{m} {f.median:.4f} ± {f.half_width_pct:.1f} %" for m, f in sealed_forecasts(entry).items())
        spent = math.fsum(body["compute_before_registration"].values())
        status = registry.status(entry.hash)
        return f"{entry.hash[:12]}  {_name(entry)}: {said}; {spent:.3g} FLOPs spent before it; {status}"
    if entry.kind == "anchor":
        return f"{body['head'][:12]}  {body['anchor']}"
    about = f"{body['forecast'][:12]}  "
    if entry.kind == "outcome":
        values = outcomes(registry.entry(body["forecast"]), body.get("evaluations", {}))
        reached = ", ".join(f"{metric} {value:.4f}" for metric, value in values.items()) or body["status"]
        return about + reached + (", reported by hand" if by_hand(body) else f", run {body['run_id']}")
    return about + body.get("why", "")


def abandon(home: Path, prefix: str, why: str) -> str:
    """Give a forecast up, for ever."""
    registry = home_registry(home)
    entry = registry.entry(prefix)
    registry.abandon(entry.hash, why)
    return f"{entry.hash[:12]} is abandoned: {why}"


def export(home: Path, prefix: str, out: Path) -> str:
    """Write a proof of an entry that others can check without this home."""
    registry = home_registry(home)
    entry = registry.entry(prefix)
    export_proof(registry, entry.hash, out)
    return f"{out}: commit it to a place you do not control, and the forecast has a witness"


def mend(home: Path) -> str:
    """Set a last line aside that a power cut left half written."""
    return home_registry(home).mend() or f"{home / 'forecasts.jsonl'}: its last line is whole; there is nothing to mend"
