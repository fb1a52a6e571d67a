"""`gnomon evals`: examine runs, folders and servers; compare two of them; look at the sandbox.

Everything a table shows is a query over the records (gnomon.evals.records); nothing is asked twice.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_text
from gnomon.evals import calibration, published, records
from gnomon.evals import statistics as stats
from gnomon.evals.catalogue import SUITES, named, tasks
from gnomon.evals.examine import Model, Summary, examine, summarise
from gnomon.evals.records import Record
from gnomon.evals.task import Task
from gnomon.figures.reliability import ReliabilityCurve, ReliabilityDot
from gnomon.report.evals_page import render_evals

QUIET_RUNS = 200  # executions behind the sandbox's milliseconds


@dataclass(frozen=True)
class Wish:
    """What the command line asked for. limit: items a task. shots: None leaves each task its own."""

    models: tuple[str, ...]
    words: tuple[str, ...]
    data: Path
    limit: int | None = None
    shots: int | None = None
    served: str = ""  # the name a server knows its model by
    key: str = ""


def open_models(wish: Wish, home: Path) -> Iterator[tuple[str, Model]]:
    """Each model as it was named, opened when its turn comes."""
    from gnomon.evals.models import EngineModel, RemoteModel
    from gnomon.workflow.engines import load_model

    for name in wish.models:
        if name.startswith(("http://", "https://")):
            yield name, RemoteModel(name, wish.served or "default", wish.key)
            continue
        loaded = load_model(home, name)
        begins = (loaded.tokenizer.end_id,) if loaded.plan is not None else ()
        identity = loaded.plan.run_id if loaded.plan is not None else Path(name).name
        yield name, EngineModel(loaded.engine, loaded.tokenizer.encode, begins, identity)


def page_path(home: Path, wish: Wish) -> Path:
    """Where an examination's page goes: one for the same models and tasks."""
    names = [Path(name).name for name in (*wish.models, *wish.words)]
    safe = "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in name) for name in names)
    return home / "reports" / f"evals-{safe[:100]}.html"


def made(kind: type[Task], wish: Wish) -> Task:
    return kind(wish.data) if wish.shots is None else kind(wish.data, wish.shots)


def run(wish: Wish, home: Path, progress: Any) -> Iterator[tuple[str, Task, list[Record] | str]]:
    """(model, task, its records or why it could not be run), one after another. progress: (model, task, done, of).

    A task without its data is named and passed over where a suite asked for it; asked for by name it is an error.
    """
    wanted = named(wish.words)
    alone = {word for word in wish.words if word not in SUITES}
    for name, model in open_models(wish, home):
        for kind in wanted:
            task = made(kind, wish)
            try:
                task.checked_items  # noqa: B018  (reads the data)
            except GnomonError as error:
                if kind.name in alone:
                    raise
                yield name, task, str(error)
                continue
            yield name, task, examine(task, model, home, wish.limit, partial(progress, name, task.name))


def summary_lines(name: str, task: Task, found: list[Record] | str) -> Iterator[str]:
    """One line a task, in words."""
    if isinstance(found, str):
        yield f"{task.name:<20} not run: {found}"
        return
    s = summarise(task, found)
    bits = "" if s.gold_bits_per_byte != s.gold_bits_per_byte else f"  {s.gold_bits_per_byte:.3f} bits/byte"
    refused = f"  {s.refused} refused ({'; '.join(s.notes)})" if s.refused else ""
    guess = f"  chance {s.chance:.0%}" if s.chance else ""
    yield f"{task.name:<20} {s.value.text():<24} n {s.n}{guess}{bits}{refused}"


def calibration_of(found: Sequence[Record]) -> dict[str, float] | None:
    """Calibration of a choice task with one right answer an item; None for others. The temperature is fitted on one
    half of the items, everything is measured on the other."""
    usable = [r for r in found if len(r.gold) == 1 and len(r.choice_log_probabilities) > 1]
    if len(usable) < 20:
        return None
    logs, gold = [list(r.choice_log_probabilities) for r in usable], [r.gold[0] for r in usable]
    fit = calibration.halves([r.item for r in usable])
    temperature = calibration.fit_temperature(
        [row for row, f in zip(logs, fit, strict=True) if f], [g for g, f in zip(gold, fit, strict=True) if f]
    )
    rest, right = (
        [r for r, f in zip(logs, fit, strict=True) if not f],
        [g for g, f in zip(gold, fit, strict=True) if not f],
    )
    out = {"temperature": temperature, "items": float(len(rest))}
    for label, t in (("", 1.0), ("_refitted", temperature)):
        shares = [calibration.probabilities(row, t) for row in rest]
        each, top = calibration.per_choice(shares, right), calibration.top_label(shares, right)
        out[f"ece_per_choice{label}"] = calibration.reliability(*each).ece
        out[f"ece_top_label{label}"] = calibration.reliability(*top).ece
        out[f"ece_adaptive{label}"] = calibration.reliability(*top, kind="adaptive").ece
        out[f"brier{label}"] = calibration.brier(shares, right)
    return out


def reliability_of(name: str, found: Sequence[Record]) -> ReliabilityCurve | None:
    """Figure 8's curve of one model, over questions with one right choice among three or more; None without any."""
    usable = [r for r in found if len(r.gold) == 1 and len(r.choice_log_probabilities) > 2]
    if not usable:
        return None
    shares = [calibration.probabilities(r.choice_log_probabilities) for r in usable]
    curve = calibration.reliability(*calibration.per_choice(shares, [r.gold[0] for r in usable]))
    return ReliabilityCurve(name, curve.ece, tuple(ReliabilityDot(b.claimed, b.right, b.count) for b in curve.bins))


