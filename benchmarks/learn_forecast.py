"""Learn the numbers behind a forecast from a folder of published run tables, leaving each source out in turn.

    python benchmarks/learn_forecast.py --data DIR [--settings 60] [--cuts 8]

Three steps. Settings of the surface with a misfit: of a pool drawn at random over plausible ranges, the fifteen that do
best on the sources seen are averaged. Records: each law's error at 10 and 100 times the compute. Widths: the quantiles
of the combined forecast's error over its scale. Every number is made once from all sources and once without each; the
coverage in the file is that of intervals which never saw the source they are tested on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast import Fit, Target, fit, isoflop, learned
from gnomon.forecast.kriging import KrigedSurface, Setting, fit_kriged
from gnomon.forecast.record import is_small
from gnomon.forecast.runs import admissible
from gnomon.forecast.scorecard.families import Family, read_collection

METRIC = "loss_nats_scored"
RATIOS = (10, 100, 1000)
FEWEST_RUNS, SMALLEST_SPAN = 8, 3.0
AVERAGED = 15
DRAWS = 16
REFERENCE = KrigedSurface.name
SHARES = (0.5, 0.8, 0.9)
# Seven sources are few: the quantile is taken a little further out than its name.
STRICTER = {0.5: 0.52, 0.8: 0.83, 0.9: 0.93}
GROWTH, SHARE, LEVEL = 1 / 3, 1 / 3, 0.02


@dataclass(frozen=True)
class Problem:
    """Runs to fit and targets to forecast: compute, size, tokens, log_loss [t]. kind: "any" or "optimum"."""

    family: Family
    ratio: int
    kind: str
    rows: np.ndarray
    compute: np.ndarray
    size: np.ndarray
    tokens: np.ndarray
    log_loss: np.ndarray

    @property
    def source(self) -> str:
        return self.family.source

    @property
    def decades(self) -> np.ndarray:
        return np.log10(self.compute / self.family.flops_C[self.rows].max())


def rolling_problems(family: Family, cuts: int) -> Iterable[Problem]:
    """Fits of the runs up to a cut, targets `ratio` times above it; neighbouring targets share a fit."""
    compute = family.flops_C
    for ratio in RATIOS:
        top = compute >= compute.max() / 100 if ratio == 10 else np.ones(len(family), dtype=bool)
        targets = [i for i in np.argsort(compute, kind="stable") if top[i] and _enough(family, compute[i] / ratio)]
        for group in np.array_split(np.array(targets, dtype=int), min(cuts, len(targets)) or 1):
            if len(group):
                rows = np.flatnonzero(compute <= compute[group].min() / ratio * (1 + 1e-9))
                at = (compute[group], family.params_N[group], family.tokens_D[group], np.log(family.loss[group]))
                yield Problem(family, ratio, "any", rows, *at)


def _enough(family: Family, cut: float) -> bool:
    kept = family.flops_C <= cut * (1 + 1e-9)
    if kept.sum() < FEWEST_RUNS:
        return False
    span = family.flops_C[kept].max() / family.flops_C[kept].min()
    sizes, lengths = len(np.unique(family.params_N[kept])), len(np.unique(np.round(np.log(family.tokens_D[kept]), 2)))
    return bool(span >= SMALLEST_SPAN and sizes >= 3 and lengths >= 3)


def optimum_problems(family: Family) -> Iterable[Problem]:
    """Minima of isoFLOP budgets from the budgets 10 and 100 times below; at least three of these."""
    runs = admissible(family.table(), METRIC)
    minima = [isoflop.minimum_of(p, runs, np.full(len(runs), 4e-6)) for p in isoflop.parabolas(runs)[0]]
    budgets = np.array([np.median(runs.compute[runs.budget == b]) for b in range(runs.budgets)])
    rows_of = {name: i for i, name in enumerate(family.table().ids())}
    for ratio in RATIOS[:2]:
        for m in minima:
            kept = np.flatnonzero(budgets <= 1.1 * m.compute / ratio)
            if len(kept) >= 3:
                rows = np.array([rows_of[i] for i in runs.ids[np.isin(runs.budget, kept)]])
                at = (np.array([v]) for v in (m.compute, m.size, m.tokens, np.log(m.loss)))
                yield Problem(family, ratio, "optimum", rows, *at)


def random_setting(rng: np.random.Generator) -> Setting:
    """Plausible ranges around what published fits found; the pool is the prior on the prior."""

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    spread = between(0.3, 0.6)
    return Setting(
        exponent=(rng.uniform(0.30, 0.37), between(0.04, 0.1)),
        ratio_size=(rng.uniform(-1.1, -0.75), spread),
        ratio_tokens=(rng.uniform(-1.1, -0.75), spread),
        rough=(between(0.012, 0.05), between(1.0, 4.0)),
        smooth=(between(0.04, 0.2), between(4.0, 9.0)),
        growth=rng.uniform(0.2, 0.9),
        noise=between(0.003, 0.015),
        fade=rng.uniform(0.0, 0.6),
        tail=6.0,
    )


def average(settings: list[Setting]) -> Setting:
    """Means are averaged as they are, scales in logs; rounded to two digits."""

    def two(value: float) -> float:
        return float(f"{value:.2g}")

    def pair(name: str, logs: bool) -> tuple[float, float]:
        a = np.array([getattr(s, name) for s in settings])
        first = np.exp(np.log(a[:, 0]).mean()) if logs else a[:, 0].mean()
        return two(float(first)), two(float(np.exp(np.log(a[:, 1]).mean())))

    return Setting(
        **{name: pair(name, False) for name in ("exponent", "ratio_size", "ratio_tokens")},
        **{name: pair(name, True) for name in ("rough", "smooth")},
        growth=two(float(np.mean([s.growth for s in settings]))),
        noise=two(float(np.exp(np.mean([np.log(s.noise) for s in settings])))),
        fade=two(float(np.mean([s.fade for s in settings]))),
        tail=6.0,
    )


def choose_settings(problems: list[Problem], count: int, without: list[str]) -> dict[str, Setting]:
    """The setting for each left-out source ("" for none)."""
    rng = np.random.default_rng(0)
    pool = [random_setting(rng) for _ in range(count)]
    tables = [admissible(p.family.select(p.rows).table(), METRIC) for p in problems]
    errors = []
    for number, setting in enumerate(pool):
        errors.append([_kriged_errors(p, runs, setting) for p, runs in zip(problems, tables, strict=True)])
        print(f"\rsetting {number + 1} of {count}", end="", file=sys.stderr)
    print(file=sys.stderr)
    chosen = {}
    for source in without:
        loss = [badness(problems, e, source) for e in errors]
        chosen[source] = average([pool[i] for i in np.argsort(loss, kind="stable")[:AVERAGED]])
    return chosen


def _kriged_errors(problem: Problem, runs: Any, setting: Setting) -> np.ndarray:
    at = {"parameters": problem.size, "tokens": problem.tokens}
    return np.asarray(np.log(fit_kriged(runs, setting).predict(at)[0]) - problem.log_loss)


def badness(problems: list[Problem], errors: list[np.ndarray], without: str) -> float:
    """Logs of the median and of the 90th percentile of the absolute error, sources alike, 1000x at half weight."""
    total = 0.0
    for ratio, weight in zip(RATIOS, (1.0, 1.0, 0.5), strict=True):
        by_source: dict[str, dict[str, list[np.ndarray]]] = {}
        for problem, error in zip(problems, errors, strict=True):
            if problem.ratio == ratio and problem.source != without:
                by_source.setdefault(problem.source, {}).setdefault(problem.family.name, []).append(np.abs(error))
        whole = [{f: np.concatenate(e) for f, e in families.items()} for families in by_source.values()]
        if whole:
            middle = np.mean([np.mean([np.log(0.003 + np.median(e)) for e in f.values()]) for f in whole])
            tail = np.mean([np.quantile(np.concatenate(list(f.values())), 0.9) for f in whole])
            total += weight * float(middle + np.log(tail))
    return total


@dataclass(frozen=True)
class Outcome:
    """One target's log errors by law, the combined one, the deviation that the fit expected, and where it stood."""

    source: str
    family: str
    kind: str
    ratio: int
    decades: float
    laws: dict[str, float]
    combined: float
    expected: float


