"""From a study's files to its report: gathers what the page shows, and asks the models for their samples.

Rungs are read on a subset of each held-out set; what is drawn is carried over to the whole set by the ratio that the
forecast itself uses, so that rungs, curve and outcome stand on one scale.
"""

from __future__ import annotations

import lzma
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.card import make_card
from gnomon.corpus.shards import Corpus
from gnomon.figures import Interval, IsoflopBudget, LearningCurve
from gnomon.forecast import Fit, Forecast, fit
from gnomon.forecast.table import RunTable
from gnomon.ladder.jobs import run_folder
from gnomon.ladder.table import read_result
from gnomon.registry import Entry, attestation
from gnomon.report import data as view
from gnomon.report.page import write_report
from gnomon.train.metrics import METRICS_FILE, read_metrics
from gnomon.workflow.machine import machine
from gnomon.workflow.study import Study
from gnomon.workflow.verdict import forecast_rows, sealed_forecasts

NAMES = {"codebase": "the held-out source", "documents": "held-out documents"}
PROMPTS = ("def fibonacci(n):\n", "class Node:\n    def __init__(self", "import os\n\n")
TEXT_PROMPTS = ("The ", "In the beginning", "\n\n")
SAMPLE_TOKENS = 72
CURVE_POINTS = 40


@dataclass(frozen=True)
class _Gathered:
    """What several parts of the report need."""

    study: Study
    entry: Entry
    result: dict[str, Any]
    table: RunTable
    fitted: Fit
    forecasts: dict[str, Forecast]
    carried: float  # whole set over subset, as the sealed forecast has it


def write_study_report(study: Study, entry: Entry, result: dict[str, Any]) -> Path:
    """Write the page and its data into the home's reports; return the page's path."""
    path = study.home / "reports" / f"{study.name}.html"
    gathered = gather(study, entry, result)
    write_report(gathered, path)
    return path


def rewrite_report(home: Path, name: str) -> Path:
    """Render a study's page again from its stored data. Raises GnomonError when no or several studies begin so."""
    found = sorted((home / "reports").glob(f"{name}*.json"))
    if len(found) != 1:
        listed = ", ".join(p.stem for p in found) or "none"
        raise GnomonError(f"report {name or '(any)'}: {len(found)} studies in {home / 'reports'} begin so: {listed}")
    path = found[0].with_suffix(".html")
    write_report(view.read_report(found[0]), path)
    return path


def gather(study: Study, entry: Entry, result: dict[str, Any]) -> view.ReportData:
    """Everything the page shows."""
    table = study.write_table()
    forecasts = sealed_forecasts(entry)
    fitted = fit(table, study.metrics[0])
    subset = fitted.predict(study.target).median
    g = _Gathered(study, entry, result, table, fitted, forecasts, forecasts[study.metrics[0]].median / subset)
    corpus = study.corpus
    times = study.target.compute / max(r["flops"] for r in table.rows())
    return view.ReportData(
        title=f"{study.recipe.name}: a model forecast from {times:.0f} times less compute",
        subtitle=study.recipe.about,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        target=view.TargetView(
            compute=study.target.compute,
            parameters=study.target.parameters,
            tokens=study.target.tokens,
            run_id=result["run_id"],
            trained=True,
            status=result["status"],
            seconds=result["seconds"],
        ),
        rungs=_rungs(g),
        forecasts=_forecasts(g),
        law=_curve(g),
        isoflop=_isoflop(g),
        learning=_learning(g),
        shares=forecasts[study.metrics[0]].shares,
        corpus=make_card(corpus.manifest),
        yardstick=yardstick(corpus, study.held_out[0]),
        samples=_samples(g),
        machine=_machine(g),
        costs=_costs(g),
        other_compute=sum(v for k, v in entry.body["compute_before_registration"].items() if k == "tuning"),
        registry=_registry(g),
        findings=tuple(view.Finding("warning", line) for line in entry.body["warnings"]),
        guards=_guards(g),
        commands=_commands(g),
    )


def yardstick(corpus: Corpus, split: str) -> view.Yardstick:
    """What `xz -9` needs for the whole held-out text, in bits per byte."""
    text = corpus.text(split)
    packed = lzma.compress(text, preset=9)
    return view.Yardstick(NAMES.get(split, split), 8 * len(packed) / len(text), len(text))


