"""What is wrong with a registry, named: edits, deletions, reordering, truncation, and runs that do not fit it.

A chain alone cannot show that its end is missing. The heads that checkpoints and results saw can: every one of them
must be in it. So verification goes both ways, from the registry to the runs and from the runs to the registry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gnomon.registry.bodies import by_hand
from gnomon.registry.chain import GENESIS, Chain, Entry, Line, moment, scan, torn_text
from gnomon.registry.gate import run_id_of

WARNINGS = frozenset({"clock", "not seeded", "by hand"})


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. index: the entry it is about, None for the whole registry.

    kind: edited, deleted, reordered, duplicate, truncated, torn, newer schema, older schema, missing entry,
    missing run, too early, wrong run, unreported, outcome differs; or a warning: clock, not seeded, by hand.
    """

    kind: str
    index: int | None
    message: str

    @property
    def warning(self) -> bool:
        """True when the registry is sound all the same."""
        return self.kind in WARNINGS


def sound(problems: Iterable[Problem]) -> bool:
    """Whether nothing worse than a warning was found."""
    return all(problem.warning for problem in problems)


def verify(
    path: Path | str, expected_heads: Iterable[str] = (), runs: Iterable[Mapping[str, Any]] | None = None
) -> list[Problem]:
    """Everything that is wrong with the registry at path; an empty list when nothing is.

    expected_heads: heads seen elsewhere (checkpoints, results, commits, stamps); 64 zeros is the empty registry.
    runs: the results of all runs there are (objects of result.json: run_id, registry_head, evaluations; registry_entry
    where a target's id is not the one that its entry seeds); None leaves runs out, an empty list says there are none.
    """
    return verify_bytes(Chain(Path(path)).read(), expected_heads, runs)


def verify_bytes(
    data: bytes, expected_heads: Iterable[str] = (), runs: Iterable[Mapping[str, Any]] | None = None
) -> list[Problem]:
    """verify on the bytes of a registry."""
    lines = scan(data)
    entries = [line.entry for line in lines if line.entry is not None]
    results = None if runs is None else list(runs)
    heads = list(expected_heads)
    heads += [str(run["registry_head"]) for run in results or () if run.get("registry_head")]
    problems = [*_damaged(lines), *_order(lines), *_links(entries), *_clock(entries)]
    places = _places(lines)
    problems += _heads(places, heads)
    problems += _references(entries, places)
    if results is not None:
        problems += _runs(entries, places, results)
    return problems


def _places(lines: list[Line]) -> dict[str, int]:
    """Index of every entry that the registry has or had: named damage is not named again by what it causes."""
    places = {line.stated: line.number for line in lines if line.stated}
    entries = [line.entry for line in lines if line.entry is not None]
    places.update({entry.previous: entry.index - 1 for entry in entries})
    return {**places, **{entry.hash: entry.index for entry in entries}, GENESIS: -1}


def _damaged(lines: list[Line]) -> list[Problem]:
    problems = []
    for line in lines:
        if line.fault == "torn":
            problems.append(Problem("torn", line.number, torn_text(line)))
        elif line.fault == "edited":
            problems.append(Problem("edited", line.number, f"entry {line.number} was edited: it {line.reason}"))
        elif line.fault:
            message = f"entry {line.number} {line.reason}; use the gnomon that wrote it"
            problems.append(Problem(line.fault, line.number, message))
    return problems


def _order(lines: list[Line]) -> list[Problem]:
    """Entries that are there twice, not at all, or in the wrong place. A damaged line stands for the one missing."""
    problems = []
    indices = [line.entry.index for line in lines if line.entry is not None]
    for index, times in sorted(Counter(indices).items()):
        if times > 1:
            same = len({line.entry.hash for line in lines if line.entry is not None and line.entry.index == index}) == 1
            what = "is there more than once" if same else "exists in versions that contradict each other"
            problems.append(Problem("duplicate", index, f"entry {index} {what}"))
    missing = sorted(set(range(max(indices, default=-1) + 1)) - set(indices))
    following = 0
    for line in lines:
        if line.entry is not None:
            following = line.entry.index + 1
        elif following in missing:
            missing.remove(following)
            following += 1
    for index in missing:
        problems.append(Problem("deleted", index, f"entry {index} was deleted: later entries are there, it is not"))
    highest = -1
    for index in indices:
        if index < highest:
            problems.append(Problem("reordered", index, f"entry {index} was moved: it stands after entry {highest}"))
        highest = max(highest, index)
    return problems


def _links(entries: list[Entry]) -> list[Problem]:
    """Entries that were changed and hashed anew: those that follow remember another hash."""
    problems = []
    by_index = {entry.index: entry for entry in entries}
    by_index_hashes: dict[int, set[str]] = {}
    for entry in entries:
        by_index_hashes.setdefault(entry.index, set()).add(entry.hash)
    for index, entry in sorted(by_index.items()):
        if index == 0 and entry.previous != GENESIS:
            message = "entry 0 names an entry before it: the registry once had another beginning"
            problems.append(Problem("deleted", 0, message))
        elif index - 1 in by_index and entry.previous not in by_index_hashes[index - 1]:
            message = f"entry {index - 1} was edited and hashed anew: entry {index} was written after another one"
            problems.append(Problem("edited", index - 1, message))
    return problems


def _clock(entries: list[Entry]) -> list[Problem]:
    problems = []
    for before, after in pairwise(entries):
        if after.index == before.index + 1 and moment(after.time) < moment(before.time):
            message = f"entry {after.index} is dated {after.time}, before entry {before.index}: a clock was set back"
            problems.append(Problem("clock", after.index, message))
    return problems


