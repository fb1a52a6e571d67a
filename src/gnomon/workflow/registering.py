"""The registry for people who train with something else: seal a forecast of a table, report what came, find a witness.

gnomon neither seeds nor sees such a run. So its entry says `outside`, its outcome says `reported by hand`, and without
an outside witness both are no more than the owner's word (docs/registry.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gnomon
from gnomon.common.errors import GnomonError
from gnomon.common.hashing import folder_hash
from gnomon.registry import Entry, Registry, attestation, hash_of_target
from gnomon.registry.anchor import anchor_commit, anchor_stamp, ask_stamp
from gnomon.registry.bodies import reported_body
from gnomon.registry.proof import verify_proof
from gnomon.workflow.sealed import home_registry

if TYPE_CHECKING:
    from gnomon.forecast import Forecast, RunTable

TABLE_ENDINGS = (".csv", ".parquet", ".jsonl", ".json", ".tsv")
RECIPE_ENDINGS = (".yaml", ".yml")
DEFINITION = "the metric of the finished run, after the last step of its decay"
DIVERGENCE_RULE = "a run whose loss is not a number, or that its owner calls diverged, counts as a miss of every metric"
ALONE = "until somebody else holds this entry, nobody else can know that it came before the outcome"


@dataclass(frozen=True)
class Wish:
    """What to register. compute: FLOPs of the target. tuning_flops: spent before on choosing rates and the like."""

    table: Path
    compute: float
    metric: str | None = None
    parameters: float | None = None
    tokens: float | None = None
    name: str = ""
    definition: str = ""
    deadline: str = ""
    tuning_flops: float = 0.0


def is_table(what: str, target_given: bool) -> bool:
    """Whether `gnomon forecast register WHAT` is about a table of runs (else: a recipe, by name or as YAML).

    Raises GnomonError when it can be neither.
    """
    path = Path(what)
    if path.suffix in RECIPE_ENDINGS:
        return False
    if path.exists():
        from gnomon.recipe.load import shipped_recipes

        return target_given or what not in shipped_recipes()
    if path.suffix in TABLE_ENDINGS or len(path.parts) > 1:
        raise GnomonError(f"{what}: no such file; register takes a table of runs, or a recipe's name or YAML file")
    if target_given:
        raise GnomonError(
            f"{what}: no such table, and --target belongs to a table; a recipe names its target itself (target.compute)"
        )
    return False


def register_table(wish: Wish, table: RunTable, home: Path) -> Iterator[str]:
    """Seal the forecast of a target from anybody's table; lines for people."""
    from gnomon.forecast import fit, target_of
    from gnomon.forecast.metrics import choose_metric
    from gnomon.workflow.forecasting import forecast_lines
    from gnomon.workflow.learning import width_factor

    _check_deadline(wish.deadline)
    metric, why = choose_metric(table, wish.metric)
    fitted = fit(table, metric, factor=width_factor(home))
    forecast = fitted.predict(target_of(fitted, wish.compute, wish.parameters, wish.tokens))
    body = outside_body(wish, table, forecast)
    registry = Registry(home / "forecasts.jsonl")
    earlier = registry.first(body["target_hash"])
    entry = registry.register(body)
    target = forecast.target
    if ", not " in why:
        yield why
    yield f"{wish.table}: taken as a table of {len(table)} runs; the target's trainer is not gnomon"
    yield (
        f"sealed as {entry.hash[:12]} in {registry.path}: {body['target']['name']}, {metric} at "
        f"{target['compute']:.4g} FLOPs, {target['parameters']:.4g} parameters, {target['tokens']:.4g} tokens; "
        f"method {body['method'] or 'without a version'}"
    )
    if earlier is not None:
        yield f"a revision: {earlier.hash[:12]} of {earlier.time[:10]} is the first for this target, and is scored"
    yield from forecast_lines(forecast)
    yield f"{attestation(registry, entry).label}: {ALONE}"
    yield f"next: gnomon forecast proof {entry.hash[:12]} --out PROOF.json, commit and push it, then"
    yield f"      gnomon forecast anchor {entry.hash[:12]} --commit HEAD --file PROOF.json"


def outside_body(wish: Wish, table: RunTable, forecast: Forecast) -> dict[str, Any]:
    """What the registry keeps of a forecast whose target gnomon does not train."""
    target = {"name": wish.name or wish.table.stem, "metric": forecast.metric, **forecast.target}
    body = {
        "outside": True,
        "seeded": False,
        "target": target,
        "target_hash": hash_of_target(target),
        "outcome_definition": wish.definition or DEFINITION,
        "divergence_rule": DIVERGENCE_RULE,
        "metrics": [forecast.metric],
        "law": {forecast.metric: {"name": forecast.law, "parameters": forecast.parameters}},
        "quantiles": {forecast.metric: forecast.quantiles},
        "forecasts": {forecast.metric: asdict(forecast)},
        "warnings": list(forecast.warnings),
        "analysis_hash": folder_hash(Path(gnomon.__file__).parent / "forecast"),
        "method": forecast.seen.get("method", ""),
        "gnomon_version": gnomon.__version__,
        "table": wish.table.name,
        "table_hash": table.hash,
        "compute_before_registration": flops_spent(table, wish.tuning_flops),
    }
    return body | ({"deadline": wish.deadline} if wish.deadline else {})