def fitted(problem: Problem) -> Fit:
    """By numbers that never saw the problem's source."""
    table = problem.family.select(problem.rows).table()
    return fit(table, METRIC, draws=DRAWS, left_out={problem.source})


def attempt(problem: Problem) -> Fit | None:
    """None where the doctor refuses the rows or no law can be fitted to them."""
    try:
        return fitted(problem)
    except GnomonError as error:
        print(f"{problem.family.name}, {problem.ratio}x: {error}", file=sys.stderr)
        return None


def outcomes(problem: Problem, fit_of_it: Fit) -> list[Outcome]:
    """Errors of the fit, weighed by the records as they are in the file now."""
    if is_small(fit_of_it.runs):
        return []
    now = replace(fit_of_it, learned=learned.learned({problem.source}))
    done = []
    for row in zip(problem.compute, problem.size, problem.tokens, problem.log_loss, strict=True):
        compute, size, tokens, log_loss = (float(v) for v in row)
        target = Target(compute, size, tokens)
        points, _ = now.laws_at(target)
        errors = {m.law.name: float(v - log_loss) for m, v in zip(now.members, points, strict=True)}
        combined = float(now.weights_at(target) @ points - log_loss)
        where = (problem.source, problem.family.name, problem.kind, problem.ratio, now.decades(target))
        done.append(Outcome(*where, errors, combined, now.expected_deviation(target)))
    return done


def balanced(rows: list[Outcome]) -> np.ndarray:
    """Weights that make sources alike, and families within a source."""
    families = {(r.source, r.family) for r in rows}
    count = {f: sum((r.source, r.family) == f for r in rows) for f in families}
    of_source = {s: sum(f[0] == s for f in families) for s, _ in families}
    return np.array([1 / count[(r.source, r.family)] / of_source[r.source] for r in rows])


