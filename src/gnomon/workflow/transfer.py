"""Does what was tuned on a small model hold for a big one? The best rate at every size, and what a wrong one costs.

Each size is trained at seven rates, two apart, over two seeds, at the same tokens and batch; a parabola in log2(rate)
gives its best. Two numbers count (arXiv:2203.03466, 2505.01618): by how many octaves the best moves away from the
smallest size's, and the regret, the loss at the smallest size's best rate over the loss at one's own. Rates are those
of the recipe: what every rule makes of them at each size is what is being tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json, write_text
from gnomon.corpus.shards import Corpus
from gnomon.figures.picture import standalone
from gnomon.figures.transfer import TransferCurve, transfer_curves
from gnomon.ladder.executors.local import LocalExecutor
from gnomon.ladder.family import Family, derived_seed
from gnomon.ladder.jobs import Event, Job, run_folder
from gnomon.ladder.table import read_result
from gnomon.recipe.flops import matmul_parameters, train_flops
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.recipe.values import FamilyRecipe, Recipe

FACTORS = tuple(2.0**i for i in range(-3, 4))  # of the recipe's own value
SEEDS = (0, 1)
SCHEMA_VERSION = 1
NEIGHBOURS = 2  # points on each side of the lowest that the parabola is fitted to,
CLIFF = 1.03  # unless they are this many times higher: there a rate breaks something, and no parabola holds
SHIFT_ALLOWED = 0.5  # octaves a fourfold size
REGRET_ALLOWED = 0.3  # per cent

Axis = Literal["width", "depth", "tokens", "batch"]
Knob = Literal["rate", "embed_ratio", "timescale"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Size:
    """One model of one axis. value: its width, its blocks, its tokens, or the tokens of its batch."""

    axis: Axis
    value: float
    shape: ModelShape
    tokens: int
    batch_rows: int


@dataclass(frozen=True)
class Valley:
    """Where a size learns best, and the loss around it. All abscissas are log2 of the knob's factor.

    best, loss: the vertex. bracketed: worse on both sides of it. curvature: of the parabola, which is believed from
    low to high. x, y: the runs that came to an end, ascending.
    """

    best: float
    loss: float
    bracketed: bool
    curvature: float
    low: float
    high: float
    x: tuple[float, ...]
    y: tuple[float, ...]

    def at(self, log2: float) -> float:
        """The loss anywhere: the parabola near its vertex, a monotone curve through the runs elsewhere, inf beyond."""
        from scipy.interpolate import PchipInterpolator

        if self.low <= log2 <= self.high:
            return self.loss + self.curvature * (log2 - self.best) ** 2
        if len(self.x) < 2 or not self.x[0] <= log2 <= self.x[-1]:
            return math.inf
        return float(PchipInterpolator(self.x, self.y)(log2))


def sizes(
    family: Family,
    widths: Sequence[int],
    depths: Sequence[int],
    tokens: int,
    horizons: Sequence[int] = (),
    batches: Sequence[int] = (),
) -> list[Size]:
    """The sizes of every axis. The other axes keep to the second width, its depth, `tokens` and the family's batch.

    depths: blocks. horizons: tokens of whole runs. batches: rows. Raises GnomonError when an axis has a single size.
    """
    for name, values in (("widths", widths), ("depths", depths), ("horizons", horizons), ("batches", batches)):
        if len(set(values)) == 1:
            raise GnomonError(f"transfer: {name} {tuple(values)} is one size; a shift needs at least two")
    rows = family.batch_rows(tokens)
    found = [Size("width", width, family.shape(width), tokens, rows) for width in sorted(widths)]
    middle = family.shape(sorted(widths)[min(1, len(widths) - 1)] if widths else family.recipe.base.width)
    for depth in sorted(depths):
        shape = replace(middle, depth=depth, branch_multiplier=family.recipe.base.depth / depth)
        found.append(Size("depth", depth, shape, tokens, rows))
    found += [Size("tokens", horizon, middle, horizon, rows) for horizon in sorted(horizons)]
    found += [Size("batch", batch * middle.context, middle, tokens, batch) for batch in sorted(batches)]
    return found


def plan_of(family: Family, size: Size, factor: float, seed: int, knob: Knob) -> Plan:
    """The run of a size with the knob turned by factor, after every rule of the family."""
    turned = replace(family, recipe=family.recipe.model_copy(update={knob: getattr(family.recipe, knob) * factor}))
    steps = max(1, round(size.tokens / (size.batch_rows * size.shape.context)))
    return Plan(
        shape=size.shape,
        optimisation=turned.optimisation(size.shape, steps * size.batch_rows * size.shape.context, size.batch_rows),
        steps=steps,
        batch_rows=size.batch_rows,
        seed=derived_seed("weights", family.seed, seed),
        order_seed=derived_seed("order", family.seed, seed),
        corpus=family.corpus,
        dtype=family.recipe.dtype,
    )


def valley_of(factors: Sequence[float], losses: Sequence[float]) -> Valley:
    """A parabola in log2(factor) through the lowest loss and its neighbours, none on a cliff; diverged runs are inf.

    Raises GnomonError when no run came to an end.
    """
    import numpy as np

    pairs = [(math.log2(f), loss) for f, loss in sorted(zip(factors, losses, strict=True)) if math.isfinite(loss)]
    if not pairs:
        raise GnomonError("transfer: every run of a size diverged; begin from a smaller rate")
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    lowest = int(y.argmin())
    # A rate beyond which runs diverge is a side too.
    bracketed = lowest > 0 and (lowest < len(x) - 1 or len(x) < len(losses))
    near = (np.abs(np.arange(len(x)) - lowest) <= NEIGHBOURS) & (y <= y[lowest] * CLIFF)
    best, loss, curvature = float(x[lowest]), float(y[lowest]), 0.0
    low = high = best
    if bracketed and near.sum() >= 3:
        fitted, slope, constant = np.polyfit(x[near] - best, y[near], 2)
        if fitted > 0:
            away = float(np.clip(-slope / (2 * fitted), -1, 1))
            low, high, curvature = float(x[near][0]), float(x[near][-1]), float(fitted)
            best, loss = best + away, float(fitted * away**2 + slope * away + constant)
    return Valley(best, loss, bracketed, curvature, min(low, best), max(high, best), tuple(x), tuple(y))


def summarise(runs: Sequence[dict[str, Any]], own: float) -> list[dict[str, Any]]:
    """One row a size, from rows of runs (axis, value, factor, seed, loss_nats; None where the run diverged).

    own: the recipe's value of the knob. Each row: best (the knob's best value), shift_octaves from the axis's smallest
    size with its standard error over seeds, octaves_per_4x (half of it is how far the axis's exponent in the family's
    rules is off), loss_nats at its best, regret_pct of the smallest size's best and
    recipe_regret_pct of the recipe's own value, in per cent of the loss; bracketed.
    """
    rows: list[dict[str, Any]] = []
    for axis in dict.fromkeys(run["axis"] for run in runs):
        part = [run for run in runs if run["axis"] == axis]
        values = sorted({run["value"] for run in part})
        seeds = sorted({run["seed"] for run in part})
        factors = sorted({run["factor"] for run in part})
        by_cell = {
            (run["value"], run["factor"], run["seed"]): math.inf if run["loss_nats"] is None else run["loss_nats"]
            for run in part
        }
        valleys = {v: valley_of(factors, [_mean(by_cell[v, f, s] for s in seeds) for f in factors]) for v in values}
        bests = {v: [valley_of(factors, [by_cell[v, f, s] for f in factors]).best for s in seeds] for v in values}
        smallest = valleys[values[0]]
        for value, valley in valleys.items():
            shift = valley.best - smallest.best
            size_ratio = value / values[0]
            rows.append(
                {
                    "axis": axis,
                    "value": value,
                    "best": own * 2**valley.best,
                    "bracketed": valley.bracketed,
                    "shift_octaves": shift,
                    "shift_stderr": _stderr([a - b for a, b in zip(bests[value], bests[values[0]], strict=True)]),
                    "octaves_per_4x": shift / math.log(size_ratio, 4) if size_ratio > 1 else 0.0,
                    "loss_nats": valley.loss,
                    "regret_pct": _regret(valley.at(smallest.best), valley.loss),
                    "recipe_regret_pct": _regret(valley.at(0.0), valley.loss),
                }
            )
    return rows


def _mean(losses: Iterator[float]) -> float:
    found = list(losses)
    return sum(found) / len(found)


def _stderr(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _regret(loss: float, lowest: float) -> float | None:
    """Per cent above the lowest; None where the runs diverged."""
    return max(0.0, 100 * (loss / lowest - 1)) if math.isfinite(loss) else None


def transfer(
    recipe: FamilyRecipe,
    corpus: Corpus,
    home: Path,
    out: Path,
    *,
    widths: Sequence[int],
    tokens: int,
    depths: Sequence[int] = (),
    horizons: Sequence[int] = (),
    batches: Sequence[int] = (),
    factors: Sequence[float] = FACTORS,
    seeds: Sequence[int] = SEEDS,
    knob: Knob = "rate",
    cores: int = 1,
    subset_tokens: int = 200_000,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train every size at every factor and seed; one row a size (see summarise), losses on the development split.

    Runs live in home and are never repeated. Into out: transfer.json (rows, runs, the family) and one SVG an axis.
    progress: hears (what, share done). Raises GnomonError on an axis of one size, or when all runs of a size diverged;
    JobFailed when a run failed.
    """
    family = Family(recipe, corpus.vocab, corpus.hash)
    split = "development" if corpus.has("development") else "documents"
    cells = [
        (size, factor, seed, plan_of(family, size, factor, seed, knob))
        for size in sizes(family, widths, depths, tokens, horizons, batches)
        for factor in sorted(factors)
        for seed in seeds
    ]
    train_missing([plan for *_, plan in cells], split, corpus, home, cores, subset_tokens, progress)
    runs = []
    for size, factor, seed, plan in cells:
        result = read_result(run_folder(home, plan.run_id))
        assert result is not None
        done = result["status"] == "done"
        runs.append(
            {
                "axis": size.axis, "value": size.value, "factor": factor, "seed": seed, "run_id": plan.run_id,
                "parameters_matmul": matmul_parameters(plan.shape), "tokens": plan.tokens,
                "batch_tokens": plan.batch_tokens, knob: getattr(recipe, knob) * factor,
                "loss_nats": result["evaluations"][split]["loss_nats"] if done else None,
            }
        )  # fmt: skip
    rows = summarise(runs, getattr(recipe, knob))
    body = {"knob": knob, "split": split, "corpus": corpus.hash, "rows": rows, "runs": runs}
    write_json(out / "transfer.json", body | {"family": recipe.model_dump(mode="json")}, SCHEMA_VERSION)
    for axis in dict.fromkeys(row["axis"] for row in rows):
        part = [run for run in runs if run["axis"] == axis]
        write_text(out / f"transfer-{axis}.svg", draw(part, axis, knob))
    return rows


