"""gnomon bench cpu: what is fastest on this machine, what was chosen and why.

For each shape the peak of its matrix products in either dtype, then a step by every way there is (train/choice.py), on
one thread and on all, an eager step with the allocator as it comes and as the trainer sets it, and a step on a core of
its own. What was measured is remembered: runs take the fastest kernels, `family.dtype: auto` the fastest dtype.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import JobFailed
from gnomon.recipe.flops import train_flops_per_token
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import Recipe
from gnomon.workflow.bench_train import WIDTHS, bench_plan

if TYPE_CHECKING:
    from gnomon.train.choice import Way

PROBE_ROUNDS = 3  # child processes with each allocator setting, taking turns
PROBE_STEPS = 6
PINNED_TURNS = 9
WORTH = 1.05  # a setting that gains less than this is not worth having


def plans_of(widths: Sequence[int], recipe_name: str) -> list[Plan]:
    """The plans to measure: of the bench's shapes at these widths, or of a recipe's target and every width below it."""
    if not recipe_name:
        return [bench_plan(width) for width in widths or WIDTHS]
    from gnomon.ladder.family import Family
    from gnomon.recipe.load import load_recipe

    recipe = load_recipe(recipe_name, ())
    family = Family(recipe.family, recipe.corpus.vocabulary, "", recipe.seed)
    budgets = {width: budget.compute for budget in recipe.ladder.budgets for width in budget.widths}
    sizes = budgets | {recipe.target.width: recipe.target.compute}
    return [replace(family.at(sizes[width], width), dtype="float32") for width in widths or sorted(sizes)]


def bench_cpu(plans: Sequence[Plan], all_threads: int) -> dict[str, Any]:
    """Everything measured, as `gnomon bench cpu --json` writes it."""
    import torch

    from gnomon.train.execution import Machine

    machine = Machine.here()
    return {
        "processor": machine.processor,
        "torch": machine.torch,
        "instructions": machine.instructions,
        "bfloat16_hardware": [
            name
            for name, there in (
                ("AMX", torch.cpu._is_amx_tile_supported()),
                ("AVX512-BF16", torch.cpu._is_avx512_bf16_supported()),
            )
            if there
        ],
        "threads": all_threads,
        "shapes": [_bench_shape(plan, all_threads) for plan in plans],
    }


def _bench_shape(plan: Plan, all_threads: int) -> dict[str, Any]:
    from gnomon.train.choice import best, fastest, remember
    from gnomon.train.peak import matmul_peak

    counts = sorted({1, all_threads})
    peaks = {d: {n: matmul_peak(plan.shape, plan.batch_tokens, d, n) for n in counts} for d in ("float32", "bfloat16")}
    steps: dict[int, dict[Way, float]] = {}
    for threads in counts:
        steps[threads] = _measure(plan, threads)
        remember(plan, threads, steps[threads])
    way = best(steps[1])
    return {
        "shape": {"width": plan.shape.width, "depth": plan.shape.depth, "context": plan.shape.context,
                  "vocab": plan.shape.vocab, "head_dim": plan.shape.head_dim},
        "batch_tokens": plan.batch_tokens,
        "flops_per_step": train_flops_per_token(plan.shape) * plan.batch_tokens,
        "matmul_peak_flops_per_s": peaks,
        "seconds": {threads: {str(way): value for way, value in found.items()} for threads, found in steps.items()},
        "allocator": _allocator(plan),
        "pinned": _pinned(plan, way),
        "chosen": {"kernels": way.kernels, "dtype": way.dtype,
                   "in_float32": fastest(steps[1], "float32").kernels, "threads": _threads(steps)},
    }  # fmt: skip


def _measure(plan: Plan, threads: int) -> dict[Way, float]:
    from gnomon.train.choice import measure
    from gnomon.train.execution import decide, honoured

    with honoured(decide(plan, threads)):
        return measure(plan, threads)


def _threads(steps: dict[int, dict[Way, float]]) -> int:
    """Threads for one run alone: all of them where that is faster; side by side, runs take one each in any case."""
    seconds = {threads: min(found.values()) for threads, found in steps.items()}
    return min(seconds, key=lambda threads: seconds[threads] * (WORTH if threads > 1 else 1))


def _pinned(plan: Plan, way: Way) -> float:
    """How much faster the step is on a core of its own than where the system puts it: median ratio of turns."""
    from gnomon.train.choice import interleaved, step_of, torch_threads

    cores = os.sched_getaffinity(0)
    with torch_threads(1):
        step = step_of(plan, way, 1)

        def pinned() -> None:
            os.sched_setaffinity(0, {max(cores)})
            try:
                step()
            finally:
                os.sched_setaffinity(0, cores)

        times = interleaved([step, pinned], PINNED_TURNS, warmup=1)
    return statistics.median(free / held for free, held in times)


def _allocator(plan: Plan) -> dict[str, float]:
    """Seconds of an eager fp32 step with the allocator as it comes, and keeping what is freed: each in a process."""
    plan = replace(plan, dtype="float32")
    found: dict[str, list[float]] = {"as it comes": [], "keeping": []}
    for _ in range(PROBE_ROUNDS):
        for name, seconds in found.items():
            command = [sys.executable, "-m", "gnomon.workflow.bench_cpu", name, json.dumps(plan.to_dict())]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise JobFailed(f"bench cpu: its child process ended with {done.stderr.strip().splitlines()[-1:]}")
            seconds.append(float(done.stdout))
    return {name: min(seconds) for name, seconds in found.items()}


def probe(setting: str, plan: Plan) -> float:
    """Runs in a process of its own: median seconds of an eager step with this allocator setting."""
    from gnomon.train.allocator import keep_freed_memory
    from gnomon.train.choice import Way, interleaved, step_of, torch_threads

    if setting == "keeping":
        keep_freed_memory()
    with torch_threads(1):
        step = step_of(plan, Way("torch", plan.dtype), 1)
        return statistics.median(turn[0] for turn in interleaved([step], PROBE_STEPS, warmup=2))


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with `family.dtype: auto` made the dtype of the fastest step here, for its target's class of shapes.

    Measured once for a machine, then recalled. A study's runs all take the same dtype: it is part of their plans.
    """
    if recipe.family.dtype != "auto":
        return recipe
    from gnomon.ladder.family import Family
    from gnomon.train.choice import best, measured

    family = Family(recipe.family, recipe.corpus.vocabulary, "", recipe.seed)
    dtype = best(measured(family.at(recipe.target.compute, recipe.target.width), 1)).dtype
    return recipe.model_copy(update={"family": recipe.family.model_copy(update={"dtype": dtype})})


