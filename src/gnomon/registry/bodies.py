"""What the body of each kind of entry must hold, checked by name before anything is written.

A forecast that leaves a choice open (which evaluation set, which step, what counts as diverged) could be made to fit
afterwards; so each of these is a required field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash, plain
from gnomon.registry.chain import is_hash

SEEDS = ("seed", "order_seed")  # of weights and of the order of the data; a target gets both from its entry's hash
COMPUTE = ("tuning", "failed", "seeds", "rungs")  # what was spent before the forecast, in FLOPs
FORECAST_FIELDS = {
    "target": "the target's plan, an object without its seeds",
    "target_hash": "hash_of_target(target)",
    "evaluation_sets": "an object of names and hashes",
    "dtype": "the precision the target computes in, such as float32",
    "outcome_definition": "which number is the outcome, such as 'last step after decay'",
    "law": "the name or description of the law",
    "metrics": "a list of the metrics that are forecast",
    "quantiles": "for each metric an object of levels and values, 0.5 among them",
    "code_hash": "the hash of the code that trains",
    "analysis_hash": "the hash of the code that forecasts",
    "table_hash": "the hash of the run table that the forecast saw",
    "divergence_rule": "when the target counts as diverged, and what is scored then",
    "compute_before_registration": f"FLOPs spent so far, an object of {', '.join(COMPUTE)}",
}
# What gnomon knows only of runs that it trains itself: a forecast with outside = True need not say it.
HOUSE_FIELDS = ("evaluation_sets", "dtype", "code_hash")
OUTCOME_STATUS = ("done", "diverged")
BY_HAND = "by hand"  # what an outcome's field reported says when somebody typed it in


def without_seeds(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A target's plan as an entry holds it."""
    return {name: value for name, value in plain(dict(plan)).items() if name not in SEEDS}


def hash_of_target(plan: Mapping[str, Any]) -> str:
    """What names a target: the hash of its plan, seeds left out."""
    return content_hash(without_seeds(plan))


def forecast_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """body as it will be stored. Further fields are kept as they are.

    Optional: seeded (False: the target's trainer takes no seeds from the entry), outside (True: somebody else trains
    the target; then seeded is False and HOUSE_FIELDS may be left out), deadline (a date, YYYY-MM-DD).
    Raises GnomonError naming the first field that is missing or wrong, and what belongs there.
    """
    value = plain(dict(body))
    for name in ("seeded", "outside"):
        if not isinstance(value.get(name, True), bool):
            raise GnomonError(f"register: {name} is {value[name]!r}; it is true or false")
    outside = value.get("outside", False)
    if outside and value.get("seeded", True):
        raise GnomonError("register: outside is true and seeded is not false; gnomon seeds only what it trains itself")
    for name, meaning in FORECAST_FIELDS.items():
        if name not in value and not (outside and name in HOUSE_FIELDS):
            raise GnomonError(f"register: {name} is missing; it holds {meaning}")
    for name in ("dtype", "outcome_definition", "divergence_rule"):
        if name in value:
            _text(name, value[name])
    if not (isinstance(value["law"], str | dict) and value["law"]):
        raise _wrong("law", value["law"])
    for name in ("code_hash", "analysis_hash", "table_hash"):
        if name in value:
            _digest(name, value[name])
    _target(value)
    if "evaluation_sets" in value:
        _evaluation_sets(value["evaluation_sets"])
    _quantiles(value["metrics"], value["quantiles"])
    _compute(value["compute_before_registration"])
    if "deadline" in value:
        _deadline(value["deadline"])
    return value


