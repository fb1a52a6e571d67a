"""Everything a report shows, as frozen values that survive a round trip through JSON.

The page is a function of this value alone (page.py), so a report can be built again, years later, from its JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json
from gnomon.common.hashing import plain
from gnomon.figures import Interval, IsoflopBudget, LearningCurve

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Rung:
    """One trained small model, a row of the run table. loss and stderr: of the report's first metric."""

    run_id: str
    compute: float
    parameters: float
    tokens: float
    loss: float | None
    stderr: float | None = None
    width: int = 0
    depth: int = 0
    seed: int = 0
    seconds: float = 0.0
    budget: float | None = None
    minimum: bool = False
    status: str = "done"


@dataclass(frozen=True)
class TargetView:
    """The big model. trained: its run has ended; status as in the run table, 'waiting' before."""

    compute: float
    parameters: float
    tokens: float
    run_id: str = ""
    trained: bool = False
    status: str = "waiting"
    seconds: float | None = None


@dataclass(frozen=True)
class ForecastView:
    """One metric: its forecast and, when known, the outcome and the score as forecast.score gave it.

    name: the evaluation text in words. law: the form in words or symbols. last_point: the largest rung's loss.
    """

    metric: str
    name: str
    interval: Interval
    last_point: float
    law: str = ""
    unit: str = "bits per byte"
    outcome: float | None = None
    outcome_stderr: float | None = None
    error_pct: float | None = None
    last_point_error_pct: float | None = None
    inside_90: bool | None = None
    crps: float | None = None


@dataclass(frozen=True)
class Finding:
    """A doctor's finding or a warning of the forecast. severity: 'error', 'warning' or 'note'."""

    severity: str
    message: str
    code: str = ""


@dataclass(frozen=True)
class Answer:
    """What one model wrote. role: 'smallest', 'largest' or 'target'."""

    model: str
    text: str
    role: str = ""


@dataclass(frozen=True)
class Sample:
    """One prompt and what each model made of it, smallest first."""

    prompt: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Yardstick:
    """The same held-out text by other means: bits per byte that `xz -9` needs, and an example of the text's size."""

    text: str
    xz_bits_per_byte: float
    bytes: int


@dataclass(frozen=True)
class Cost:
    """One line of the bill."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Command:
    """One command that made this report, and what it did."""

    command: str
    what: str = ""


@dataclass(frozen=True)
class GuardRow:
    """How often the trainer's guards saw one kind of fault: in all rungs, and in the target."""

    kind: str
    rungs: int
    target: int


@dataclass(frozen=True)
class RegistryView:
    """What the registry says. anchor: the outside witness in words, '' when there is none (self-attested).

    verified: whether the chain was checked and holds; None when nobody checked. problems: what verify named.
    """

    entry_hash: str = ""
    head: str = ""
    sealed_at: str = ""
    anchor: str = ""
    log_line: str = ""
    unregistered: bool = False
    verified: bool | None = None
    problems: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """The whole report. forecasts: the first is the headline. law: the curve of the first, (FLOPs, interval).

    corpus: the corpus card (see corpus.py for what is shown). machine: (name, value) pairs. other_compute: FLOPs spent
    before registration on anything but the rungs. shares: cause -> share of the first forecast's variance. guards: what
    they saw; None for runs from before there were any.
    """

    title: str
    created: str
    target: TargetView
    rungs: tuple[Rung, ...]
    forecasts: tuple[ForecastView, ...]
    law: tuple[tuple[float, Interval], ...] = ()
    isoflop: tuple[IsoflopBudget, ...] = ()
    learning: tuple[LearningCurve, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    yardstick: Yardstick | None = None
    samples: tuple[Sample, ...] = ()
    machine: tuple[tuple[str, str], ...] = ()
    costs: tuple[Cost, ...] = ()
    other_compute: float = 0.0
    registry: RegistryView = RegistryView()
    findings: tuple[Finding, ...] = ()
    commands: tuple[Command, ...] = ()
    guards: tuple[GuardRow, ...] | None = None
    subtitle: str = ""

    @property
    def headline(self) -> ForecastView:
        return self.forecasts[0]

    @property
    def trained_rungs(self) -> tuple[Rung, ...]:
        """Rungs that ended with a loss, by compute."""
        return tuple(sorted((r for r in self.rungs if r.loss is not None), key=lambda r: r.compute))

    @property
    def times_larger(self) -> float:
        """The target's compute over the largest rung's."""
        return self.target.compute / max(r.compute for r in self.rungs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the schema's version."""
        body: dict[str, Any] = plain(self)
        return {"schema_version": SCHEMA_VERSION, **body}

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str = "report") -> ReportData:
        """The inverse of to_dict. Raises GnomonError naming the first field that is wrong."""
        from pydantic import TypeAdapter, ValidationError

        body = {key: item for key, item in value.items() if key != "schema_version"}
        try:
            data = TypeAdapter(cls).validate_python(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise GnomonError(f"{where}: {place}: {first['msg']}") from None
        if not data.rungs or not data.forecasts:
            raise GnomonError(f"{where}: a report needs at least one rung and one forecast")
        return data


def save_report(data: ReportData, path: Path) -> None:
    """The report's value as JSON, atomically."""
    write_json(path, plain(data), SCHEMA_VERSION)


def read_report(path: Path) -> ReportData:
    """What save_report wrote. Raises GnomonError when it is missing, cut off, or not a report."""
    return ReportData.from_dict(read_json(path, SCHEMA_VERSION), str(path))
