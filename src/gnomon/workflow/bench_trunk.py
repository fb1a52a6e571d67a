"""gnomon bench trunk: what branching several horizons from one run costs, at both ends, against runs from scratch.

The trunk is tuned, as the family's rules have it, for the geometric middle of the recipe's budgets, and runs at a
constant rate; a branch leaves it and decays to zero (arXiv:2405.18392). Its twin is the run that the family makes of
the same compute. Regret is (branch - twin) / twin, by seed and held-out set.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.corpus.build import build_corpus
from gnomon.ladder.executors.local import LocalExecutor
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import Event, Job, run_folder
from gnomon.ladder.table import read_result
from gnomon.ladder.trunk import REGRET_ALLOWED, Certificate, family_hash, write_certificate
from gnomon.recipe.flops import train_flops, train_flops_per_token
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Recipe
from gnomon.train.branch import branch_plan
from gnomon.train.schedule import decay_start, warmup_steps

ENDS = ("shortest", "longest")
COVERAGE = 0.9
Progress = Callable[[str, float], None]


def horizons(recipe: Recipe, width: int) -> tuple[float, float]:
    """FLOPs of the smallest and the largest budget that train this width.

    Raises GnomonError when fewer than two do.
    """
    found = sorted({budget.compute for budget in recipe.ladder.budgets if width in budget.widths})
    if len(found) < 2:
        raise GnomonError(
            f"--width {width}: {len(found)} budgets of {recipe.name} train it, and a trunk needs two; "
            f"its widths are {sorted({w for budget in recipe.ladder.budgets for w in budget.widths})}"
        )
    return found[0], found[-1]


def trunk_and_branches(family: Family, width: int, ends: tuple[float, float], seed: int) -> tuple[Plan, list[Plan]]:
    """The trunk up to where its last branch leaves it, and the branch of each end."""
    middle = family.at(math.sqrt(ends[0] * ends[1]), width, seed)
    per_step = train_flops_per_token(middle.shape) * middle.batch_tokens
    lengths = [max(1, round(flops / per_step)) for flops in ends]
    leaves = [decay_start(steps, middle.optimisation) for steps in lengths]
    warm = warmup_steps(middle.steps, middle.optimisation)
    if leaves[0] < warm:
        raise GnomonError(
            f"the shortest run of {lengths[0]} steps decays from step {leaves[0]}, before the trunk's {warm} steps of "
            "warm-up are over; take budgets that lie closer together"
        )
    old = middle.optimisation
    constant = replace(
        old,
        warmup_fraction=warm / leaves[-1],
        decay_fraction=0.0,
        timescale=old.timescale * middle.steps / leaves[-1],  # the decay of a step stays the middle run's
    )
    trunk = replace(middle, steps=leaves[-1], optimisation=constant)
    return trunk, [branch_plan(trunk, *pair) for pair in zip(leaves, lengths, strict=True)]


def bench_trunk(
    recipe: Recipe, home: Path, width: int, seeds: int, cores: int, progress: Progress
) -> tuple[Certificate, Path]:
    """Train trunks, branches and twins; the certificate, and where it was written.

    Runs that are finished are not trained again. Raises JobFailed when a run diverged.
    """
    ends = horizons(recipe, width)
    corpus = build_corpus(recipe.corpus, home, progress)
    family = Family(recipe.family, corpus.vocab, corpus.hash, recipe.seed)
    sets = tuple(name for name in ("codebase", "documents") if corpus.has(name))
    subset = recipe.evals.subset_tokens
    sides = [trunk_and_branches(family, width, ends, seed) for seed in range(seeds)]
    twins = [[family.at(flops, width, seed) for flops in ends] for seed in range(seeds)]
    first = [Job("train", trunk, (), keep_steps=tuple(_leave(plan) for plan in plans)) for trunk, plans in sides]
    first += [Job("train", plan, sets, subset) for plans in twins for plan in plans]
    second = [Job("train", plan, sets, subset) for _, plans in sides for plan in plans]
    for jobs, what in ((first, "trunks and runs from scratch"), (second, "branches")):
        waiting = [job for job in jobs if read_result(run_folder(home, job.plan.run_id)) is None]
        LocalExecutor(home, corpus.folder, cores).run(waiting, _hear(waiting, what, progress))
    rows = []
    for seed in range(seeds):
        for end, branch, twin in zip(ENDS, sides[seed][1], twins[seed], strict=True):
            losses = [_losses(home, plan, sets) for plan in (branch, twin)]
            regret = statistics.mean(losses[0][name] / losses[1][name] - 1 for name in sets)
            rows.append({"end": end, "seed": seed, "branch": branch.run_id, "twin": twin.run_id, "regret": regret,
                         "branch_flops": train_flops(branch), "twin_flops": train_flops(twin),
                         "bits_per_byte": {"branch": losses[0], "twin": losses[1]}})  # fmt: skip
    means, interval = regrets(rows)
    spent = {"trunk": sum(train_flops(t) + sum(_own_flops(p) for p in plans) for t, plans in sides),
             "scratch": sum(train_flops(plan) for plans in twins for plan in plans)}  # fmt: skip
    record = {"recipe": recipe.name, "rows": rows, "flops": spent, "coverage": COVERAGE}
    name = family_hash(recipe.family, corpus.hash)
    certificate = Certificate(name, width, seeds, *ends, regret=means, interval=interval, record=record)
    return certificate, write_certificate(home, certificate)


def _leave(branch: Plan) -> int:
    return int(branch.parent.rpartition("@")[2])


def _own_flops(branch: Plan) -> float:
    """Of a branch behind its trunk."""
    return train_flops(branch) * (1 - _leave(branch) / branch.steps)


def _losses(home: Path, plan: Plan, sets: Sequence[str]) -> dict[str, float]:
    result = read_result(run_folder(home, plan.run_id))
    if result is None or result["status"] != "done":
        raise JobFailed(f"run {plan.run_id}: it diverged; a regret needs both losses")
    return {name: result["evaluations"][name]["bits_per_byte"] for name in sets}


def _hear(jobs: Sequence[Job], what: str, progress: Progress) -> Callable[[Event], None]:
    done = 0

    def hear(event: Event) -> None:
        nonlocal done
        if event.kind in ("done", "failed"):
            done += 1
            progress(f"{what}: {done} of {len(jobs)}", done / len(jobs))

    return hear


def regrets(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Mean regret of each end, and its interval by Student's t with the spread over seeds pooled over both ends.

    rows: with "end" and "regret", at least two of each end.
    """
    from scipy.stats import t as student

    by_end = {end: [row["regret"] for row in rows if row["end"] == end] for end in ENDS}
    means = {end: statistics.mean(values) for end, values in by_end.items()}
    freedom = sum(len(values) - 1 for values in by_end.values())
    spread = math.sqrt(sum((v - means[end]) ** 2 for end, values in by_end.items() for v in values) / freedom)
    half = {
        end: student.ppf((1 + COVERAGE) / 2, freedom) * spread / math.sqrt(len(values))
        for end, values in by_end.items()
    }
    return means, {end: (means[end] - half[end], means[end] + half[end]) for end in ENDS}


def trunk_lines(certificate: Certificate, path: Path) -> Iterator[str]:
    """The bench in words."""
    spent = certificate.record["flops"]
    yield (
        f"{certificate.record['recipe']}, width {certificate.width}, {certificate.seeds} seeds: one trunk, tuned for "
        f"the middle of {certificate.shortest:.2g} to {certificate.longest:.2g} FLOPs"
    )
    for end in ENDS:
        low, high = certificate.interval[end]
        each = ", ".join(f"{100 * r['regret']:+.2f} %" for r in certificate.record["rows"] if r["end"] == end)
        yield (
            f"{end:>9}: regret {100 * certificate.regret[end]:+.2f} % of the loss, "
            f"{COVERAGE:.0%} interval {100 * low:+.2f} to {100 * high:+.2f} % (by seed {each})"
        )
    verdict = "branches may stand in a fit" if certificate.admits else "branches stay out of every fit"
    yield (
        f"allowed {100 * REGRET_ALLOWED:.1f} %: {verdict}; two horizons cost "
        f"{spent['trunk'] / spent['scratch']:.0%} of those from scratch"
    )
    yield str(path)