def _rungs(g: _Gathered) -> tuple[view.Rung, ...]:
    metric = g.study.metrics[0]
    stderr = metric.replace("bits_per_byte_", "stderr_")
    rows = g.table.rows()
    best = {m: min((r for r in rows if r["budget"] == m and r[metric] == r[metric]), key=lambda r: r[metric])["run_id"]
            for m in {r["budget"] for r in rows if r[metric] == r[metric]}}  # fmt: skip
    return tuple(
        view.Rung(
            run_id=r["run_id"],
            compute=r["flops"],
            parameters=r["parameters_matmul"],
            tokens=r["tokens"],
            loss=None if math.isnan(r[metric]) else r[metric] * g.carried,
            stderr=None if math.isnan(r[stderr]) else r[stderr],
            width=int(r["width"]),
            depth=int(r["depth"]),
            seed=next((x.replica for x in g.study.rungs if x.plan.run_id == r["run_id"]), 0),
            seconds=r["seconds"],
            budget=r["budget"],
            minimum=best.get(r["budget"]) == r["run_id"],
            status=r["status"],
        )
        for r in rows
    )


def _forecasts(g: _Gathered) -> tuple[view.ForecastView, ...]:
    views = []
    for row, (metric, f) in zip(forecast_rows(g.entry, g.result), g.forecasts.items(), strict=True):
        name = metric.removeprefix("bits_per_byte_")
        outcome = row["outcome"]
        views.append(
            view.ForecastView(
                metric=metric,
                name=NAMES.get(name, name),
                interval=_interval(f.quantiles, f.median),
                last_point=f.last_point,
                law=f.law,
                outcome=outcome,
                outcome_stderr=g.result["evaluations"][name]["stderr_bits_per_byte"] if outcome is not None else None,
                error_pct=row["error_pct"],
                last_point_error_pct=row["last_point_error_pct"],
                inside_90=row["inside_90"],
                crps=row["crps"],
            )
        )
    return tuple(views)


def _interval(q: dict[str, float], median: float, factor: float = 1.0) -> Interval:
    return Interval(median * factor, q["0.25"] * factor, q["0.75"] * factor, q["0.05"] * factor, q["0.95"] * factor)


def _curve(g: _Gathered) -> tuple[tuple[float, Interval], ...]:
    """The law with its interval from the cheapest rung to the target, on the best allocation."""
    low = math.log(min(r["flops"] for r in g.table.rows()))
    high = math.log(g.study.target.compute)
    computes = [math.exp(low + (high - low) * i / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)]
    return tuple(
        (p["compute"], Interval(*(g.carried * p[k] for k in ("median", "q25", "q75", "q05", "q95"))))
        for p in g.fitted.curve(computes)
    )


def _isoflop(g: _Gathered) -> tuple[IsoflopBudget, ...]:
    metric, budgets = g.study.metrics[0], []
    minima = {m.compute: m for m in g.fitted.minima}
    for budget in sorted({r["budget"] for r in g.table.rows()}):
        rows = [r for r in g.table.rows() if r["budget"] == budget and not math.isnan(r[metric])]
        points = tuple(sorted((r["parameters_matmul"], r[metric] * g.carried) for r in rows))
        found = min(minima.values(), key=lambda m: abs(math.log(m.compute / budget)), default=None)
        if found is None or abs(math.log(found.compute / budget)) > 0.2:
            budgets.append(IsoflopBudget(budget, points, bracketed=False))
            continue
        low, high = math.log(points[0][0]), math.log(points[-1][0])
        grid = [low + (high - low) * i / 24 for i in range(25)]
        curve = tuple(
            (math.exp(u), g.carried * found.loss * math.exp(found.curvature * (u - math.log(found.size)) ** 2))
            for u in grid
        )
        budgets.append(IsoflopBudget(budget, points, (found.size, found.loss * g.carried), curve))
    return tuple(budgets)


def _learning(g: _Gathered) -> tuple[LearningCurve, ...]:
    """The best rung of every budget, and the target."""
    curves = []
    for rung in (r for r in _rungs(g) if r.minimum):
        curves.append(_learning_curve(g, rung.run_id, f"{rung.parameters / 1e3:.0f}k parameters", False))
    curves.append(_learning_curve(g, g.result["run_id"], "target", True))
    return tuple(curves)


def _learning_curve(g: _Gathered, run_id: str, label: str, target: bool) -> LearningCurve:
    rows = read_metrics(run_folder(g.study.home, run_id) / METRICS_FILE)
    return LearningCurve(label, tuple(r["flops"] for r in rows), tuple(r["bits_per_byte"] for r in rows), target)