def train_missing(
    plans: Sequence[Plan],
    split: str,
    corpus: Corpus,
    home: Path,
    cores: int,
    subset_tokens: int,
    progress: Progress | None,
) -> None:
    """Train the plans that have no result yet."""
    waiting = {p.run_id: p for p in plans if read_result(run_folder(home, p.run_id)) is None}
    total, done = sum(train_flops(p) for p in waiting.values()), 0.0
    finished = 0

    def hear(event: Event) -> None:
        nonlocal done, finished
        if event.kind == "done":
            done += train_flops(waiting[event.run_id])
            finished += 1
            if progress is not None:
                progress(f"run {finished} of {len(waiting)}", done / total)

    jobs = [Job("train", plan, (split,), subset_tokens) for plan in waiting.values()]
    LocalExecutor(home, corpus.folder, cores).run(jobs, hear)


def draw(runs: Sequence[dict[str, Any]], axis: Axis, knob: Knob) -> str:
    """The curves of one axis as an SVG file: per cent above a size's own best, over the knob's value."""
    curves = []
    for value in sorted({run["value"] for run in runs}):
        part = [run for run in runs if run["value"] == value]
        settings = sorted({run[knob] for run in part})
        losses = [
            _mean(math.inf if r["loss_nats"] is None else r["loss_nats"] for r in part if r[knob] == s)
            for s in settings
        ]
        lowest = min(losses)
        points = [(s, 100 * (loss / lowest - 1)) for s, loss in zip(settings, losses, strict=True)]
        curves.append(TransferCurve(f"{axis} {value:,.0f}", tuple((s, p) for s, p in points if math.isfinite(p))))
    return standalone(transfer_curves(tuple(curves), knob.replace("_", " ")).wide)