def outcome_body(forecast_hash: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """outcome as it will be stored, beside the forecast that it closes.

    Needs run_id, status (done or diverged), evaluations (an object a set) and registry_heads (what the run's
    checkpoints saw as the head of the registry, at least one). Raises GnomonError naming what is wrong.
    """
    value = plain(dict(outcome))
    for name in ("run_id", "status", "evaluations", "registry_heads"):
        if name not in value:
            raise GnomonError(f"outcome: {name} is missing")
    if not isinstance(value["run_id"], str) or not value["run_id"]:
        raise GnomonError(f"outcome: run_id is {value['run_id']!r}; it names the run")
    if value["status"] not in OUTCOME_STATUS:
        raise GnomonError(f"outcome: status is {value['status']!r}; it is {' or '.join(OUTCOME_STATUS)}")
    if not isinstance(value["evaluations"], dict) or (value["status"] == "done" and not value["evaluations"]):
        raise GnomonError("outcome: evaluations must hold an object for each evaluation set")
    heads = value["registry_heads"]
    if not isinstance(heads, list) or not heads or not all(is_hash(head) for head in heads):
        raise GnomonError("outcome: registry_heads must list the registry heads that the run's checkpoints hold")
    return {**value, "forecast": forecast_hash}


def reported_body(
    forecast_hash: str, status: str, values: Mapping[str, Mapping[str, Any]], run_id: str, note: str
) -> dict[str, Any]:
    """An outcome that somebody typed in: no run of gnomon's stands behind it, and it says so.

    values: metric -> {"value", and "stderr" where it is known}; empty when the run diverged. run_id: what its owner
    calls the run, "" for nothing. Raises GnomonError naming what is wrong.
    """
    if status not in OUTCOME_STATUS:
        raise GnomonError(f"outcome: status is {status!r}; it is {' or '.join(OUTCOME_STATUS)}")
    for metric, value in values.items():
        if not _finite(value.get("value")) or not (_finite(value.get("stderr", 0.0)) and value.get("stderr", 0.0) >= 0):
            raise GnomonError(
                f"outcome: {metric} is {dict(value)!r}; a number is expected, its standard error not below 0"
            )
    return {
        "forecast": forecast_hash,
        "run_id": run_id,
        "status": status,
        "evaluations": {metric: plain(dict(value)) for metric, value in values.items()},
        "registry_heads": [],
        "reported": BY_HAND,
        "note": note,
    }


def by_hand(outcome: Mapping[str, Any]) -> bool:
    """Whether an outcome's body was typed in, so that no run verifies it."""
    return outcome.get("reported") == BY_HAND


def deviation_body(forecast_hash: str, run_id: str, changes: Mapping[str, Any], why: str) -> dict[str, Any]:
    """A run for a registered target whose plan is not the registered one: what differs, and why."""
    if not run_id or not isinstance(run_id, str):
        raise GnomonError(f"deviation: run_id is {run_id!r}; it names the run that deviates")
    if not changes:
        raise GnomonError("deviation: changes is empty; it says which fields of the plan differ, and how")
    return {
        "forecast": forecast_hash,
        "run_id": run_id,
        "changes": plain(dict(changes)),
        "why": _reason("deviation", why),
    }


def abandoned_body(forecast_hash: str, why: str) -> dict[str, Any]:
    """A target that will not be run to its end."""
    return {"forecast": forecast_hash, "why": _reason("abandon", why)}


def _wrong(name: str, value: Any) -> GnomonError:
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    return GnomonError(f"register: {name} is {shown}; it holds {FORECAST_FIELDS[name]}")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, value)


def _digest(name: str, value: Any) -> None:
    if not isinstance(value, str) or not 16 <= len(value) <= 128 or not set(value) <= set("0123456789abcdef"):
        raise _wrong(name, value)


def _reason(verb: str, why: str) -> str:
    if not isinstance(why, str) or not why.strip():
        raise GnomonError(f"{verb}: a reason is missing; it stays in the registry for every reader")
    return why.strip()


def _target(value: dict[str, Any]) -> None:
    target = value["target"]
    if not isinstance(target, dict) or not target:
        raise _wrong("target", target)
    for name in SEEDS:
        if name in target:
            raise GnomonError(
                f"register: target.{name} is set; a target's seeds come from its entry's hash, leave it out"
            )
    if value["target_hash"] != hash_of_target(target):
        raise GnomonError(
            f"register: target_hash is {str(value['target_hash'])[:16]}…, and the target hashes to "
            f"{hash_of_target(target)[:16]}…; hash_of_target(target) gives it"
        )
    if "dtype" in value and target.get("dtype", value["dtype"]) != value["dtype"]:
        raise GnomonError(f"register: dtype is {value['dtype']} and target.dtype is {target['dtype']}; they must agree")


def _evaluation_sets(sets: Any) -> None:
    if not isinstance(sets, dict) or not sets:
        raise _wrong("evaluation_sets", sets)
    for name, digest in sets.items():
        if not isinstance(digest, str) or not digest:
            raise GnomonError(f"register: evaluation_sets.{name} is {digest!r}; it is the set's hash")


def _quantiles(metrics: Any, quantiles: Any) -> None:
    named = isinstance(metrics, list) and metrics and all(isinstance(m, str) and m for m in metrics)
    if not named or len(set(metrics)) != len(metrics):
        raise _wrong("metrics", metrics)
    if not isinstance(quantiles, dict) or set(quantiles) != set(metrics):
        raise GnomonError(f"register: quantiles are for {sorted(quantiles or [])} and metrics are {sorted(metrics)}")
    for metric, levels in quantiles.items():
        where = f"register: quantiles.{metric}"
        try:
            pairs = sorted((float(level), value) for level, value in levels.items())
        except (AttributeError, TypeError, ValueError):
            raise GnomonError(f'{where} is no object of levels such as "0.05" and numbers') from None
        if not pairs or not all(0 < level < 1 and _finite(value) for level, value in pairs):
            raise GnomonError(f"{where} must hold finite numbers at levels between 0 and 1")
        values = [value for _, value in pairs]
        if values != sorted(values):
            raise GnomonError(f"{where} falls where its level rises; quantiles never cross")
        if 0.5 not in [level for level, _ in pairs]:
            raise GnomonError(f"{where} has no level 0.5; the median is what is scored")


def _compute(value: Any) -> None:
    if not isinstance(value, dict):
        raise _wrong("compute_before_registration", value)
    for name in COMPUTE:
        if not _finite(value.get(name)) or value[name] < 0:
            raise GnomonError(
                f"register: compute_before_registration.{name} is {value.get(name)!r}; it is a number of FLOPs"
            )


def _deadline(value: Any) -> None:
    try:
        date.fromisoformat(value)
    except (TypeError, ValueError):
        raise GnomonError(f"register: deadline is {value!r}; it is a date such as 2027-01-31") from None


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
