"""`gnomon bench`: measurements of this machine and of the method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import HOME, Cores, Home, Json, Overrides, RecipeName, core_count, group, write_json

bench_app = group("Measurements of this machine and of the method.")


@bench_app.command("train")
def bench_train(
    json_file: Json = None,
    cores: Cores = 1,
    turns: Annotated[int, typer.Option(min=1)] = 15,
    width: Annotated[list[int] | None, typer.Option("--width", help="A width; may be given again.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or auto: the faster one here.")] = "auto",
    home: Home = HOME,
) -> None:
    """Tokens per second and share of the matmul peak, beside plain steps with the same products, and the peers."""
    from gnomon.workflow.bench_train import WIDTHS, bench_lines, bench_train

    measured = bench_train(width or WIDTHS, turns, core_count(cores), dtype, home)
    for line in bench_lines(measured):
        print(line)
    write_json(json_file, measured)


@bench_app.command("cpu")
def bench_cpu(
    json_file: Json = None,
    cores: Cores = 0,
    width: Annotated[list[int] | None, typer.Option("--width", help="A width; may be given again.")] = None,
    recipe: Annotated[str, typer.Option(help="Measure the shapes of this recipe, not those of bench train.")] = "",
) -> None:
    """What is fastest on this machine: kernels, dtype, threads, allocator. Remembered; runs that ask for it use it."""
    from gnomon.workflow.bench_cpu import bench_cpu, cpu_lines, plans_of

    measured = bench_cpu(plans_of(width or (), recipe), core_count(cores))
    for line in cpu_lines(measured):
        print(line)
    write_json(json_file, measured)


@bench_app.command("generate")
def bench_generate(
    json_file: Json = None,
    cores: Cores = 1,
    turns: Annotated[int, typer.Option(min=1)] = 5,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens that every sample goes on by.")] = 32,
    batch: Annotated[list[int] | None, typer.Option("--batch", help="Samples at once; may be given again.")] = None,
    home: Home = HOME,
) -> None:
    """Generation on SmolLM2-135M beside transformers and llama.cpp, at batch 1 and 8."""
    from gnomon.workflow.bench_generate import BATCHES, bench_generate, bench_lines

    measured = bench_generate(home, batch or BATCHES, tokens, turns, core_count(cores))
    for line in bench_lines(measured):
        print(line)
    write_json(json_file, measured)


@bench_app.command("dedup")
def bench_dedup(
    megabytes: Annotated[float, typer.Option(min=1, help="Text to search, with its planted copies.")] = 60,
    memory_mb: Annotated[int, typer.Option(min=1, help="Memory that the search may hold.")] = 256,
    cores: Cores = 0,
    json_file: Json = None,
) -> None:
    """Megabytes a second of the search for near copies, its memory, and whether it finds planted ones."""
    from gnomon.workflow.bench_dedup import bench_dedup, dedup_lines

    measured = bench_dedup(megabytes, memory_mb, core_count(cores))
    for line in dedup_lines(measured):
        print(line)
    write_json(json_file, measured)


@bench_app.command("coordinates")
def bench_coordinates(
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the rows as JSON.")] = None,
) -> None:
    """Do activations move alike at every width and depth? CompleteP beside standard parametrisation."""
    from gnomon.workflow.coordinates import coordinate_lines

    for line in coordinate_lines(out):
        print(line)


@bench_app.command("transfer")
def bench_transfer(
    recipe: RecipeName = "quickstart",
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the table and the plot.")] = Path("transfer"),
    home: Home = HOME,
    cores: Cores = 0,
) -> None:
    """Does the best rate carry over from small to wide and deep? Optimum, shift, regret."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.transfer import transfer_lines

    for line in transfer_lines(load_recipe(recipe, overrides or ()), home, out, core_count(cores)):
        print(line)


@bench_app.command("muon")
def bench_muon(
    recipe: RecipeName = "quickstart",
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the figures as JSON.")] = None,
    home: Home = HOME,
    cores: Cores = 0,
) -> None:
    """Muon beside AdamW on small budgets: loss at equal FLOPs and at equal seconds."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.bench_muon import muon_lines

    for line in muon_lines(load_recipe(recipe, overrides or ()), home, out, core_count(cores)):
        print(line, flush=True)


@bench_app.command("ops")
def bench_ops(
    dtype: Annotated[list[str] | None, typer.Option("--dtype", help="float32 or bfloat16; both unless said.")] = None,
) -> None:
    """The hand-written operations of the autograd path, each beside its plain twin."""
    from gnomon.workflow.bench_ops import bench_ops

    for line in bench_ops(dtype or ("float32", "bfloat16")):
        print(line, flush=True)


@bench_app.command("peers")
def bench_peers(
    setup: Annotated[bool, typer.Option("--setup", help="Build what is missing, with pip.")] = False,
    home: Home = HOME,
    json_file: Json = None,
) -> None:
    """The programs that gnomon is measured beside, in environments of their own: which are there, and --setup."""
    from gnomon.workflow.peers import peer_lines, peers_value, set_up, shown

    if setup:
        with shown() as progress:
            set_up(home, progress)
    for line in peer_lines(home):
        print(line)
    write_json(json_file, peers_value(home))


@bench_app.command("ladder")
def bench_ladder(
    recipe: RecipeName = "ladder-code",
    overrides: Overrides = None,
    home: Home = HOME,
    cores: Cores = 0,
    whole: Annotated[bool, typer.Option("--whole", help="Walk both ways for real too; it takes as long.")] = False,
    json_file: Json = None,
) -> None:
    """A recipe's ladder end to end, beside the same plans one after another in eager fp32."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.bench_ladder import bench_ladder, bench_ladder_lines
    from gnomon.workflow.peers import shown

    with shown() as progress:
        value = bench_ladder(load_recipe(recipe, overrides or ()), home, core_count(cores), whole, progress)
    for line in bench_ladder_lines(value):
        print(line)
    write_json(json_file, value)


@bench_app.command("trunk")
def bench_trunk(
    recipe: RecipeName = "quickstart",
    overrides: Overrides = None,
    width: Annotated[int, typer.Option(min=1, help="Of the family; at least two budgets train it.")] = 32,
    seeds: Annotated[int, typer.Option(min=2)] = 2,
    home: Home = HOME,
    cores: Cores = 0,
    json_file: Json = None,
) -> None:
    """What branching several horizons from one run costs at both ends; only a small regret lets branches into a fit."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.bench_trunk import bench_trunk, trunk_lines
    from gnomon.workflow.peers import shown

    with shown() as progress:
        found = bench_trunk(load_recipe(recipe, overrides or ()), home, width, seeds, core_count(cores), progress)
    for line in trunk_lines(*found):
        print(line)
    write_json(json_file, found[0])


@bench_app.command("stacked")
def bench_stacked(json_file: Json = None, turns: Annotated[int, typer.Option(min=1)] = 12) -> None:
    """A small run's step alone and as one of a stack: where stacking pays."""
    from gnomon.workflow.bench_stacked import bench_stacked, stacked_lines

    measured = bench_stacked(turns)
    for line in stacked_lines(measured):
        print(line)
    write_json(json_file, measured)
