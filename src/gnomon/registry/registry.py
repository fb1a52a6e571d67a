"""The registry of forecasts: sealed before the target starts, closed by its outcome, kept for ever.

It knows nothing of what is forecast. The first entry for a target is the one that is scored; later ones are
revisions. Every target that was ever registered is counted, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.registry.bodies import (
    COMPUTE,
    abandoned_body,
    by_hand,
    deviation_body,
    forecast_body,
    outcome_body,
    reported_body,
)
from gnomon.registry.chain import GENESIS, KINDS, Chain, Entry, utc_now
from gnomon.registry.gate import run_id_of

if TYPE_CHECKING:
    from gnomon.registry.verify import Problem


@dataclass(frozen=True)
class LogLine:
    """What became of every registered target. registered = finished + deviated + abandoned + open.

    diverged: those of the finished that diverged. revisions: later entries for a target that had one. by_hand: outcomes
    that somebody typed in. overdue: those of the open whose deadline has passed.
    """

    registered: int
    finished: int
    diverged: int
    deviated: int
    abandoned: int
    open: int
    revisions: int
    head: str
    by_hand: int = 0
    overdue: int = 0

    @property
    def text(self) -> str:
        """One line, the same in every report."""
        targets = "1 target" if self.registered == 1 else f"{self.registered} targets"
        diverged = f" ({self.diverged} diverged)" if self.diverged else ""
        overdue = f" ({self.overdue} overdue)" if self.overdue else ""
        hand = f"; {self.by_hand} of the outcomes reported by hand" if self.by_hand else ""
        revisions = "1 revision" if self.revisions == 1 else f"{self.revisions} revisions"
        return (
            f"{targets} registered: {self.finished} finished{diverged}, {self.deviated} deviated, "
            f"{self.abandoned} abandoned, {self.open} open{overdue}; {revisions}{hand}; registry head {self.head[:12]}"
        )


class Registry:
    """A chain of forecasts in one file, usually $GNOMON_HOME/forecasts.jsonl. The file appears with its first entry."""

    def __init__(self, path: Path | str, clock: Callable[[], str] = utc_now, patience_s: float = 30.0) -> None:
        self.path = Path(path)
        self._chain = Chain(self.path, clock, patience_s)

    @property
    def head(self) -> str:
        """Hash of the last entry; 64 zeros when there is none. Checkpoints and results store it."""
        entries = self._chain.entries()
        return entries[-1].hash if entries else GENESIS

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All entries in order, or those of one kind. Raises GnomonError when the chain is broken."""
        if kind is not None and kind not in KINDS:
            raise GnomonError(f"registry: there is no kind {kind!r}; there are {', '.join(KINDS)}")
        return [entry for entry in self._chain.entries() if kind in (None, entry.kind)]

    def entry(self, hash_or_prefix: str) -> Entry:
        """The entry whose hash starts so. Raises GnomonError when none does, or several do."""
        found = [e for e in self._chain.entries() if e.hash.startswith(hash_or_prefix)] if hash_or_prefix else []
        if len(found) != 1:
            raise GnomonError(f"{self.path}: {len(found)} entries have a hash that starts with {hash_or_prefix!r}")
        return found[0]

    def first(self, target_hash: str) -> Entry | None:
        """The entry that is scored for this target: its first."""
        return _first(self._chain.entries(), target_hash)

    def revisions(self, target_hash: str) -> list[Entry]:
        """Every later forecast for this target."""
        return [e for e in self.entries("forecast") if e.body["target_hash"] == target_hash][1:]

    def outcome(self, forecast_hash: str) -> Entry | None:
        """The outcome that closed this forecast."""
        found = [e for e in self.entries("outcome") if e.body["forecast"] == forecast_hash]
        return found[0] if found else None

    def status(self, forecast_hash: str) -> str:
        """open, finished, diverged, deviated, abandoned or revision."""
        entries = self._chain.entries()
        return _status(entries, _forecast(entries, forecast_hash))

    def register(self, body: Mapping[str, Any]) -> Entry:
        """Seal a forecast. bodies.FORECAST_FIELDS lists what it must say; each missing or wrong field is named.

        An optional field seeded = False says that the target's trainer cannot take its seeds from the entry's hash;
        such a forecast is not bound to its run, and verify says so.
        """
        checked = forecast_body(body)
        return self._chain.append("forecast", lambda _: checked)

    def close(self, forecast_hash: str, outcome: Mapping[str, Any]) -> Entry:
        """Write down what the target reached: run_id, status, evaluations, registry_heads (bodies.outcome_body).

        The same outcome again changes nothing and returns the entry that is there. Raises GnomonError when the
        forecast is absent, a revision, abandoned or closed otherwise; when the run saw a registry without the
        forecast; or when it is neither the run that the entry seeds nor one recorded as a deviation.
        """
        checked = outcome_body(forecast_hash, outcome)

        def build(entries: list[Entry]) -> dict[str, Any] | Entry:
            forecast = _forecast(entries, forecast_hash)
            done = [e for e in entries if e.kind == "outcome" and e.body["forecast"] == forecast_hash]
            if done and done[0].body == checked:
                return done[0]
            _must_be_open(entries, forecast)
            _must_be_later(entries, forecast, checked["registry_heads"])
            _must_be_its_run(entries, forecast, checked["run_id"])
            return checked

        return self._chain.append("outcome", build)

    def report(
        self,
        forecast_hash: str,
        status: str,
        values: Mapping[str, Mapping[str, Any]],
        run_id: str = "",
        note: str = "",
    ) -> Entry:
        """Write down, by hand, what a target reached that gnomon did not train (bodies.reported_body).

        values: metric -> {"value", "stderr"}. The same report again changes nothing. Raises GnomonError when the
        forecast is absent, a revision, abandoned or closed, or seeds its own run, which alone can close it.
        """
        checked = reported_body(forecast_hash, status, values, run_id, note)

        def build(entries: list[Entry]) -> dict[str, Any] | Entry:
            forecast = _forecast(entries, forecast_hash)
            done = [e for e in entries if e.kind == "outcome" and e.body["forecast"] == forecast_hash]
            if done and done[0].body == checked:
                return done[0]
            _must_be_open(entries, forecast)
            expected = run_id_of(forecast)
            if expected is not None:
                raise GnomonError(
                    f"outcome: forecast {forecast.hash[:12]} seeds run {expected}, and only that run's result closes "
                    "it; an outcome is typed in for targets that gnomon does not train"
                )
            odd = sorted(set(values) ^ set(forecast.body["metrics"])) if status == "done" else []
            if odd:
                raise GnomonError(f"outcome: {', '.join(odd)} is not what was forecast: {forecast.body['metrics']}")
            return checked

        return self._chain.append("outcome", build)

    def deviation(self, forecast_hash: str, run_id: str, changes: Mapping[str, Any], why: str) -> Entry:
        """Record a run for this target whose plan is not the registered one. Its outcome may then close the
        forecast, and the target counts as deviated for ever."""
        checked = deviation_body(forecast_hash, run_id, changes, why)

        def build(entries: list[Entry]) -> dict[str, Any]:
            _must_be_open(entries, _forecast(entries, forecast_hash))
            return checked

        return self._chain.append("deviation", build)

    def abandon(self, forecast_hash: str, why: str) -> Entry:
        """Give a target up, with the reason. Final: the same target cannot be started again."""
        checked = abandoned_body(forecast_hash, why)

        def build(entries: list[Entry]) -> dict[str, Any]:
            _must_be_open(entries, _forecast(entries, forecast_hash))
            return checked

        return self._chain.append("abandoned", build)

    def anchor(self, kind: str, reference: Mapping[str, Any], head: str | None = None) -> Entry:
        """Note an outside witness of head (default: the head now). kind: git-commit or rfc3161.

        gnomon.registry.anchor.anchor_commit and anchor_stamp check the witness first and then call this.
        """
        if kind not in ("git-commit", "rfc3161"):
            raise GnomonError(f"anchor: kind is {kind!r}; it is git-commit or rfc3161")

        def build(entries: list[Entry]) -> dict[str, Any]:
            seen = head if head is not None else (entries[-1].hash if entries else GENESIS)
            if seen not in {entry.hash for entry in entries}:
                raise GnomonError(f"anchor: {seen[:12]} is the hash of no entry; there is nothing to anchor")
            return {"anchor": kind, "head": seen, "reference": dict(reference)}

        return self._chain.append("anchor", build)

    def verify(
        self, expected_heads: Iterable[str] = (), runs: Iterable[Mapping[str, Any]] | None = None
    ) -> list[Problem]:
        """gnomon.registry.verify.verify on this file; a line that another process is just writing is waited for."""
        from gnomon.registry.verify import verify

        heads, results = list(expected_heads), None if runs is None else list(runs)
        problems = verify(self.path, heads, results)
        if any(problem.kind == "torn" for problem in problems):
            with self._chain.held():
                problems = verify(self.path, heads, results)
        return problems

    def mend(self) -> str:
        """Set a torn last line aside (Chain.mend) and say what was done; "" when nothing was torn."""
        return self._chain.mend()

    def log(self) -> LogLine:
        """What became of every target that was ever registered."""
        entries = self._chain.entries()
        counts = dict.fromkeys(("open", "finished", "diverged", "deviated", "abandoned", "revision"), 0)
        today, late = self._chain.clock()[:10], 0
        for forecast in entries:
            if forecast.kind == "forecast":
                status = _status(entries, forecast)
                counts[status] += 1
                late += status == "open" and today > forecast.body.get("deadline", today)
        return LogLine(
            registered=sum(counts.values()) - counts["revision"],
            finished=counts["finished"] + counts["diverged"],
            diverged=counts["diverged"],
            deviated=counts["deviated"],
            abandoned=counts["abandoned"],
            open=counts["open"],
            revisions=counts["revision"],
            head=entries[-1].hash if entries else GENESIS,
            by_hand=sum(e.kind == "outcome" and by_hand(e.body) for e in entries),
            overdue=late,
        )