def flops_spent(table: RunTable, tuning_flops: float) -> dict[str, float]:
    """FLOPs of the table's runs by purpose; repetitions of a setting under another seed count as seeds."""
    import numpy as np

    from gnomon.forecast.runs import SIZE_COLUMNS

    flops = np.nan_to_num(table["flops"], nan=0.0, posinf=0.0)
    flops = np.where(table["registered"], 0.0, np.maximum(flops, 0.0))  # an older target is no rung
    failed = ~np.isin(table["status"], ("", "done"))
    names = [n for n in (*SIZE_COLUMNS, "flops", "tokens", "rate", "batch_tokens") if n in table]
    settings = np.stack([np.nan_to_num(table[n], nan=-1.0) for n in names], axis=1) if len(table) else np.zeros((0, 1))
    first = np.zeros(len(table), dtype=bool)
    first[np.unique(settings, axis=0, return_index=True)[1]] = True
    return {
        "tuning": tuning_flops,
        "failed": float(flops[failed].sum()),
        "seeds": float(flops[~failed & ~first].sum()),
        "rungs": float(flops[~failed & first].sum()),
    }


def report_outcome(
    home: Path,
    prefix: str,
    value: float | None,
    stderr: float | None = None,
    status: str = "done",
    why: str = "",
    run_id: str = "",
    deviated: str = "",
) -> Iterator[str]:
    """Close a forecast by hand: what came, or that the run diverged or was given up."""
    from gnomon.workflow.verdict import outcome_lines

    registry = home_registry(home)
    entry = registry.entry(prefix)
    if status not in ("done", "diverged", "abandoned"):
        raise GnomonError(f"outcome: --status is {status!r}; it is done, diverged or abandoned")
    if (value is None) == (status == "done"):
        said = "needs the value" if status == "done" else "has no value"
        raise GnomonError(f"outcome: a run that is {status} {said}; `outcome ENTRY VALUE` or `--status diverged`")
    if status == "abandoned":
        registry.abandon(entry.hash, why)
        yield f"{entry.hash[:12]} is abandoned: {why}"
        return
    metrics = entry.body.get("metrics", ())
    if value is not None and len(metrics) != 1:
        raise GnomonError(f"outcome: {entry.hash[:12]} forecasts {len(metrics)} metrics, and one value was given")
    values = {}
    if value is not None:
        values[metrics[0]] = {"value": value} | ({} if stderr is None else {"stderr": stderr})
    reported_body(entry.hash, status, values, run_id, why)  # names what is wrong before anything is written
    if deviated:
        if registry.outcome(entry.hash) is None:
            registry.deviation(entry.hash, run_id or "outside", {"said": deviated}, deviated)
        yield f"{entry.hash[:12]}: recorded as deviated, for ever: {deviated}"
    closed = registry.report(entry.hash, status, values, run_id, why)
    if closed.time[:10] > entry.body.get("deadline", closed.time[:10]):
        yield f"reported after the deadline of {entry.body['deadline']}; readers see both dates"
    yield from outcome_lines(registry, entry)


def anchor(
    home: Path,
    prefix: str,
    commit: str = "",
    file: Path | None = None,
    stamp: str = "",
    ca_file: Path | None = None,
) -> Iterator[str]:
    """Note an outside witness of an entry: a commit that holds it, or a time stamp over its hash.

    stamp: the address of an authority (asked now), or a response file (.tsr).
    """
    if bool(commit) == bool(stamp):
        raise GnomonError("anchor: give one of --commit HASH and --stamp URL (or a .tsr file)")
    registry = home_registry(home)
    entry = registry.entry(prefix)
    if entry.kind != "forecast":
        raise GnomonError(f"anchor: {entry.hash[:12]} is an entry of kind {entry.kind}; a witness is for a forecast")
    if commit:
        made = anchor_commit(registry, commit, file, entry)
    elif stamp.startswith(("http://", "https://")):
        made = ask_stamp(registry, stamp, entry)
    else:
        made = anchor_stamp(registry, Path(stamp), entry)
    yield f"noted as entry {made.index}, {made.hash[:12]}"
    yield f"{entry.hash[:12]} is {attestation(registry, entry, ca_file).label}"


def check_proof(path: Path, against: Path | None) -> tuple[list[str], bool]:
    """Lines about a proof, and whether it holds. against: the home it came from, to see that it still stands there."""
    from gnomon.common.files import read_json
    from gnomon.registry.proof import PROOF_SCHEMA_VERSION

    problems = verify_proof(path, None if against is None else home_registry(against).path)
    bad = [p for p in problems if not p.warning]
    if bad:
        return [*(f"PROBLEM  {p.kind}: {p.message}" for p in bad), f"{path}: does NOT hold"], False
    proof = read_json(path, PROOF_SCHEMA_VERSION)
    entry = Entry.from_dict(proof["entry"])
    lines = [f"{path}: holds; entry {entry.index}, {entry.hash}, dated {entry.time} by its owner's clock"]
    lines += [f"  {metric}: {levels['0.5']:.4f}" for metric, levels in entry.body["quantiles"].items()]
    if not proof.get("scored", True):
        lines.append("  a revision: an earlier forecast of the same target is the one that is scored")
    lines.append("  the file alone does not show when it was made: ask where it was committed or stamped")
    return lines, True


def _check_deadline(deadline: str) -> None:
    if not deadline:
        return
    try:
        day = date.fromisoformat(deadline)
    except ValueError:
        raise GnomonError(f"register: --deadline is {deadline!r}; it is a date such as 2027-01-31") from None
    if day < datetime.now(UTC).date():
        raise GnomonError(
            f"register: --deadline {deadline} has passed; name the day by which the outcome will be known"
        )
