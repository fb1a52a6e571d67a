"""`gnomon bench`: measurements of this machine and of the method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import HOME, Cores, Home, Json, Overrides, RecipeName, core_count, group, write_json

bench_app = group("Measurements of this machine and of the method.")


@bench_app.command("train")
def bench_train(json_file: Json = None, cores: Cores = 1, turns: Annotated[int, typer.Option(min=1)] = 15) -> None:
    """Tokens per second and share of the matmul peak, beside a plain step with the same matmul FLOPs."""
    from gnomon.workflow.bench_train import bench_lines, bench_train

    measured = bench_train(threads=core_count(cores), turns=turns)
    for line in bench_lines(measured):
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