def records(rows: list[Outcome], without: str) -> dict[str, dict[str, list[float]]]:
    """kind -> law -> root mean square error at 10 and 100 times.

    Not every table carries every law, and those that carry few are not as hard as the rest: a law's error is that of
    the surface with a misfit over all tables, times the ratio of the two over the targets that both have.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for kind in ("any", "optimum"):
        seen = [r for r in rows if r.kind == kind and r.source != without and REFERENCE in r.laws]
        at = {ratio: [r for r in seen if r.ratio == ratio] for ratio in RATIOS[:2]}
        found[kind] = {}
        for law in sorted({name for r in seen for name in r.laws}):
            both = {ratio: [r for r in group if law in r.laws] for ratio, group in at.items()}
            if all(both.values()):
                values = [rms(at[k], REFERENCE) * rms(both[k], law) / rms(both[k], REFERENCE) for k in at]
                found[kind][law] = [float(f"{v:.3g}") for v in values]
    return found


def rms(rows: list[Outcome], law: str) -> float:
    return float(np.sqrt(np.average([r.laws[law] ** 2 for r in rows], weights=balanced(rows))))


def factors(rows: list[Outcome], without: str, scale: Callable[[Outcome], float]) -> dict[str, float]:
    """Quantiles of the error over its scale; the ratios count alike, 1000x at half weight."""
    seen = [r for r in rows if r.source != without and r.kind == "any"]
    weight = np.zeros(len(seen))
    for ratio, much in zip(RATIOS, (1.0, 1.0, 0.5), strict=True):
        at = [i for i, r in enumerate(seen) if r.ratio == ratio]
        weight[at] = much * balanced([seen[i] for i in at]) if at else 0.0
    size = np.array([abs(r.combined) / scale(r) for r in seen])
    order = np.argsort(size)
    share = np.cumsum(weight[order]) / weight.sum()
    return {str(s): float(f"{size[order][np.searchsorted(share, STRICTER[s])]:.3g}") for s in SHARES}


def usual_scale(row: Outcome) -> float:
    width = learned.Width(LEVEL, GROWTH, SHARE, {})
    return width.scale(row.decades, row.expected)


def coverage(rows: list[Outcome], value: dict[str, Any]) -> dict[str, dict[str, float]]:
    """ratio -> shares inside intervals of factors that never saw the source, sources alike."""
    found = {}
    for ratio in RATIOS:
        at = [r for r in rows if r.ratio == ratio and r.kind == "any"]
        weight = balanced(at)
        inside = {
            share: [abs(r.combined) <= value["without"][r.source]["factors"][str(share)] * usual_scale(r) for r in at]
            for share in SHARES[1:]
        }
        found[str(ratio)] = {
            **{f"{100 * share:.0f}": round(float(np.average(i, weights=weight)), 3) for share, i in inside.items()},
            "targets": len(at),
            "families": len({r.family for r in at}),
            "sources": len({r.source for r in at}),
        }
    return found


def write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    learned._file.cache_clear()
    learned._learned.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", type=int, default=60, help="size of the pool; 0 keeps the settings of the file")
    parser.add_argument("--cuts", type=int, default=8, help="fits a family and ratio")
    parser.add_argument("--rows", type=Path, help="every target's errors, as JSON, for study")
    parser.add_argument("--out", type=Path, default=learned.FILE)
    chosen = parser.parse_args()
    collection = read_collection(chosen.data)
    rolling = [p for f in collection.using("rolling_origin") for p in rolling_problems(f.rolling(), chosen.cuts)]
    optima = [p for f in collection.using("isoflop") for p in optimum_problems(f)]
    sources = sorted({p.source for p in (*rolling, *optima)})
    value = json.loads(learned.FILE.read_text(encoding="utf-8"))
    value["sources"] = sources
    start = value["without"][""]
    value["without"] = {s: dict(value["without"].get(s, start)) for s in ("", *sources)}
    if chosen.settings:
        for source, setting in choose_settings(rolling, chosen.settings, ["", *sources]).items():
            value["without"][source]["setting"] = setting.__dict__
    write(learned.FILE, value)
    problems = [*rolling, *optima]
    fits = []
    for number, problem in enumerate(problems):
        print(f"\rfit {number + 1} of {len(problems)}", end="", file=sys.stderr)
        if (fit_of_it := attempt(problem)) is not None:
            fits.append((problem, fit_of_it))
    print(file=sys.stderr)
    rows = [o for p, f in fits for o in outcomes(p, f)]
    for source in ("", *sources):
        value["without"][source]["errors"] = records(rows, source)
    write(learned.FILE, value)
    rows = [o for p, f in fits for o in outcomes(p, f)]  # weighed by the records just made
    for source in ("", *sources):
        found = factors(rows, source, usual_scale)
        value["without"][source] |= {"level": LEVEL, "growth": GROWTH, "share": SHARE, "factors": found}
    value["coverage"] = coverage(rows, value)
    if chosen.rows:
        chosen.rows.write_text(json.dumps([r.__dict__ for r in rows]), encoding="utf-8")
    write(chosen.out, value)
    print(json.dumps(value["coverage"], indent=1))


if __name__ == "__main__":
    main()
