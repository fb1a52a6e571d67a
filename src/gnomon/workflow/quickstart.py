"""The main loop in one command: read text, train tiny models, forecast a far bigger one, seal it, train it, look.

What is shown while it runs is the observer's affair (workflow/display.py); what is true is in the study's files.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gnomon.common.errors import GnomonError
from gnomon.corpus.shards import Corpus
from gnomon.forecast import Forecast, Score
from gnomon.ladder.budgets import Cost, cost, rungs
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import Event
from gnomon.recipe.flops import train_flops
from gnomon.recipe.load import load_recipe
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import CorpusRecipe, FolderSource, HeldOut, Recipe
from gnomon.registry import Entry
from gnomon.workflow.glance import Glance, glance
from gnomon.workflow.study import Study, check_ladder
from gnomon.workflow.verdict import forecast_rows, scores, sealed_forecasts

TARGET_THREAD_GAIN = 0.8  # what a further core adds to the speed of the one big run
SMALLER = {"quickstart": "smoke"}  # what a text too small for a preset falls back to


class Observer(Protocol):
    """What quickstart tells whoever watches."""

    def began(self, recipe: Recipe, found: Glance, rungs: int, times_larger: float, cost: Cost) -> None: ...
    def reading(self, stage: str, fraction: float) -> None: ...
    def read(self, study: Study, corpus: Corpus) -> None: ...
    def note(self, line: str) -> None: ...
    def rung(self, event: Event) -> None: ...
    def sealed(self, study: Study, entry: Entry, forecasts: dict[str, Forecast]) -> None: ...
    def target(self, event: Event) -> None: ...
    def opened(self, forecasts: dict[str, Forecast], scores: dict[str, Score], log_line: str) -> None: ...
    def ended(self, report: Path, wall_s: float) -> None: ...


@dataclass(frozen=True)
class Options:
    """preset: a shipped recipe or a path. corpus: the user's folder. overrides: key=value. cores: to be used.

    executor: who does the runs, as ladder/executors/choose.py names them. track: who is told the
    target's learning curve (train/trackers.py).
    """

    preset: str
    home: Path
    cores: int
    corpus: Path | None = None
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    executor: str = "local"
    track: tuple[str, ...] = ()


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
        raise GnomonError(
            f"--corpus {folder}: no such folder; give a folder of txt, md, html, jsonl, csv or code files"
        )
    return corpus.model_copy(
        update={
            "sources": (FolderSource(kind="folder", path=str(folder)),),
            "held_out": HeldOut(by=corpus.held_out.by, fraction=corpus.held_out.fraction),
        }
    )


def quickstart(options: Options, observer: Observer, core_flops_per_s: float) -> dict[str, Any]:
    """Walk the whole way, or the rest of it. Returns the object that `--json` writes.

    core_flops_per_s: of one core (machine_speed.py); only the estimate of minutes depends on it.
    Raises GnomonError for bad input, JobFailed when a run failed, KeyboardInterrupt when stopped (all is kept).
    """
    began = time.monotonic()
    if options.track:
        from gnomon.train.trackers import check_trackers

        check_trackers(options.track)
    study = _read(options, observer, core_flops_per_s)
    table = study.run_ladder(observer.rung)
    forecasts, warnings = study.forecast(table)
    entry = study.seal(forecasts, warnings, table)
    forecasts = sealed_forecasts(entry)  # those of an earlier start, where there was one
    observer.sealed(study, entry, forecasts)
    result = study.run_target(entry, observer.target)
    study.close(entry, result)
    verdict = scores(entry, result)
    log_line = study.registry.log().text
    observer.opened(forecasts, verdict, log_line)

    from gnomon.workflow.reporting import write_study_report

    problems = study.verify()
    report = write_study_report(study, entry, result)
    wall_s = time.monotonic() - began
    observer.ended(report, wall_s)
    return summary(study, entry, result, wall_s, registry_ok=not problems) | {"report": str(report)}


def _read(options: Options, observer: Observer, core_flops_per_s: float) -> Study:
    """The study with its text read, on the preset, or on the smaller one when the text does not last."""
    recipe = quickstart_recipe(options)
    wished = Family(recipe.family, recipe.corpus.vocabulary, "", recipe.seed)
    ladder = rungs(recipe.ladder.budgets, wished)
    plans = [rung.plan for rung in ladder]
    target_plan = wished.at(recipe.target.compute, recipe.target.width)
    times_larger = check_ladder([(rung.budget, rung.plan) for rung in ladder], target_plan)
    needs = whole_cost(plans, target_plan, core_flops_per_s, options.cores)
    observer.began(recipe, glance(recipe.corpus), len(plans), times_larger, needs)
    study = Study(recipe, options.home, options.cores, options.executor, options.track)
    corpus = study.build(observer.reading)
    have, wish = len(corpus.tokens("train")), study.target_plan.tokens
    smaller = SMALLER.get(options.preset)
    if have < wish and smaller is not None:
        observer.note(
            f"the text has {have:,} tokens, and the target of `{options.preset}` reads {wish:,}; "
            f"taking the smaller plan `{smaller}`, whose law is worth less"
        )
        return _read(dataclasses.replace(options, preset=smaller), observer, core_flops_per_s)
    if have < wish:
        most = max(rung.plan.tokens for rung in study.rungs)
        observer.note(
            f"the target reads the text {wish / have:.1f} times over, the rungs at most {most / have:.1f} times; "
            "a law cannot see repetition: trust the interval less"
        )
    observer.read(study, corpus)
    return study


def whole_cost(plans: list[Plan], target: Plan, core_flops_per_s: float, cores: int) -> Cost:
    """The ladder on all cores, then the target on all of them together."""
    ladder = cost(plans, core_flops_per_s, cores)
    big = cost([target], core_flops_per_s * (1 + TARGET_THREAD_GAIN * (cores - 1)), 1)
    return Cost(
        runs=ladder.runs + 1,
        flops=ladder.flops + big.flops,
        seconds=ladder.seconds + big.seconds,
        memory_bytes=max(ladder.memory_bytes, big.memory_bytes),
        disk_bytes=ladder.disk_bytes + big.disk_bytes,
    )


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
