"""What may be registered, what closes it, and how every target is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gnomon.common.errors import GnomonError
from gnomon.registry import FORECAST_FIELDS, GENESIS, Registry, flops_before, run_id_of

Body = Callable[..., dict[str, Any]]
Close = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("name", FORECAST_FIELDS)
def test_each_missing_field_is_named(registry: Registry, forecast: Body, name: str) -> None:
    body = forecast()
    del body[name]
    with pytest.raises(GnomonError, match=f"register: {name} is missing; it holds"):
        registry.register(body)
    assert registry.entries() == []


METRIC = "bits_per_byte_codebase"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dtype", "", "dtype is ''"),
        ("dtype", "bfloat16", "target.dtype is float32; they must agree"),
        ("law", [], "law is"),
        ("code_hash", "unknown", "code_hash is 'unknown'"),
        ("target", {"seed": 1}, "target.seed is set; a target's seeds come from its entry's hash"),
        ("target_hash", "0" * 64, "hash_of_target"),
        ("evaluation_sets", {}, "evaluation_sets is"),
        ("evaluation_sets", {"codebase": ""}, "evaluation_sets.codebase is ''"),
        ("metrics", [], "metrics is"),
        ("metrics", ["other"], "quantiles are for"),
        ("quantiles", {METRIC: {"0.05": 1.0, "0.95": 1.2}}, "no level 0.5"),
        ("quantiles", {METRIC: {"0.05": 1.3, "0.5": 1.2}}, "quantiles never cross"),
        ("quantiles", {METRIC: {"0.5": None}}, "finite numbers"),
        ("quantiles", {METRIC: {"5%": 1.0, "0.5": 1.2}}, "no object of levels"),
        ("quantiles", {METRIC: {"0.5": 1.0, "1.5": 1.2}}, "between 0 and 1"),
        ("compute_before_registration", {"tuning": 1, "failed": 1, "seeds": 1}, "rungs is None"),
        ("compute_before_registration", {"tuning": -1, "failed": 1, "seeds": 1, "rungs": 1}, "tuning is -1"),
        ("seeded", "no", "true or false"),
    ],
)
def test_each_wrong_field_is_named(registry: Registry, forecast: Body, name: str, value: object, message: str) -> None:
    with pytest.raises(GnomonError, match=message):
        registry.register(forecast(**{name: value}))
    assert registry.entries() == []


def test_levels_may_be_numbers_and_further_fields_are_kept(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast(quantiles={METRIC: {0.5: 1.2, 0.95: 1.4}}, note="by hand"))
    assert registry.entries("forecast")[0].body["quantiles"][METRIC] == {"0.5": 1.2, "0.95": 1.4}
    assert entry.body["note"] == "by hand"


def test_the_first_entry_is_scored_and_later_ones_are_revisions(
    registry: Registry, forecast: Body, close: Close
) -> None:
    first = registry.register(forecast())
    later = registry.register(forecast(law="another"))
    assert registry.first(first.body["target_hash"]) == first
    assert registry.revisions(first.body["target_hash"]) == [later]
    assert registry.status(later.hash) == "revision"
    with pytest.raises(GnomonError, match=f"is a revision; {first.hash[:12]}"):
        close(registry, later)
    close(registry, first)
    assert registry.status(first.hash) == "finished"


def test_every_target_is_counted_once(registry: Registry, forecast: Body, close: Close) -> None:
    finished, diverged, deviated, abandoned = (registry.register(forecast(width)) for width in (16, 32, 48, 64))
    registry.register(forecast(80))
    registry.register(forecast(16))
    close(registry, finished)
    close(registry, diverged, status="diverged")
    registry.deviation(deviated.hash, "0" * 16, {"steps": [100, 90]}, "the disk was full")
    registry.abandon(abandoned.hash, "no time")
    log = registry.log()
    assert (log.registered, log.finished, log.deviated, log.abandoned, log.open) == (5, 2, 1, 1, 1)
    assert (log.diverged, log.revisions, log.head) == (1, 1, registry.head)
    assert log.text == (
        "5 targets registered: 2 finished (1 diverged), 1 deviated, 1 abandoned, 1 open; 1 revision; "
        f"registry head {registry.head[:12]}"
    )


def test_an_outcome_is_final_and_may_be_repeated(registry: Registry, forecast: Body, close: Close) -> None:
    entry = registry.register(forecast())
    outcome = {
        "run_id": run_id_of(entry),
        "status": "done",
        "evaluations": {"codebase": {"bits_per_byte": 1.2}},
        "registry_heads": [entry.hash],
    }
    closed = registry.close(entry.hash, outcome)
    assert registry.close(entry.hash, outcome) == closed
    assert registry.outcome(entry.hash) == closed
    with pytest.raises(GnomonError, match="was closed by entry 1; that is final"):
        close(registry, entry, value=1.1)
    with pytest.raises(GnomonError, match="was closed by entry 1; that is final"):
        registry.abandon(entry.hash, "regret")
    assert len(registry.entries()) == 2


def test_an_outcome_must_come_from_the_run_that_its_entry_seeds(
    registry: Registry, forecast: Body, close: Close
) -> None:
    entry = registry.register(forecast())
    outcome = {
        "run_id": "0" * 16,
        "status": "done",
        "evaluations": {"codebase": {"bits_per_byte": 1.2}},
        "registry_heads": [entry.hash],
    }
    with pytest.raises(GnomonError, match="recorded as a deviation first"):
        registry.close(entry.hash, outcome)
    registry.deviation(entry.hash, "0" * 16, {"batch_rows": [8, 4]}, "memory")
    registry.close(entry.hash, outcome)
    assert registry.status(entry.hash) == "deviated"
    assert registry.verify() == []


def test_an_outcome_that_saw_no_forecast_is_refused(registry: Registry, forecast: Body) -> None:
    before = registry.register(forecast(16)).hash
    entry = registry.register(forecast(32))
    for head in (GENESIS, before, "9" * 64):
        outcome = {
            "run_id": run_id_of(entry),
            "status": "done",
            "evaluations": {"codebase": {"bits_per_byte": 1.2}},
            "registry_heads": [entry.hash, head],
        }
        with pytest.raises(GnomonError, match="a target is started after its forecast"):
            registry.close(entry.hash, outcome)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": ""}, "run_id"),
        ({"status": "fine"}, "done or diverged"),
        ({"evaluations": {}}, "evaluations"),
        ({"registry_heads": []}, "registry_heads"),
        ({"registry_heads": ["abc"]}, "registry_heads"),
    ],
)
def test_a_wrong_outcome_is_named(registry: Registry, forecast: Body, change: dict[str, Any], message: str) -> None:
    entry = registry.register(forecast())
    outcome = {"run_id": "x", "status": "done", "evaluations": {"codebase": {}}, "registry_heads": [entry.hash]}
    with pytest.raises(GnomonError, match=message):
        registry.close(entry.hash, {**outcome, **change})


def test_a_forecast_from_elsewhere_is_closed_by_any_run_and_marked(
    registry: Registry, forecast: Body, close: Close
) -> None:
    entry = registry.register(forecast(seeded=False))
    close(registry, entry)
    (problem,) = registry.verify()
    assert (problem.kind, problem.warning) == ("not seeded", True)


def test_unknown_hashes_and_kinds_are_named(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    assert registry.entry(entry.hash[:8]) == entry
    for unknown in ("", "zz"):
        with pytest.raises(GnomonError, match="entries have a hash that starts with"):
            registry.entry(unknown)
    with pytest.raises(GnomonError, match="is the hash of no forecast here"):
        registry.abandon("9" * 64, "why")
    with pytest.raises(GnomonError, match="there is no kind"):
        registry.entries("forecasts")
    with pytest.raises(GnomonError, match="a reason is missing"):
        registry.abandon(entry.hash, " ")
    with pytest.raises(GnomonError, match="changes is empty"):
        registry.deviation(entry.hash, "x", {}, "why")
    with pytest.raises(GnomonError, match="nothing to anchor"):
        registry.anchor("rfc3161", {}, "9" * 64)
    with pytest.raises(GnomonError, match="git-commit or rfc3161"):
        registry.anchor("tweet", {})


def test_compute_before_the_forecast_is_added_up(registry: Registry, forecast: Body) -> None:
    assert flops_before(registry.register(forecast())) == 4.25e12