def _samples(g: _Gathered) -> tuple[view.Sample, ...]:
    """The same prompts answered by the smallest rung, the largest and the target, with the same seed."""
    from gnomon.engine.protocol import SamplingOptions
    from gnomon.workflow.engines import load_run
    from gnomon.workflow.sample import complete

    if g.result["status"] != "done":
        return ()
    done = sorted((r for r in _rungs(g) if r.minimum), key=lambda r: (r.compute, r.parameters))
    models = [("smallest", done[0].run_id), ("largest", done[-1].run_id), ("target", g.result["run_id"])]
    code = any(source["kind"] == "python" for source in g.study.corpus.manifest["sources"])
    prompts = PROMPTS if code else TEXT_PROMPTS
    options = SamplingOptions(max_tokens=SAMPLE_TOKENS, temperature=0.6, seed=1)
    texts = {role: complete(load_run(g.study.home, run_id), prompts, options) for role, run_id in models}
    size = {role: load_size(g, run_id) for role, run_id in models}
    return tuple(
        view.Sample(prompt, tuple(view.Answer(size[role], texts[role][i], role) for role, _ in models))
        for i, prompt in enumerate(prompts)
    )


def load_size(g: _Gathered, run_id: str) -> str:
    """A model's size in words."""
    row = next((r for r in g.table.rows() if r["run_id"] == run_id), None)
    parameters = row["parameters_matmul"] if row else g.study.target.parameters
    return (
        f"{parameters / 1e6:.2f} million parameters"
        if parameters >= 1e6 / 2
        else f"{parameters / 1e3:.0f} thousand parameters"
    )


def _machine(g: _Gathered) -> tuple[tuple[str, str], ...]:
    facts = machine(g.study.home)
    return (
        ("processor", facts["processor"]),
        ("cores used", str(g.study.cores)),
        ("memory", f"{facts['memory_bytes'] / 1e9:.0f} GB"),
        ("kernels", facts["kernels"]),
        ("torch", str(facts["packages"]["torch"])),
        ("dtype", g.result["dtype"]),
        (
            "target's speed",
            f"{g.result['tokens_per_s']:,.0f} tokens/s, "
            f"{g.result['flops'] / max(g.result['seconds'], 1e-9) / 1e9:.1f} GFLOP/s",
        ),
    )


def _costs(g: _Gathered) -> tuple[view.Cost, ...]:
    spent = g.entry.body["compute_before_registration"]
    target = g.study.target.compute
    words = {"tuning": "finding the recipe, on the development set", "rungs": "one run a size and budget",
             "seeds": "repeats that measure the noise", "failed": "runs that diverged"}  # fmt: skip
    lines = [
        view.Cost(name, f"{spent[name]:.3g} FLOPs", f"{words[name]}; {spent[name] / target:.0%} of the target")
        for name in words
    ]
    seconds = sum(r["seconds"] for r in g.table.rows())
    return (
        *lines,
        view.Cost("ladder, core time", f"{seconds / 60:.1f} minutes", f"{len(g.table)} runs of one thread"),
        view.Cost("target", f"{target:.3g} FLOPs", f"{g.result['seconds'] / 60:.1f} minutes on {g.study.cores} cores"),
    )


def _guards(g: _Gathered) -> tuple[view.GuardRow, ...] | None:
    """What the guards of rungs and target counted; None where a run is from before there were any."""
    target = g.result["run_id"]
    counts = [(r.run_id, (read_result(run_folder(g.study.home, r.run_id)) or {}).get("guards")) for r in _rungs(g)]
    counts.append((target, g.result.get("guards")))
    if any(seen is None for _, seen in counts):
        return None
    kinds = dict.fromkeys(kind for _, seen in counts for kind in seen or {})
    rows = []
    for kind in kinds:
        totals = {here: sum((seen or {}).get(kind, 0) for run, seen in counts if (run == target) == here)
                  for here in (False, True)}  # fmt: skip
        rows.append(view.GuardRow(kind, totals[False], totals[True]))
    return tuple(rows)


def _registry(g: _Gathered) -> view.RegistryView:
    problems = tuple(f"{p.kind}: {p.message}" for p in g.study.verify())
    witness = attestation(g.study.registry, g.entry)
    return view.RegistryView(
        entry_hash=g.entry.hash,
        head=g.study.registry.head,
        sealed_at=g.entry.time,
        anchor=witness.label if witness.outside else "",
        log_line=g.study.registry.log().text,
        verified=not problems,
        problems=problems,
    )


def _commands(g: _Gathered) -> tuple[view.Command, ...]:
    name, run = g.study.recipe.name, g.result["run_id"][:8]
    return (
        view.Command(
            f"gnomon quickstart --seed {g.study.recipe.seed}", "everything on this page, from text to verdict"
        ),
        view.Command(f"gnomon recipe show {name.removesuffix('-folder')}", "every setting, with its reason"),
        view.Command("gnomon ladder table", "the runs behind the law"),
        view.Command("gnomon forecast verify", "check the chain, score the forecast again"),
        view.Command(f'gnomon sample {run} --prompt "def "', "talk to the target"),
    )
