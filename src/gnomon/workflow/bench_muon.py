"""gnomon bench muon: Muon beside AdamW on a ladder of small budgets, at equal FLOPs and at equal seconds.

Each optimiser is first tuned by as many runs as the other, at the smallest budget: AdamW its rate, Muon its own, with
the recipe's rate for what stays AdamW's. Then both train every budget on the same rows, from the same seeds. At equal
FLOPs Muon's orthogonalisation is free; so a third run gives Muon only the compute that AdamW's time pays for. Time is
this process's own, steps of both in turn, so that other programs do not count. Losses are of the development text.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gnomon.common.files import write_json
from gnomon.corpus.shards import Corpus
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import run_folder
from gnomon.ladder.table import read_result
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Recipe

LADDER = ((2e10, 16), (5e10, 16), (1e11, 24), (2e11, 32), (4e11, 48))  # compute, width
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the recipe's rates, tried at the smallest budget
SEEDS = (0, 1, 2)
TIMED_STEPS = 30
SCHEMA_VERSION = 1
OPTIMISERS = {"adamw": "rate", "muon": "muon_rate"}  # and the knob that each is tuned by


@dataclass(frozen=True)
class Cell:
    """One budget: mean loss and its standard error over seeds, in nats. cost: Muon's seconds a step over AdamW's."""

    compute: float
    width: int
    cost: float
    adamw: tuple[float, float]
    muon: tuple[float, float]
    muon_equal_seconds: tuple[float, float]


def family_of(recipe: Recipe, corpus: Corpus, optimiser: str, factor: float) -> Family:
    """The recipe's family under an optimiser, its own rate turned by a factor."""
    knob = OPTIMISERS[optimiser]
    update = {"optimiser": optimiser, knob: getattr(recipe.family, knob) * factor}
    return Family(recipe.family.model_copy(update=update), corpus.vocab, corpus.hash, recipe.seed)


def step_costs(plans: Sequence[Plan], corpus: Corpus, steps: int = TIMED_STEPS) -> list[float]:
    """Seconds of processor time of a step of each plan, medians of steps taken in turn."""
    from gnomon.train.execution import decide, honoured
    from gnomon.train.session import Session
    from gnomon.train.term import NextToken

    def stepper(plan: Plan, folder: Path) -> Callable[[], None]:
        session = Session(plan, corpus, folder, decide(plan), [NextToken(plan.optimisation.z_loss)])
        session.restore()

        def step() -> None:
            session.take_step()

        return step

    times: list[list[float]] = [[] for _ in plans]
    with tempfile.TemporaryDirectory() as folder, honoured(decide(plans[0])):
        steppers = [stepper(replace(p, steps=10**6), Path(folder) / str(i)) for i, p in enumerate(plans)]
        for turn in range(steps + 3):
            for step, seconds in zip(steppers, times, strict=True):
                began = time.process_time()
                step()
                if turn >= 3:
                    seconds.append(time.process_time() - began)
    return [statistics.median(seconds) for seconds in times]


