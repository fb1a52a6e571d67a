"""The main loop in one command: read text, train tiny models, forecast a far bigger one, seal it, train it, look.

What is shown while it runs is the observer's affair (workflow/display.py); what is true is in the study's files.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gnomon.common.errors import GnomonError
from gnomon.corpus.shards import Corpus
from gnomon.forecast import Forecast, Score
from gnomon.ladder.budgets import Cost, cost
from gnomon.ladder.jobs import Event
from gnomon.recipe.flops import train_flops
from gnomon.recipe.load import load_recipe
from gnomon.recipe.values import CorpusRecipe, FolderSource, HeldOut, Recipe
from gnomon.registry import Entry
from gnomon.workflow.study import Study
from gnomon.workflow.verdict import forecast_rows, scores

SMALLER = {"quickstart": "smoke"}  # what a text too small for a preset falls back to


class Observer(Protocol):
    """What quickstart tells whoever watches."""

    def began(self, recipe: Recipe, corpus_folder: Path | None) -> None: ...
    def reading(self, stage: str, fraction: float) -> None: ...
    def read(self, study: Study, corpus: Corpus, cost: Cost) -> None: ...
    def note(self, line: str) -> None: ...
    def rung(self, event: Event) -> None: ...
    def sealed(self, study: Study, entry: Entry, forecasts: dict[str, Forecast]) -> None: ...
    def target(self, event: Event) -> None: ...
    def opened(self, study: Study, scores: dict[str, Score], log_line: str) -> None: ...
    def ended(self, report: Path, wall_s: float) -> None: ...


@dataclass(frozen=True)
class Options:
    """preset: a shipped recipe or a path. corpus: the user's folder. overrides: key=value. cores: to be used."""

    preset: str
    home: Path
    cores: int
    corpus: Path | None = None
    overrides: tuple[str, ...] = ()
    seed: int | None = None


def quickstart_recipe(options: Options) -> Recipe:
    """The preset with the user's overrides, seed and folder in it."""
    recipe = load_recipe(options.preset, options.overrides)
    changes: dict[str, Any] = {}
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.corpus is not None:
        changes["corpus"] = folder_corpus(recipe.corpus, options.corpus)
        changes["name"] = f"{recipe.name}-folder"
    return recipe.model_copy(update=changes)


def folder_corpus(corpus: CorpusRecipe, folder: Path) -> CorpusRecipe:
    """The same treatment for the user's own text; what is held out comes from the folder itself."""
    if not folder.exists():
        raise GnomonError(f"--corpus {folder}: no such folder; give a folder of txt, md, html, jsonl, csv or code files")
    return corpus.model_copy(
        update={
            "sources": (FolderSource(kind="folder", path=str(folder)),),
            "held_out": HeldOut(by=corpus.held_out.by, fraction=corpus.held_out.fraction),
        }
    )


def quickstart(options: Options, observer: Observer, peak_flops_per_s: float) -> dict[str, Any]:
    """Walk the whole way, or the rest of it. Returns the object that `--json` writes.

    peak_flops_per_s: what one core's large matmuls reach; only the estimate of minutes depends on it.
    Raises GnomonError for bad input, JobFailed when a run failed, KeyboardInterrupt when stopped (all is kept).
    """
    began = time.monotonic()
    study = _read(options, observer, peak_flops_per_s)
    table = study.run_ladder(observer.rung)
    forecasts, warnings = study.forecast(table)
    entry = study.seal(forecasts, warnings, table)
    observer.sealed(study, entry, forecasts)
    result = study.run_target(entry, observer.target)
    study.close(entry, result)
    verdict = scores(entry, result)
    log_line = study.registry.log().text
    observer.opened(study, verdict, log_line)

    from gnomon.workflow.reporting import write_study_report

    problems = study.verify()
    report = write_study_report(study, entry, result)
    wall_s = time.monotonic() - began
    observer.ended(report, wall_s)
    return summary(study, entry, result, wall_s, registry_ok=not problems) | {"report": str(report)}


def _read(options: Options, observer: Observer, peak_flops_per_s: float) -> Study:
    """The study with its text read, on the preset, or on the smaller one when the text does not last."""
    recipe = quickstart_recipe(options)
    observer.began(recipe, options.corpus)
    study = Study(recipe, options.home, options.cores)
    corpus = study.build(observer.reading)
    have, wish = len(corpus.tokens("train")), study.target_plan.tokens
    smaller = SMALLER.get(options.preset)
    if have < wish and smaller is not None:
        observer.note(
            f"your text has {have:,} tokens, and the target of `{options.preset}` reads {wish:,}; "
            f"taking the smaller plan `{smaller}`, whose law is worth less"
        )
        return _read(Options(smaller, options.home, options.cores, options.corpus, options.overrides, options.seed),
                     observer, peak_flops_per_s)  # fmt: skip
    if have < wish:
        observer.note(
            f"the target reads your text {wish / have:.1f} times over; the rungs read it at most "
            f"{max(r.plan.tokens for r in study.rungs) / have:.1f} times, and a law cannot see repetition: trust the interval less"
        )
    study.check_target()
    plans = [rung.plan for rung in study.rungs]
    total = cost(plans, peak_flops_per_s, options.cores)
    target = cost([study.target_plan], peak_flops_per_s * options.cores * 0.8, 1)
    observer.read(
        study,
        corpus,
        Cost(total.runs + 1, total.flops + target.flops, total.seconds + target.seconds,
             max(total.memory_bytes, target.memory_bytes), total.disk_bytes + target.disk_bytes),
    )  # fmt: skip
    return study


def summary(study: Study, entry: Entry, result: dict[str, Any], wall_s: float, registry_ok: bool) -> dict[str, Any]:
    """The object for machines: one key per number a script would ask for."""
    largest = max(train_flops(rung.plan) for rung in study.rungs)
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "wall_s": round(wall_s, 1),
        "peak_rss_gb": round((here + study.cores * child) * 1024 / 1e9, 3),
        "rungs": len(study.rungs),
        "ladder_flops": sum(train_flops(rung.plan) for rung in study.rungs),
        "preregistration_flops": sum(entry.body["compute_before_registration"].values()),
        "target_flops": study.target.compute,
        "target_over_largest_rung": study.target.compute / largest,
        "forecasts": forecast_rows(entry, result),
        "registry_ok": registry_ok,
    }
