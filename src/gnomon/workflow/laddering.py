"""`gnomon ladder`: what a ladder would cost, running it alone, and its table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.ladder.budgets import cost, run_seconds, rungs
from gnomon.ladder.family import Family
from gnomon.recipe.flops import matmul_parameters, train_flops
from gnomon.recipe.values import Recipe
from gnomon.workflow.display import Display
from gnomon.workflow.machine_speed import core_flops_per_s
from gnomon.workflow.study import Study


def dry_run_lines(recipe: Recipe, home: Path, cores: int) -> Iterator[str]:
    """Runs, FLOPs, minutes, memory and disk, without touching the text: the vocabulary is the recipe's wish."""
    speed = core_flops_per_s()
    family = Family(recipe.family, recipe.corpus.vocabulary, "", recipe.seed)
    found = rungs(recipe.ladder.budgets, family)
    yield (
        f"{'budget':>9} {'width':>5} {'depth':>5} {'seed':>4} {'parameters':>10} {'tokens':>11} {'steps':>6} "
        f"{'FLOPs':>9} {'about':>7}"
    )
    for rung in found:
        plan = rung.plan
        yield (
            f"{rung.budget:9.2g} {plan.shape.width:5} {plan.shape.depth:5} {rung.replica:4} "
            f"{matmul_parameters(plan.shape):10,} {plan.tokens:11,} {plan.steps:6,} {train_flops(plan):9.3g} "
            f"{run_seconds(plan, speed):5.0f} s"
        )
    total = cost([rung.plan for rung in found], speed, cores)
    yield (
        f"{total.runs} runs, {total.flops:.3g} FLOPs, about {total.seconds / 60:.0f} minutes on {cores} cores, "
        f"{total.memory_bytes / 1e9:.1f} GB memory, {total.disk_bytes / 1e6:.0f} MB disk in {home}"
    )
    target = family.at(recipe.target.compute, recipe.target.width)
    yield f"target: {train_flops(target):.3g} FLOPs; the ladder costs {total.flops / train_flops(target):.0%} of it"


def run_ladder(recipe: Recipe, home: Path, cores: int, display: Display, executor: str = "local") -> Path:
    """Train what is missing; return the table's path."""
    study = Study(recipe, home, cores, executor)
    display.read(study, study.build(display.reading))
    study.run_ladder(display.rung)
    return study.table_path


def table_lines(name: str, home: Path, csv: Path | None) -> Iterator[str]:
    """One line a run. Raises GnomonError when no study, or more than one, is called that."""
    from gnomon.forecast import read

    path = table_path(home, name)
    table = read(path)
    if csv is not None:
        table.write(csv)
    yield f"{path.parent.name}: {len(table)} runs"
    losses = sorted(c for c in table.columns if c.startswith("bits_per_byte_"))
    heads = [c.removeprefix("bits_per_byte_") for c in losses]
    yield f"{'run':16} {'FLOPs':>9} {'width':>5} {'parameters':>10} {'tokens':>11} {'seconds':>7} " + " ".join(
        f"{h:>12}" for h in heads
    )
    for row in table.rows():
        yield (
            f"{row['run_id']:16} {row['flops']:9.3g} {row['width']:5.0f} {row['parameters_matmul']:10,.0f} "
            f"{row['tokens']:11,.0f} {row['seconds']:7.1f} " + " ".join(f"{row[c]:12.4f}" for c in losses)
        )


def table_path(home: Path, name: str) -> Path:
    """The table of the study whose name begins so; the newest when name is empty."""
    tables = sorted(home.glob(f"ladders/{name}*/table.parquet"), key=lambda p: p.stat().st_mtime)
    if not tables:
        raise GnomonError(f"ladder {name or '(any)'}: no table in {home}; `gnomon ladder run` makes one")
    if name and len(tables) > 1 and tables[-1].parent.name != name:
        raise GnomonError(
            f"ladder {name}: {', '.join(p.parent.name for p in tables)} all begin so; give more of the name"
        )
    return tables[-1]
