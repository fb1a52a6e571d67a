"""Forecasts of runs that gnomon does not train: what entries may leave out, how outcomes typed in are marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gnomon.common.errors import GnomonError
from gnomon.registry import Registry, hash_of_target, run_id_of, sound
from gnomon.registry.proof import export_proof, verify_proof

Body = Callable[..., dict[str, Any]]
REACHED = {"loss": {"value": 2.31, "stderr": 0.01}}


@pytest.fixture
def outside(forecast: Body) -> Body:
    """A body that knows nothing of the target's trainer, its precision or its evaluation set."""

    def made(name: str = "7B", **changes: Any) -> dict[str, Any]:
        target = {"name": name, "metric": "loss", "compute": 1e22}
        body = forecast(target=target, target_hash=hash_of_target(target), metrics=["loss"])
        body |= {"quantiles": {"loss": {"0.05": 2.2, "0.5": 2.3, "0.95": 2.4}}, "outside": True, "seeded": False}
        for unknown in ("evaluation_sets", "dtype", "code_hash"):
            del body[unknown]
        return body | changes

    return made


def test_an_entry_needs_no_trainer(registry: Registry, outside: Body) -> None:
    entry = registry.register(outside())
    assert run_id_of(entry) is None and registry.status(entry.hash) == "open"
    assert [p.kind for p in registry.verify([], [])] == ["not seeded"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeded": True}, "gnomon seeds only what it trains itself"),
        ({"outside": "yes"}, "outside is 'yes'"),
        ({"outside": False}, "evaluation_sets is missing"),
        ({"deadline": "soon"}, "a date such as"),
        ({"table_hash": "no"}, "table_hash is 'no'"),
        ({"dtype": ""}, "dtype is ''"),
    ],
)
def test_what_is_said_is_checked(registry: Registry, outside: Body, change: dict[str, Any], message: str) -> None:
    with pytest.raises(GnomonError, match=message):
        registry.register(outside(**change))


def test_an_outcome_by_hand_closes_it_and_is_marked(registry: Registry, outside: Body) -> None:
    entry = registry.register(outside())
    closed = registry.report(entry.hash, "done", REACHED, "run-7")
    assert closed.body["reported"] == "by hand" and registry.status(entry.hash) == "finished"
    assert registry.report(entry.hash, "done", REACHED, "run-7") == closed, "the same report again changes nothing"
    problems = registry.verify([], [])
    assert sound(problems) and {p.kind for p in problems} == {"not seeded", "by hand"}
    assert "1 of the outcomes reported by hand" in registry.log().text
    with pytest.raises(GnomonError, match="final"):
        registry.report(entry.hash, "done", {"loss": {"value": 2.2}})


@pytest.mark.parametrize(
    ("status", "values", "message"),
    [
        ("done", {"loss": {"value": float("nan")}}, "a number is expected"),
        ("done", {"loss": {"value": 2.3, "stderr": -1}}, "standard error not below 0"),
        ("done", {"accuracy": {"value": 2.3}}, "is not what was forecast"),
        ("done", {}, "loss is not what was forecast"),
        ("good", REACHED, "done or diverged"),
    ],
)
def test_a_report_that_fits_nothing_is_refused(
    registry: Registry, outside: Body, status: str, values: dict[str, Any], message: str
) -> None:
    entry = registry.register(outside())
    with pytest.raises(GnomonError, match=message):
        registry.report(entry.hash, status, values)
    assert registry.status(entry.hash) == "open"


def test_a_divergence_is_a_miss_and_a_revision_is_not_scored(registry: Registry, outside: Body) -> None:
    first = registry.register(outside())
    second = registry.register(outside(law="another"))
    with pytest.raises(GnomonError, match="is a revision"):
        registry.report(second.hash, "done", REACHED)
    registry.report(first.hash, "diverged", {})
    assert registry.status(first.hash) == "diverged" and registry.status(second.hash) == "revision"


def test_a_target_that_gnomon_seeds_cannot_be_closed_by_hand(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    with pytest.raises(GnomonError, match="only that run's result closes"):
        registry.report(entry.hash, "done", {"bits_per_byte_codebase": {"value": 1.2}})


def test_a_deadline_that_passed_shows(registry: Registry, outside: Body) -> None:
    """The registry's clock stands at 2026-01-02."""
    registry.register(outside("late", deadline="2026-01-01"))
    registry.register(outside("in time", deadline="2026-01-02"))
    assert "2 open (1 overdue)" in registry.log().text


def test_its_proof_claims_no_seeds(registry: Registry, outside: Body, forecast: Body, tmp_path) -> None:
    theirs = export_proof(registry, registry.register(outside()).hash, tmp_path / "theirs.json")
    ours = export_proof(registry, registry.register(forecast()).hash, tmp_path / "ours.json")
    assert "took no seeds" in theirs.read_text() and "seeds are derived" in ours.read_text()
    assert sound(verify_proof(theirs, registry.path))