def write_page(path: Path, found: Sequence[tuple[str, Task, list[Record] | str]], command: str) -> None:
    """One HTML page of an examination."""
    results = [to_json(name, task, records_) for name, task, records_ in found]
    by_model: dict[str, list[Record]] = {}
    for name, _, records_ in found:
        if not isinstance(records_, str):
            by_model.setdefault(name, []).extend(records_)
    curves = [c for name, mine in by_model.items() if (c := reliability_of(name, mine)) is not None]
    ran = {r["task"] for r in results if "value" in r}
    printed = [row for row in published.rows("gpt4_academic") if row["task"] in ran]
    write_text(path, render_evals(", ".join(by_model) or "nothing", results, curves, printed, command))


def list_lines() -> Iterator[str]:
    """Suites and tasks."""
    for suite, members in SUITES.items():
        yield f"{suite:<14} {' '.join(members)}"
    yield ""
    for name, kind in sorted(tasks().items()):
        told = (kind.__doc__ or "").strip().splitlines()
        yield f"{name:<24} {told[0] if told else ''}"


def compare_lines(home: Path, a: str, b: str) -> Iterator[str]:
    """B against A on every task that both were examined on, item by item."""
    files = {who: {p.stem: p for p in (home / "records" / who).glob("*.parquet")} for who in (a, b)}
    for who, found in files.items():
        if not found:
            raise GnomonError(
                f"{who}: no records in {home / 'records'}; `gnomon evals run {who} --suite ...` makes them"
            )
    shared = sorted(set(files[a]) & set(files[b]))
    if not shared:
        raise GnomonError(f"{a} and {b}: no task in the same version was asked of both")
    yield f"{'task':<24} {a[:12]:>12} {b[:12]:>12}   difference [95 %]            p   detectable"
    for stem in shared:
        left, right = (_item_values(records.read(files[who][stem])) for who in (a, b))
        items = sorted(set(left) & set(right))
        x, y = [left[i][0] for i in items], [right[i][0] for i in items]
        c = stats.compare(x, y, [left[i][1] for i in items])
        d = c.difference
        yield (
            f"{stem.rsplit('-', 1)[0]:<24} {sum(x) / len(x):>12.3f} {sum(y) / len(y):>12.3f}   "
            f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]   {c.p:.3f}   {c.detectable:.3f}"
        )


def _item_values(found: Sequence[Record]) -> dict[str, tuple[float, str]]:
    """item -> (mean over its samples, cluster)."""
    values: dict[str, list[float]] = {}
    clusters = {r.item: r.cluster for r in found}
    for r in found:
        values.setdefault(r.item, []).append(r.value)
    return {item: (sum(v) / len(v), clusters[item]) for item, v in values.items()}


def sandbox_report(unsafe: bool) -> dict[str, Any]:
    """Layers, the hostile suite and the cost of an execution, as `gnomon evals sandbox --json` writes it."""
    from gnomon.evals.sandbox.hostile import run_suite
    from gnomon.evals.sandbox.runner import Job, Sandbox

    with Sandbox(unsafe=unsafe) as sandbox:
        outcomes = run_suite(sandbox)
        times = []
        for i in range(QUIET_RUNS):
            began = time.perf_counter()
            sandbox.run(Job(f"def f():\n    return {i}\n", f"assert f() == {i}", ("f",)))
            times.append(time.perf_counter() - began)
        return {
            "layers": sandbox.layers,
            "stopped": sum(o.stopped for o in outcomes),
            "total": len(outcomes),
            "breaches": [o.name for o in outcomes if not o.stopped],
            "ms_per_execution": 1000 * statistics.median(times),
        }


def sandbox_lines(report: dict[str, Any]) -> Iterator[str]:
    for layer, active in report["layers"].items():
        shown = active if isinstance(active, int) and not isinstance(active, bool) else "yes" if active else "no"
        yield f"{layer:<14} {shown}"
    yield f"{report['stopped']} of {report['total']} hostile programs stopped; {report['ms_per_execution']:.1f} ms each"
    for name in report["breaches"]:
        yield f"BREACH: {name}"


FORGERY = "    import os, sys\n    os.write(4, b'[\"value\",true,[]]\\n' * 50)\n    os._exit(0)\n"


def selfcheck(task: str, data: Path) -> dict[str, Any]:
    """Do a code task's reference solutions pass, and does a forged answer ever? The counts, and what failed."""
    from gnomon.evals.sandbox.runner import PATIENT, Sandbox
    from gnomon.evals.tasks.coding import CodeTask

    (kind,) = named([task])
    if not issubclass(kind, CodeTask):
        raise GnomonError(f"selfcheck {task}: it runs no code; take humaneval, mbpp or graded-unseen")
    with Sandbox() as sandbox:
        found = kind(data, sandbox=sandbox)
        items = found.checked_items
        began = time.perf_counter()
        verdicts = sandbox.run_all([replace(found.job(item, found.reference(item)), limits=PATIENT) for item in items])
        seconds = time.perf_counter() - began
        forged = sandbox.run_all([found.job(item, FORGERY) for item in items])
    return {
        "items": len(items),
        "reference_passed": sum(v.passed for v in verdicts),
        "forged_passed": sum(v.passed for v in forged),
        "seconds": seconds,
        "failed": [f"{i.id}: {v.result} {v.message}" for i, v in zip(items, verdicts, strict=True) if not v.passed],
    }


def to_json(name: str, task: Task, found: list[Record] | str) -> dict[str, Any]:
    """One object a task for machines."""
    if isinstance(found, str):
        return {"model": name, "task": task.name, "not_run": found}
    s: Summary = summarise(task, found)
    body: dict[str, Any] = {"model": name, **s.to_dict()}
    measured = calibration_of(found)
    return {**body, "calibration": measured} if measured else body