def cpu_lines(measured: dict[str, Any]) -> Iterator[str]:
    """The bench in words: a table a shape, and what was chosen and why."""
    hardware = ", ".join(measured["bfloat16_hardware"]) or "none: bfloat16 is emulated"
    yield f"{measured['processor']}, torch {measured['torch']} ({measured['instructions']})"
    yield f"hardware for bfloat16: {hardware}"
    for row in measured["shapes"]:
        yield ""
        yield from _shape_lines(row)


def _shape_lines(row: dict[str, Any]) -> Iterator[str]:
    shape, peaks, seconds = row["shape"], row["matmul_peak_flops_per_s"], row["seconds"]
    yield (
        f"width {shape['width']}, {shape['depth']} blocks, context {shape['context']}, vocabulary {shape['vocab']}, "
        f"heads of {shape['head_dim']}; {row['batch_tokens']} tokens a step"
    )
    for dtype, by_threads in peaks.items():
        rates = ", ".join(f"{rate / 1e9:.0f} GFLOP/s on {threads} thread(s)" for threads, rate in by_threads.items())
        yield f"  products in {dtype}: {rates}"
    yield f"  {'step':18} {'threads':>7} {'ms':>9} {'tokens/s':>10} {'of the peak':>12}"
    for threads, found in seconds.items():
        for way, value in found.items():
            share = row["flops_per_step"] / value / peaks[way.split()[1]][threads]
            yield f"  {way:18} {threads:7} {1e3 * value:9.1f} {row['batch_tokens'] / value:10,.0f} {share:12.0%}"
    yield from _reasons(row)


def _reasons(row: dict[str, Any]) -> Iterator[str]:
    chosen, single = row["chosen"], row["seconds"][1]
    best = f"{chosen['kernels']} {chosen['dtype']}"
    others = sorted((value / single[best], way) for way, value in single.items() if way != best)
    rest = ", ".join(f"{way} takes {ratio:.2f}x as long" for ratio, way in others)
    yield f"  chosen: {best} ({rest}); in float32: {chosen['in_float32']}"
    many = max(row["seconds"])
    if many > 1:
        gain = min(single.values()) / min(row["seconds"][many].values())
        yield f"  threads: {many} make one run {gain:.2f}x as fast; a ladder runs a process a core, one thread each"
    usual, kept = row["allocator"]["as it comes"], row["allocator"]["keeping"]
    yield (
        f"  allocator: an eager step takes {1e3 * usual:.1f} ms as it comes and {1e3 * kept:.1f} ms when it keeps what "
        f"is freed ({usual / kept:.2f}x); the trainer asks it to, for eager steps"
    )
    verdict = "taskset would pay" if row["pinned"] > WORTH else "does not pay, so nothing is pinned"
    yield f"  a core of its own: {row['pinned']:.2f}x; {verdict}"


if __name__ == "__main__":
    print(probe(sys.argv[1], Plan.from_dict(json.loads(sys.argv[2]))))
