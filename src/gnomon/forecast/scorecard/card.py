"""The scorecard: every method on every protocol, side by side, as one value to print or to write as JSON.

read_collection(folder) -> score(collection, methods) -> {"methods": {...}, "cost": {...}, ...}; show.lines() prints it.
Nothing is kept between calls: what a card says was computed from the files whose hashes it names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.forecast.scorecard import scores
from gnomon.forecast.scorecard.baselines import baselines
from gnomon.forecast.scorecard.families import Collection
from gnomon.forecast.scorecard.gnomon_method import Gnomon, method_version
from gnomon.forecast.scorecard.method import Method
from gnomon.forecast.scorecard.protocols import cost, coverage, downstream, isoflop, rnsl, rolling_origin
from gnomon.forecast.scorecard.protocols.asking import Asked, ask

CARD_SCHEMA_VERSION = 1
PROTOCOLS = ("rolling_origin", "isoflop", "coverage", "rnsl", "downstream", "cost")

Progress = Callable[[str, int, int], None]


def methods_named(names: Sequence[str] | None) -> list[Method]:
    """gnomon and the baselines, or those of these names. Raises GnomonError on a name that is none of them."""
    known: list[Method] = [Gnomon(), *baselines()]
    if not names:
        return known
    missing = sorted(set(names) - {m.name for m in known})
    if missing:
        raise GnomonError(f"scorecard: no method {missing[0]!r}; there are {', '.join(m.name for m in known)}")
    return [m for m in known if m.name in names]


def protocols_named(names: Sequence[str] | None) -> list[str]:
    """The protocols of these names, all where none are given. Raises GnomonError on a name that is none of them."""
    missing = sorted(set(names or ()) - set(PROTOCOLS))
    if missing:
        raise GnomonError(f"scorecard: no protocol {missing[0]!r}; there are {', '.join(PROTOCOLS)}")
    return [p for p in PROTOCOLS if not names or p in names]


@dataclass
class _Work:
    """Questions asked so far, for the progress bar."""

    total: int
    progress: Progress | None
    done: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def tick(self, what: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(what, self.done, self.total)


def score(
    collection: Collection,
    methods: Sequence[Method] | None = None,
    protocols: Sequence[str] | None = None,
    refits: int = rolling_origin.REFITS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The card. refits: most fits a family and ratio of the rolling origin; progress(what, done, total): called after
    every question.

    Raises GnomonError when a method learned from a source of the folder and cannot leave it out, or when no protocol
    finds anything to ask.
    """
    methods = methods_named(None) if methods is None else list(methods)
    chosen = protocols_named(protocols)
    plans = _plans(collection, chosen, refits)
    curves = collection.curves if "rnsl" in chosen else ()
    tables = collection.downstream if "downstream" in chosen else ()
    timed = collection.using("rolling_origin") if "cost" in chosen else []
    if not any(plans.values()) and not curves and not tables and not timed:
        raise GnomonError(
            f"{collection.folder}: nothing that {', '.join(chosen)} could ask about; see docs/scorecard.md"
        )
    full = [m for m in methods if not m.only_tasks]
    work = _Work(len(full) * (sum(map(len, plans.values())) + len(curves)), progress)
    result: dict[str, dict[str, Any]] = {}
    for method in methods:
        start = time.process_time()
        result[method.name] = {} if method.only_tasks else _losses(method, plans, work)
        if curves and not method.only_tasks:
            errors = rnsl.curve_errors(method, curves, work.tick)
            if errors is not None:
                result[method.name]["_curves"] = errors
        tasks = downstream.summary(method, tables) if tables else None
        if tasks is not None:
            result[method.name]["downstream"] = tasks
        work.seconds[method.name] = time.process_time() - start
    _compare_curves(result, {c.name: c.domain for c in curves})
    return {
        "schema_version": CARD_SCHEMA_VERSION,
        "method_version": method_version(),
        "methods": {name: value for name, value in result.items() if value},
        "cost": cost.measure(timed),
        "data": _data(collection),
        "seconds": work.seconds,
    }


def _plans(collection: Collection, chosen: Sequence[str], refits: int) -> dict[tuple[str, int], list[Asked]]:
    """(protocol, ratio) -> questions, in the order of the card."""
    rolling, sweeps = collection.using("rolling_origin"), collection.using("isoflop")
    plans: dict[tuple[str, int], list[Asked]] = {}
    if "rolling_origin" in chosen:
        plans |= {("rolling_origin", k): rolling_origin.plan(rolling, k, refits) for k in rolling_origin.RATIOS}
    if "isoflop" in chosen:
        plans |= {("isoflop", k): isoflop.plan(sweeps, k) for k in isoflop.RATIOS}
    if "coverage" in chosen:
        plans |= {("coverage", k): coverage.plan(rolling, k) for k in coverage.RATIOS}
    return plans


def _losses(method: Method, plans: dict[tuple[str, int], list[Asked]], work: _Work) -> dict[str, Any]:
    """{protocol: {ratio: figures}} of the protocols about losses; a ratio without targets is left out."""
    result: dict[str, Any] = {}
    for (protocol, ratio), plan in plans.items():
        rows = ask(method, plan, ratio, work.tick)
        if not rows:
            continue
        if protocol == "coverage":
            figures = scores.coverage(rows)
        elif protocol == "isoflop":
            figures = _isoflop(rows)
        else:
            figures = scores.summary(rows)
        if figures is not None:
            result.setdefault(protocol, {})[str(ratio)] = figures
    return result


def _isoflop(rows: Sequence[scores.Row]) -> dict[str, Any]:
    """Figures of all sources, and of the clean ones under "clean"."""
    everything = scores.summary(rows)
    clean = [r for r in rows if r.clean]
    return _short(everything) | {"clean": _short(scores.summary(clean)) if clean else None}


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    return {"median_ape": figures["pooled_median_ape"], "p90_ape": figures["pooled_p90_ape"]} | figures


def _compare_curves(result: dict[str, dict[str, Any]], domains: dict[str, str]) -> None:
    """Replace each method's errors of curves by their summary; BNSL must be among the methods to be compared with."""
    errors = {name: value.pop("_curves") for name, value in result.items() if "_curves" in value}
    for name, own in errors.items():
        result[name]["rnsl"] = rnsl.summary(own, errors.get("bnsl") if name != "bnsl" else None, domains)


def _data(collection: Collection) -> dict[str, Any]:
    """What the card was computed from."""
    return {
        "files": collection.hashes,
        "skipped": collection.skipped,
        "sources": collection.sources,
        "families": [
            {
                "name": f.name,
                "source": f.source,
                "file": f.file,
                "metric": f.metric,
                "runs": len(f),
                "annealed": f.annealed,
                "clean": f.clean,
                "protocols": sorted(f.uses),
                "note": f.note,
            }
            for f in collection.families
        ],
    }
