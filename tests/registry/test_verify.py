"""Whatever is done to a registry by hand is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.registry import GENESIS, Registry, run_id_of, sound, verify
from gnomon.registry.chain import Entry, hash_of, scan, seal
from gnomon.registry.verify import Problem, verify_bytes

Body = Callable[..., dict[str, Any]]
Close = Callable[..., dict[str, Any]]


def named(problems: list[Problem]) -> set[tuple[str, int | None]]:
    return {(problem.kind, problem.index) for problem in problems}


def entries_of(data: bytes) -> list[Entry]:
    return [line.entry for line in scan(data) if line.entry is not None]


def test_a_sound_registry_has_no_problem(chain_bytes: bytes) -> None:
    assert verify_bytes(chain_bytes, [entry.hash for entry in entries_of(chain_bytes)] + [GENESIS]) == []


@settings(deadline=None)
@given(data=st.data())
def test_any_single_byte_edit_is_named_with_its_entry(chain_bytes: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(chain_bytes) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != chain_bytes[at]))
    edited = chain_bytes[:at] + bytes([byte]) + chain_bytes[at + 1 :]
    problems = verify_bytes(edited)
    line = chain_bytes.count(b"\n", 0, at)
    kinds = {problem.kind for problem in problems if problem.index == line}
    assert kinds & {"edited", "torn"}
    assert not sound(problems)


@settings(deadline=None)
@given(data=st.data())
def test_an_inserted_or_lost_byte_is_found(chain_bytes: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(chain_bytes) - 1))
    middle = data.draw(st.sampled_from([b"", b" ", b"\n", b"0", chain_bytes[at : at + 1] * 2]))
    assert (
        not sound(verify_bytes(chain_bytes[:at] + middle + chain_bytes[at + 1 :])) or middle == chain_bytes[at : at + 1]
    )


@settings(deadline=None)
@given(data=st.data())
def test_deleted_entries_are_named(chain_bytes: bytes, data: st.DataObject) -> None:
    lines = chain_bytes.splitlines(keepends=True)
    gone = data.draw(st.sets(st.integers(0, len(lines) - 2), min_size=1))
    rest = b"".join(line for number, line in enumerate(lines) if number not in gone)
    assert {index for kind, index in named(verify_bytes(rest)) if kind == "deleted"} == gone


@settings(deadline=None)
@given(data=st.data())
def test_entries_that_change_places_are_named(chain_bytes: bytes, data: st.DataObject) -> None:
    lines = chain_bytes.splitlines(keepends=True)
    order = data.draw(st.permutations(range(len(lines))).filter(lambda found: list(found) != sorted(found)))
    problems = verify_bytes(b"".join(lines[number] for number in order))
    assert {problem.kind for problem in problems if not problem.warning} == {"reordered"}


@settings(deadline=None)
@given(data=st.data())
def test_a_cut_off_end_is_found_by_a_head_that_was_seen(chain_bytes: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(chain_bytes) - 1))
    kept, head = chain_bytes[:size], entries_of(chain_bytes)[-1].hash
    problems = verify_bytes(kept, [head])
    whole_line_kept = size == len(chain_bytes) - 1
    assert {problem.kind for problem in problems} & ({"torn"} if whole_line_kept else {"truncated"})
    torn = [problem.index for problem in problems if problem.kind == "torn"]
    assert torn == ([kept.count(b"\n")] if size and not kept.endswith(b"\n") else [])


@settings(deadline=None)
@given(data=st.data())
def test_a_repeated_entry_is_named(chain_bytes: bytes, data: st.DataObject) -> None:
    lines = chain_bytes.splitlines(keepends=True)
    number, at = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines)))
    problems = verify_bytes(b"".join([*lines[:at], lines[number], *lines[at:]]))
    assert ("duplicate", number) in named(problems)


@pytest.mark.parametrize("number", range(6))
def test_an_edit_that_was_hashed_anew_is_named(chain_bytes: bytes, number: int) -> None:
    lines = chain_bytes.splitlines(keepends=True)
    value = json.loads(lines[number])
    value["body"]["note"] = "better"
    value["hash"] = hash_of(value)
    lines[number] = Entry.from_dict(value).line()
    assert ("edited", number) in named(verify_bytes(b"".join(lines)))


def test_a_registry_written_anew_is_found_by_any_head_that_was_seen(chain_bytes: bytes) -> None:
    old, new = entries_of(chain_bytes), [entries_of(chain_bytes)[0]]
    changed = {**old[1].body, "quantiles": {"bits_per_byte_codebase": {"0.5": 1.3}}}
    new.append(seal(1, "forecast", old[1].time, new[0].hash, changed))
    data = b"".join(entry.line() for entry in new)
    assert verify_bytes(data) == []
    for entry in old[1:]:
        assert named(verify_bytes(data, [entry.hash])) == {("truncated", None)}


def test_two_entries_that_claim_one_place_are_named(registry: Registry, forecast: Body) -> None:
    first = registry.register(forecast(16))
    registry.register(forecast(32))
    other = seal(1, "forecast", first.time, first.hash, forecast(48))
    registry.path.write_bytes(registry.path.read_bytes() + other.line())
    (problem,) = (p for p in registry.verify() if p.kind == "duplicate")
    assert "contradict" in problem.message


def test_a_clock_set_back_is_a_warning(tmp_path: Any, forecast: Body) -> None:
    times = iter(["2026-01-02T03:04:05Z", "2026-01-02T03:04:04Z", "2026-01-02T03:04:06Z"])
    registry = Registry(tmp_path / "forecasts.jsonl", clock=times.__next__)
    for width in (16, 32, 48):
        registry.register(forecast(width))
    problems = registry.verify()
    assert named(problems) == {("clock", 1)}
    assert sound(problems)


def test_a_missing_file_is_sound_until_somebody_saw_an_entry(registry: Registry) -> None:
    assert verify(registry.path, [GENESIS]) == []
    assert named(verify(registry.path, ["a" * 64])) == {("truncated", None)}


def test_damage_is_named_once_and_not_again_by_what_follows_from_it(chain_bytes: bytes) -> None:
    heads = [entry.hash for entry in entries_of(chain_bytes)]
    edited = chain_bytes.replace(b'"width":16', b'"width":61', 1)
    assert named(verify_bytes(edited, heads)) == {("edited", 0)}


def test_outcomes_and_results_are_checked_against_each_other(registry: Registry, forecast: Body, close: Close) -> None:
    rung = {"run_id": "r" * 16, "registry_head": registry.head}
    result = close(registry, registry.register(forecast()))
    assert registry.verify(runs=[rung, result]) == []
    assert named(registry.verify(runs=[rung])) == {("missing run", 1)}
    better = {**result, "evaluations": {"codebase": {"bits_per_byte": 1.2}}}
    assert named(registry.verify(runs=[better])) == {("outcome differs", 1)}


@pytest.mark.parametrize("field", ["registry_entry", "registry_head"])
def test_an_outcome_that_was_cut_off_is_missed_by_its_result(
    registry: Registry, forecast: Body, close: Close, field: str
) -> None:
    result = close(registry, registry.register(forecast()))
    del result[field]
    lines = registry.path.read_bytes().splitlines(keepends=True)
    registry.path.write_bytes(lines[0])
    assert named(registry.verify(runs=[result])) == {("unreported", 0)}


def test_a_second_draw_of_the_seeds_must_be_declared(registry: Registry, forecast: Body, close: Close) -> None:
    first, second = registry.register(forecast()), registry.register(forecast(note="again"))
    drawn = {"run_id": run_id_of(second), "registry_head": second.hash, "evaluations": {}}
    assert named(registry.verify(runs=[drawn])) == {("unreported", 1)}
    registry.deviation(first.hash, drawn["run_id"], {"seed": "of the revision"}, "to see the spread")
    result = close(registry, first)
    assert registry.verify(runs=[drawn, result]) == []
    assert registry.status(first.hash) == "deviated"


def test_a_result_is_not_missed_when_its_target_was_abandoned(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    registry.abandon(entry.hash, "out of disk")
    assert registry.verify(runs=[{"run_id": "x", "registry_entry": entry.hash, "registry_head": entry.hash}]) == []


def test_a_result_whose_entry_is_absent_is_named(registry: Registry, forecast: Body, close: Close) -> None:
    registry.register(forecast(16))
    kept = registry.path.read_bytes()
    result = close(registry, registry.register(forecast(32)))
    registry.path.write_bytes(kept)
    assert named(registry.verify(runs=[result])) == {("missing entry", None), ("truncated", None)}


def test_a_run_that_saw_the_registry_without_its_forecast_is_named(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    run = {"run_id": "x", "registry_entry": entry.hash, "registry_head": GENESIS}
    assert ("too early", 0) in named(registry.verify(runs=[run]))


def forged(registry: Registry, kind: str, body: dict[str, Any]) -> bytes:
    """The registry with one more entry that its own checks would have refused."""
    entries = registry.entries()
    return registry.path.read_bytes() + seal(len(entries), kind, entries[-1].time, registry.head, body).line()


def test_an_outcome_of_another_run_is_named(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    body = {"forecast": entry.hash, "run_id": "0" * 16, "status": "done", "registry_heads": [GENESIS]}
    assert named(verify_bytes(forged(registry, "outcome", body))) == {("wrong run", 1), ("too early", 1)}


@pytest.mark.parametrize("kind", ["deviation", "abandoned"])
def test_an_entry_about_no_forecast_is_named(registry: Registry, forecast: Body, kind: str) -> None:
    registry.register(forecast())
    body = {"forecast": "9" * 64, "run_id": "0" * 16}
    assert named(verify_bytes(forged(registry, kind, body))) == {("missing entry", 1)}


@settings(deadline=None)
@given(raw=st.binary(max_size=200))
def test_no_bytes_make_verification_fail(raw: bytes) -> None:
    assert verify_bytes(raw) or not raw


@settings(deadline=None)
@given(body=st.dictionaries(st.sampled_from(["forecast", "target", "registry_heads", "run_id", "head"]), st.none()))
@pytest.mark.parametrize("kind", ["forecast", "outcome", "deviation", "abandoned", "anchor"])
def test_a_sealed_entry_without_sense_is_named(kind: str, body: dict[str, Any]) -> None:
    content = {"schema_version": 1, "index": 0, "kind": kind, "time": "2026-01-02T03:04:05Z"}
    content |= {"previous": GENESIS, "body": body}
    line = json.dumps({**content, "hash": hash_of(content)}, sort_keys=True, separators=(",", ":"))
    assert named(verify_bytes(line.encode() + b"\n")) == {("edited", 0)}