class Bench:
    """The runs of one recipe. home: where they live; none is trained twice."""

    def __init__(self, recipe: Recipe, corpus: Corpus, home: Path, cores: int) -> None:
        self.recipe, self.corpus, self.home, self.cores = recipe, corpus, home, cores
        self.split = "development" if corpus.has("development") else "documents"

    def train(self, plans: Sequence[Plan]) -> None:
        from gnomon.workflow.transfer import train_missing

        tokens = self.recipe.evals.subset_tokens
        train_missing(plans, self.split, self.corpus, self.home, self.cores, tokens, None)

    def loss(self, plan: Plan) -> float:
        """Nats on the held-out split; inf for a run that diverged."""
        result = read_result(run_folder(self.home, plan.run_id))
        assert result is not None
        return result["evaluations"][self.split]["loss_nats"] if result["status"] == "done" else math.inf

    def tuned(self, compute: float, width: int, factors: Sequence[float]) -> dict[str, dict[float, float]]:
        """By optimiser, the loss at every factor."""
        plans = {
            (optimiser, factor): family_of(self.recipe, self.corpus, optimiser, factor).at(compute, width)
            for optimiser in OPTIMISERS
            for factor in factors
        }
        self.train(list(plans.values()))
        found: dict[str, dict[float, float]] = {optimiser: {} for optimiser in OPTIMISERS}
        for (optimiser, factor), plan in plans.items():
            found[optimiser][factor] = self.loss(plan)
        return found

    def ladder(self, best: dict[str, float], budgets: Sequence[tuple[float, int]], seeds: Sequence[int]) -> list[Cell]:
        """Every budget, with each optimiser's own rate."""
        adamw, muon = (family_of(self.recipe, self.corpus, name, best[name]) for name in OPTIMISERS)
        rows = []
        for compute, width in budgets:
            seconds = step_costs([adamw.at(compute, width), muon.at(compute, width)], self.corpus)
            cost = round(seconds[1] / seconds[0], 2)
            ways = [(adamw, compute), (muon, compute), (muon, compute / cost)]
            plans = [[family.at(spent, width, seed) for seed in seeds] for family, spent in ways]
            rows.append((compute, width, cost, plans))
        self.train([plan for *_, plans in rows for way in plans for plan in way])
        return [
            Cell(compute, width, cost, *(mean_and_error([self.loss(plan) for plan in way]) for way in plans))
            for compute, width, cost, plans in rows
        ]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the standard error of it: 0 for a single value."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return statistics.fmean(values), error


def muon_lines(
    recipe: Recipe,
    home: Path,
    out: Path | None,
    cores: int = 1,
    budgets: Sequence[tuple[float, int]] = LADDER,
    factors: Sequence[float] = FACTORS,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[str]:
    """The whole comparison on a recipe's corpus, in words; into the folder `out`, muon.json."""
    from gnomon.corpus.build import build_corpus
    from gnomon.workflow.display import stage_progress

    with stage_progress() as progress:
        corpus = build_corpus(recipe.corpus, home, progress)
    bench = Bench(recipe, corpus, home, cores)
    compute, width = budgets[0]
    trials = bench.tuned(compute, width, factors)
    best = {name: min(losses, key=lambda factor: losses[factor]) for name, losses in trials.items()}
    yield f"tuned at {compute:.0e} FLOPs, width {width}, one seed; nats on {bench.split}"
    for name, knob in OPTIMISERS.items():
        base = getattr(recipe.family, knob)
        tried = "  ".join(f"{base * factor:g}: {loss:.4f}" for factor, loss in trials[name].items())
        edge = ", the edge of what was tried" if best[name] in (min(factors), max(factors)) else ""
        yield f"  {name:6} {knob} {tried}; best {base * best[name]:g}{edge}"
    cells = bench.ladder(best, budgets, seeds)
    yield f"mean of {len(seeds)} seeds ± standard error; seconds are processor time of a step, in turn"
    yield f"{'FLOPs':>7} {'width':>5} {'AdamW':>17} {'Muon, equal FLOPs':>26} {'a step':>7} {'Muon, equal seconds':>26}"
    for cell in cells:
        yield (
            f"{cell.compute:7.0e} {cell.width:5} {cell.adamw[0]:9.4f} ± {cell.adamw[1]:.4f}"
            f" {_beside(cell.muon, cell.adamw)} {cell.cost:6.2f}x {_beside(cell.muon_equal_seconds, cell.adamw)}"
        )
    if out is not None:
        rows = [vars(cell) for cell in cells]
        write_json(out / "muon.json", {"tuning": _named(trials), "best": best, "rows": rows}, SCHEMA_VERSION)
        yield f"every figure: {out / 'muon.json'}"


def _beside(found: tuple[float, float], other: tuple[float, float]) -> str:
    return f"{found[0]:9.4f} ± {found[1]:.4f} ({100 * (found[0] / other[0] - 1):+5.2f} %)"


def _named(trials: dict[str, dict[float, float]]) -> dict[str, dict[str, float]]:
    return {name: {f"{factor:g}": loss for factor, loss in losses.items()} for name, losses in trials.items()}