def _heads(places: dict[str, int], heads: list[str]) -> list[Problem]:
    problems = []
    for head in dict.fromkeys(heads):
        if head not in places:
            message = (
                f"head {head[:12]} was seen by a checkpoint, a result or a witness and is not in the registry: "
                "entries were cut off its end, or it was written anew"
            )
            problems.append(Problem("truncated", None, message))
    return problems


def _references(entries: list[Entry], places: dict[str, int]) -> list[Problem]:
    """What entries say about each other: the forecast they name, the heads their runs saw, the run it was."""
    problems = []
    by_hash = {entry.hash: entry for entry in entries}
    for entry in entries:
        name = f"entry {entry.index} ({entry.kind})"
        if entry.kind == "forecast":
            # A forecast that cannot seed its target is sound, but weaker; the reader is told.
            if not entry.body.get("seeded", True):
                message = f"{name} does not seed its target: nothing here shows that its run began later"
                problems.append(Problem("not seeded", entry.index, message))
            continue
        about = entry.body["head" if entry.kind == "anchor" else "forecast"]
        forecast = by_hash.get(about)
        other = forecast is not None and entry.kind != "anchor" and forecast.kind != "forecast"
        if places.get(about, entry.index) >= entry.index or other:
            message = f"{name} is about {about[:12]}, and no such entry stands before it"
            problems.append(Problem("missing entry", entry.index, message))
        elif entry.kind == "outcome" and forecast is not None:
            problems += _outcome(entries, entry, forecast, places)
    return problems


def _outcome(entries: list[Entry], outcome: Entry, forecast: Entry, places: dict[str, int]) -> list[Problem]:
    problems = []
    name, run_id = f"entry {outcome.index} (outcome)", outcome.body["run_id"]
    for head in map(str, outcome.body["registry_heads"]):
        if head not in places:
            message = f"{name}: its run saw head {head[:12]}, which is not in the registry"
            problems.append(Problem("truncated", outcome.index, message))
        elif places[head] < forecast.index:
            message = f"{name}: its run saw the registry without forecast {forecast.index}, so it had started before"
            problems.append(Problem("too early", outcome.index, message))
    deviations = [e for e in entries if e.kind == "deviation" and e.body["forecast"] == forecast.hash]
    allowed = [run_id_of(forecast), *(entry.body["run_id"] for entry in deviations)]
    if allowed[0] is not None and run_id not in allowed:
        message = f"{name} is of run {run_id}; forecast {forecast.index} seeds run {allowed[0]}"
        problems.append(Problem("wrong run", outcome.index, message))
    elif allowed[0] is None and by_hand(outcome.body):
        message = f"{name} was reported by hand: no run verifies it"
        problems.append(Problem("by hand", outcome.index, message))
    return problems


def _runs(entries: list[Entry], places: dict[str, int], runs: list[Mapping[str, Any]]) -> list[Problem]:
    """From the outcomes to the results and back."""
    problems = []
    by_id = {str(run.get("run_id")): run for run in runs}
    unseeded = {entry.hash for entry in entries if entry.kind == "forecast" and run_id_of(entry) is None}
    for outcome in entries:
        if outcome.kind != "outcome" or (by_hand(outcome.body) and outcome.body["forecast"] in unseeded):
            continue
        run_id, name = outcome.body["run_id"], f"entry {outcome.index} (outcome)"
        if run_id not in by_id:
            message = f"{name} is of run {run_id}, and there is no result of that run"
            problems.append(Problem("missing run", outcome.index, message))
        elif not _within(outcome.body.get("evaluations"), by_id[run_id].get("evaluations")):
            message = f"{name} and the result of run {run_id} hold different evaluations"
            problems.append(Problem("outcome differs", outcome.index, message))
    settled = {entry.body["run_id"] for entry in entries if entry.kind in ("outcome", "deviation")}
    given_up = {entry.body["forecast"] for entry in entries if entry.kind == "abandoned"}
    targets = {run_id_of(entry): entry.hash for entry in entries if entry.kind == "forecast"}
    for run in runs:
        named = run.get("registry_entry") or targets.get(str(run.get("run_id")))
        if named:
            problems += _target(run, str(named), places, settled, given_up)
    return problems


def _target(
    run: Mapping[str, Any], named: str, places: dict[str, int], settled: set[str], given_up: set[str]
) -> list[Problem]:
    """What the result of a target says about the registry. named: the entry that it says it is of, or that seeds it."""
    run_id = str(run.get("run_id"))
    if named not in places:
        return [Problem("missing entry", None, f"run {run_id} names entry {named[:12]}, which is not in the registry")]
    index, problems = places[named], []
    if places.get(str(run.get("registry_head")), index) < index:
        message = f"run {run_id} saw a registry without entry {index}, which it is of"
        problems.append(Problem("too early", index, message))
    if run_id not in settled and named not in given_up:
        message = (
            f"run {run_id} has finished and its outcome is not here: it was cut off, or entry {index} is to be closed"
        )
        problems.append(Problem("unreported", index, message))
    return problems


def _within(part: Any, whole: Any) -> bool:
    """Whether whole says everything that part says, and the same."""
    if isinstance(part, dict) and isinstance(whole, Mapping):
        return all(name in whole and _within(value, whole[name]) for name, value in part.items())
    return bool(part == whole)