def flops_before(forecast: Entry) -> float:
    """FLOPs spent before this forecast was sealed: tuning, failed runs, seeds and rungs together."""
    return float(sum(forecast.body["compute_before_registration"][name] for name in COMPUTE))


def _forecast(entries: list[Entry], forecast_hash: str) -> Entry:
    for entry in entries:
        if entry.hash == forecast_hash and entry.kind == "forecast":
            return entry
    raise GnomonError(
        f"registry: {forecast_hash[:12]} is the hash of no forecast here; `gnomon forecast log` shows them"
    )


def _first(entries: list[Entry], target_hash: str) -> Entry | None:
    return next((e for e in entries if e.kind == "forecast" and e.body["target_hash"] == target_hash), None)


def _status(entries: list[Entry], forecast: Entry) -> str:
    if _first(entries, forecast.body["target_hash"]) != forecast:
        return "revision"
    about = [e for e in entries if e.body.get("forecast") == forecast.hash]
    kinds = {entry.kind for entry in about}
    if "abandoned" in kinds:
        return "abandoned"
    if "deviation" in kinds:
        return "deviated"
    outcome = next((e for e in about if e.kind == "outcome"), None)
    if outcome is None:
        return "open"
    return "diverged" if outcome.body["status"] == "diverged" else "finished"


