"""One study: a recipe on a corpus, from text to an opened envelope, as steps that can each be repeated at no cost.

Every step is content-addressed or append-only, so the way through is also the way back in after an interruption:
corpus → ladder → table → forecast → registry → target → verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gnomon
from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock, read_json
from gnomon.common.hashing import content_hash, folder_hash
from gnomon.corpus.build import build_corpus
from gnomon.corpus.shards import Corpus
from gnomon.forecast import Forecast, RunTable, Target
from gnomon.ladder.budgets import Rung, rungs
from gnomon.ladder.evaluation import WHOLE_SETS_FILE, WHOLE_SETS_SCHEMA
from gnomon.ladder.executors.choose import check, executor_for
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import Job, OnEvent, run_folder
from gnomon.ladder.table import read_result, run_table
from gnomon.ladder.trunk import family_hash
from gnomon.recipe.flops import matmul_parameters, train_flops
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Recipe
from gnomon.registry import Entry, Problem, Registry, hash_of_target, require_entry, seeds_from, without_seeds
from gnomon.workflow.bench_cpu import resolved
from gnomon.workflow.sealed import verify_home_registry

FEWEST_RUNGS, FEWEST_BUDGETS = 8, 3  # what gnomon.forecast needs at least
OUTCOME_DEFINITION = "bits per byte on the whole held-out set, after the last step of the decay, from the final weights"
DIVERGENCE_RULE = (
    "a target whose loss is not a number, or ends above its first logged loss, counts as a miss of every metric"
)


@dataclass(frozen=True)
class Sealed:
    """What goes into the envelope, by metric, with what the doctor said of the table."""

    forecasts: dict[str, Forecast]
    warnings: tuple[str, ...]
    entry: Entry


def check_ladder(plans: Sequence[tuple[float, Plan]], target: Plan) -> float:
    """How many times the largest rung's compute the target has. plans: (budget, plan) of every rung.

    Raises GnomonError when the target is no bigger than a rung, or the ladder is too small for any law.
    """
    largest = max(train_flops(plan) for _, plan in plans)
    times_larger = train_flops(target) / largest
    if times_larger <= 1:
        raise GnomonError(
            f"target.compute is {train_flops(target):.3g} FLOPs, and the largest rung has {largest:.3g}; "
            "a forecast needs a target bigger than every rung"
        )
    budgets = len({budget for budget, _ in plans})
    if len(plans) < FEWEST_RUNGS or budgets < FEWEST_BUDGETS:
        raise GnomonError(
            f"ladder.budgets: {len(plans)} rungs at {budgets} budgets are too few for a law; "
            f"give at least {FEWEST_RUNGS} rungs at {FEWEST_BUDGETS} budgets, three widths each"
        )
    return times_larger


class Study:
    """recipe: what to run. home: where everything is kept. cores: processes side by side, and threads of the target.

    executor: who does the runs, as executors/choose.py names them. track: who is told the target's learning curve.
    """

    def __init__(
        self, recipe: Recipe, home: Path, cores: int, executor: str = "local", track: tuple[str, ...] = ()
    ) -> None:
        recipe = resolved(recipe)
        self.recipe, self.home, self.cores, self.executor, self.track = recipe, home, cores, executor, track
        check(executor)
        self.registry = Registry(home / "forecasts.jsonl")
        self._corpus: Corpus | None = None

    # -- text ----------------------------------------------------------------------------------------------------------

    def build(self, progress: Callable[[str, float], None] | None = None) -> Corpus:
        """Read the text, or find it already read. Raises GnomonError when it is less than a batch of the target."""
        self._corpus = build_corpus(self.recipe.corpus, self.home, progress)
        have, need = len(self._corpus.tokens("train")), self.target_plan.batch_tokens + 1
        if have < need:
            raise GnomonError(
                f"corpus: {have} tokens of training text are less than one batch of the target ({need}); "
                "give more text, or a smaller family.base.batch_tokens"
            )
        return self._corpus

    @property
    def corpus(self) -> Corpus:
        if self._corpus is None:
            self.build()
        assert self._corpus is not None
        return self._corpus

    @property
    def held_out(self) -> tuple[str, ...]:
        """The held-out sets that are forecast: the codebase first, where there is one."""
        return tuple(name for name in ("codebase", "documents") if self.corpus.has(name))

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"bits_per_byte_{name}" for name in self.held_out)

    # -- ladder --------------------------------------------------------------------------------------------------------

    @property
    def family(self) -> Family:
        return Family(self.recipe.family, self.corpus.vocab, self.corpus.hash, self.recipe.seed)

    @cached_property
    def rungs(self) -> list[Rung]:
        return rungs(self.recipe.ladder.budgets, self.family)

    @property
    def table_path(self) -> Path:
        return self.home / "ladders" / self.name / "table.parquet"

    @property
    def name(self) -> str:
        """The study's folder: recipe, seed and what it read."""
        return f"{self.recipe.name}-{self.recipe.seed}-{content_hash([self.recipe.hash, self.corpus.hash])[:8]}"

    def ladder_jobs(self) -> list[Job]:
        """The runs that are not finished yet."""
        finished = self.results()
        return [
            Job("train", rung.plan, self.held_out, self.recipe.evals.subset_tokens)
            for rung in self.rungs
            if rung.plan.run_id not in finished
        ]

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of the finished rungs, by run id."""
        found = {r.plan.run_id: read_result(run_folder(self.home, r.plan.run_id)) for r in self.rungs}
        return {run_id: result for run_id, result in found.items() if result is not None}

    def run_ladder(self, on_event: OnEvent) -> RunTable:
        """Train what is missing, then evaluate the best run of the two top budgets on the whole held-out sets."""
        with Lock(self.table_path.parent / ".lock", f"ladder {self.name}"):
            executor = executor_for(self.executor, self.home, self.corpus.folder, self.cores)
            executor.run(self.ladder_jobs(), on_event)
            jobs = [
                Job("evaluate", rung.plan, self.held_out)
                for rung in self._bridge_rungs()
                if not (run_folder(self.home, rung.plan.run_id) / WHOLE_SETS_FILE).exists()
            ]
            executor.run(jobs, on_event)
            return self.write_table()

    def _bridge_rungs(self) -> list[Rung]:
        """The best finished run of each of the two top budgets: they say how the whole set differs from the subset."""
        best: dict[float, tuple[float, Rung]] = {}
        results = self.results()
        for rung in self.rungs:
            result = results.get(rung.plan.run_id)
            if result is None or result["status"] != "done":
                continue
            loss = result["evaluations"][self.held_out[0]]["bits_per_byte"]
            if rung.budget not in best or loss < best[rung.budget][0]:
                best[rung.budget] = (loss, rung)
        return [best[budget][1] for budget in sorted(best)[-2:]]

    def write_table(self) -> RunTable:
        rows = [(rung.plan, {"budget": rung.budget, "study": self.name}) for rung in self.rungs]
        table = run_table(self.home, rows, family_hash(self.recipe.family, self.corpus.hash))
        table.write(self.table_path)
        return table

    # -- forecast ------------------------------------------------------------------------------------------------------

    @cached_property
    def target_plan(self) -> Plan:
        """The target's plan before its seeds are known; they come from the entry's hash."""
        plan = self.family.at(self.recipe.target.compute, self.recipe.target.width)
        return dataclasses.replace(plan, seed=0, order_seed=0, study=f"{self.recipe.name}-{self.recipe.seed}")

    @property
    def target(self) -> Target:
        plan = self.target_plan
        return Target(train_flops(plan), matmul_parameters(plan.shape), plan.tokens)

    def forecast(self, table: RunTable) -> tuple[dict[str, Forecast], tuple[str, ...]]:
        """The forecast of every metric on its whole held-out set, and the doctor's warnings in words."""
        from gnomon.forecast import bridge, fit
        from gnomon.workflow.learning import width_factor

        factor = width_factor(self.home)
        forecasts: dict[str, Forecast] = {}
        warnings: list[str] = []
        whole = [
            read_json(run_folder(self.home, r.plan.run_id) / WHOLE_SETS_FILE, WHOLE_SETS_SCHEMA)["evaluations"]
            | {"run_id": r.plan.run_id}
            for r in self._bridge_rungs()
        ]
        for name, metric in zip(self.held_out, self.metrics, strict=True):
            fitted = fit(table, metric, factor=factor)
            pairs = [(table.value(w["run_id"], metric), w[name]["bits_per_byte"]) for w in whole]
            forecasts[metric] = bridge(fitted.predict(self.target), pairs)
            warnings += [w for w in forecasts[metric].warnings if w not in warnings]
        return forecasts, tuple(warnings)

    def preregistration_flops(self) -> dict[str, float]:
        """FLOPs spent before the forecast was sealed, by purpose. Failed runs and the recipe's tuning count."""
        spent = {"tuning": self.recipe.ladder.tuning_flops, "rungs": 0.0, "seeds": 0.0, "failed": 0.0}
        results = self.results()
        for rung in self.rungs:
            result = results.get(rung.plan.run_id)
            kind = "failed" if result and result["status"] != "done" else "seeds" if rung.replica else "rungs"
            spent[kind] += train_flops(rung.plan)
        return spent

    # -- registry ------------------------------------------------------------------------------------------------------

    @property
    def target_hash(self) -> str:
        return hash_of_target(self.target_plan.to_dict())

    def entry(self) -> Entry | None:
        """The scored entry of the target: the first one, if there is any. Raises GnomonError when it was abandoned."""
        return require_entry(self.registry, self.target_hash) if self.registry.first(self.target_hash) else None

    def seal(self, forecasts: dict[str, Forecast], warnings: tuple[str, ...], table: RunTable) -> Entry:
        """Put the forecast into the registry, once. A second call finds the first entry and changes nothing."""
        found = self.entry()
        if found is not None:
            return found
        from gnomon.ladder.evaluation import evaluation_set

        package = Path(gnomon.__file__).parent
        context = self.recipe.family.context
        return self.registry.register(
            {
                "target": without_seeds(self.target_plan.to_dict()),
                "target_hash": self.target_hash,
                "target_compute": self.target.compute,
                "evaluation_sets": {n: evaluation_set(self.corpus, n, context, None).hash for n in self.held_out},
                "dtype": self.target_plan.dtype,
                "outcome_definition": OUTCOME_DEFINITION,
                "divergence_rule": DIVERGENCE_RULE,
                "metrics": list(self.metrics),
                "law": {m: {"name": f.law, "parameters": f.parameters} for m, f in forecasts.items()},
                "quantiles": {m: f.quantiles for m, f in forecasts.items()},
                "forecasts": {m: dataclasses.asdict(f) for m, f in forecasts.items()},
                "warnings": list(warnings),
                "code_hash": folder_hash(package),
                "analysis_hash": folder_hash(package / "forecast"),
                "table_hash": table.hash,
                "recipe_hash": self.recipe.hash,
                "compute_before_registration": self.preregistration_flops(),
            }
        )

    # -- target --------------------------------------------------------------------------------------------------------

    def seeded_target(self, entry: Entry) -> Plan:
        """The target's plan with the seeds that its registry entry gives it."""
        seed, order_seed = seeds_from(entry.hash)
        return dataclasses.replace(self.target_plan, seed=seed, order_seed=order_seed)

    def run_target(self, entry: Entry, on_event: OnEvent) -> dict[str, Any]:
        """Train the registered target on all cores and return its result.

        Raises JobFailed when it ended without a result.
        """
        plan = self.seeded_target(entry)
        folder = run_folder(self.home, plan.run_id)
        result = read_result(folder)
        if result is None or (result["status"] == "done" and not set(self.held_out) <= set(result["evaluations"])):
            job = Job("train", plan, self.held_out, None, self.cores, entry.hash, self.track)
            executor_for(self.executor, self.home, self.corpus.folder, self.cores).run([job], on_event)
        result = read_result(folder)
        if result is None:
            raise JobFailed(f"run {plan.run_id}: the target ended without a result; give the same command again")
        return result

    def close(self, entry: Entry, result: dict[str, Any]) -> None:
        """Put the outcome into the registry; a second time changes nothing."""
        done = result["status"] == "done"
        self.registry.close(
            entry.hash,
            {
                "run_id": result["run_id"],
                "status": result["status"],
                "registry_heads": [result["registry_head"]],
                "evaluations": {n: result["evaluations"][n] for n in self.held_out} if done else {},
            },
        )

    def verify(self) -> list[Problem]:
        """What is wrong with the registry, cross-checked against every run here; warnings left out."""
        return verify_home_registry(self.home)