def default_sizes(recipe: Recipe) -> dict[str, Any]:
    """Widths doubling from the smallest rung to the target, depths from the family's smallest, the base's tokens."""
    width = min(w for budget in recipe.ladder.budgets for w in budget.widths)
    widths = [width]
    while 2 * widths[-1] <= max(recipe.target.width, 4 * width):
        widths.append(2 * widths[-1])
    depth = min(recipe.family.depths.values())
    return {"widths": widths, "depths": [depth, 2 * depth, 4 * depth], "tokens": round(recipe.family.base.tokens)}


def transfer_lines(recipe: Recipe, home: Path, out: Path, cores: int = 1, **changes: Any) -> Iterator[str]:
    """The whole measurement on a recipe's corpus, in words. changes: keywords of transfer, before the defaults."""
    from gnomon.corpus.build import build_corpus
    from gnomon.workflow.display import stage_progress

    asked = {**default_sizes(recipe), **changes}
    with stage_progress() as progress:
        corpus = build_corpus(recipe.corpus, home, progress)
        rows = transfer(recipe.family, corpus, home, out, cores=cores, progress=progress, **asked)
    knob = asked.get("knob", "rate")
    best = f"best {knob}"
    head = f"{'axis':6} {'size':>9} {best:>16} {'shift':>14} {'per 4x':>7} {'loss':>7}"
    yield f"{head} {'regret':>8} {'of the recipe':>13}"
    for row in rows:
        stderr = "" if row["shift_stderr"] is None else f" ± {row['shift_stderr']:.2f}"
        best = f"{row['best']:.4g}" + ("" if row["bracketed"] else "?")
        yield (
            f"{row['axis']:6} {row['value']:9,.0f} {best:>16} {row['shift_octaves']:+7.2f}{stderr:7} "
            f"{row['octaves_per_4x']:+7.2f} {row['loss_nats']:7.4f} {_percent(row['regret_pct']):>8} "
            f"{_percent(row['recipe_regret_pct']):>13}"
        )
    yield "shift and regret: octaves (factors of two), per cent of the loss; ?: no worse setting was tried on one side"
    yield f"held: {_verdict(rows)}; every run: {out / 'transfer.json'}"


def _percent(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f} %"


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Which sizes keep within half an octave a fourfold size and a regret of 0.3 %."""
    moved = [row for row in rows if abs(row["octaves_per_4x"]) > SHIFT_ALLOWED]
    costly = [row for row in rows if row["regret_pct"] is None or row["regret_pct"] > REGRET_ALLOWED]
    if not moved and not costly:
        return f"every shift within {SHIFT_ALLOWED} octaves a fourfold size, every regret within {REGRET_ALLOWED} %"
    said = [f"{r['axis']} {r['value']:,.0f} moves {r['octaves_per_4x']:+.2f} octaves a fourfold size" for r in moved]
    said += [f"{r['axis']} {r['value']:,.0f} costs {_percent(r['regret_pct'])}" for r in costly]
    return "not " + "; ".join(said)