def _must_be_open(entries: list[Entry], forecast: Entry) -> None:
    name = forecast.hash[:12]
    first = _first(entries, forecast.body["target_hash"])
    if first is not None and first != forecast:
        raise GnomonError(f"registry: {name} is a revision; {first.hash[:12]}, the target's first forecast, is scored")
    for entry in entries:
        if entry.kind in ("outcome", "abandoned") and entry.body["forecast"] == forecast.hash:
            word = "closed" if entry.kind == "outcome" else "abandoned"
            raise GnomonError(f"registry: forecast {name} was {word} by entry {entry.index}; that is final")


def _must_be_later(entries: list[Entry], forecast: Entry, heads: list[str]) -> None:
    position = {entry.hash: entry.index for entry in entries}
    for head in heads:
        if position.get(head, -1) < forecast.index:
            raise GnomonError(
                f"outcome: a checkpoint saw the registry at {head[:12]}, which does not hold forecast "
                f"{forecast.hash[:12]}; a target is started after its forecast"
            )


def _must_be_its_run(entries: list[Entry], forecast: Entry, run_id: str) -> None:
    expected = run_id_of(forecast)
    if expected is None or run_id == expected:
        return
    deviations = [e for e in entries if e.kind == "deviation" and e.body["forecast"] == forecast.hash]
    if run_id not in [entry.body["run_id"] for entry in deviations]:
        raise GnomonError(
            f"outcome: forecast {forecast.hash[:12]} seeds run {expected}, and this is run {run_id}; "
            "a run with another plan is recorded as a deviation first"
        )
