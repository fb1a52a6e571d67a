"""`gnomon recipe`, `corpus` and `ladder`: what a study is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import HOME, Cores, Executor, Home, Overrides, RecipeName, core_count, group

recipe_app = group("Recipes: what to run, as typed values.")
corpus_app = group("Text: read, deduplicated, held out, tokenised.")
ladder_app = group("Ladders: isoFLOP budgets × sizes × seeds, and their table.")


@recipe_app.command("list")
def recipe_list() -> None:
    """The recipes that come with gnomon."""
    from gnomon.recipe.load import load_recipe, shipped_recipes

    for name in shipped_recipes():
        print(f"{name:14} {load_recipe(name).about}")


@recipe_app.command("show")
def recipe_show(
    recipe: RecipeName = "quickstart",
    overrides: Overrides = None,
    vocab: Annotated[int, typer.Option(help="Vocabulary, where the corpus is not built yet; 0 is the recipe's.")] = 0,
) -> None:
    """Print every setting of a recipe and every derived one with its reason."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.explain import explain

    for line in explain(load_recipe(recipe, overrides or ()), vocab):
        print(line)


@corpus_app.command("build")
def corpus_build(
    recipe: RecipeName = "quickstart",
    overrides: Overrides = None,
    home: Home = HOME,
    cores: Cores = 0,
    memory_mb: Annotated[int, typer.Option(min=0, help="Memory of the search for near copies; 0 is a GB.")] = 0,
    scale: Annotated[str, typer.Option("--scale", help="Spread it with datatrove: local, slurm or ray.")] = "",
    tasks: Annotated[int, typer.Option(min=0, help="Shares of the documents, with --scale.")] = 0,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="Of datatrove's executor: workers=8, partition=cpu, time=4:00:00.")
    ] = None,
) -> None:
    """Build a recipe's corpus and print its card."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.corpora import build_lines
    from gnomon.workflow.display import stage_progress

    wanted = load_recipe(recipe, overrides or ()).corpus
    with stage_progress() as progress:
        lines = list(build_lines(wanted, home, progress, memory_mb, core_count(cores), scale, tasks, given or ()))
    for line in lines:
        print(line)


@corpus_app.command("explain")
def corpus_explain(
    document: Annotated[str, typer.Argument(help="A document's name, or a part of it; empty counts the marks.")] = "",
    corpus: Annotated[str, typer.Option("--corpus", help="The start of a corpus' name; the newest if left out.")] = "",
    mark: Annotated[str, typer.Option("--mark", help="Only documents with this mark, such as 'near copy'.")] = "",
    home: Home = HOME,
) -> None:
    """Why a document is in no split: its mark, what it copies, and the text that matched."""
    from gnomon.workflow.corpora import explain_lines

    for line in explain_lines(home, document, corpus, mark):
        print(line)


@ladder_app.command("run")
def ladder_run(
    recipe: RecipeName = "quickstart",
    overrides: Overrides = None,
    home: Home = HOME,
    cores: Cores = 0,
    executor: Executor = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")] = False,
) -> None:
    """Train a recipe's ladder; what is finished is not done again."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.display import Display
    from gnomon.workflow.laddering import dry_run_lines, run_ladder

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        for line in dry_run_lines(loaded, home, core_count(cores)):
            print(line)
        return
    with Display() as display:
        path = run_ladder(loaded, home, core_count(cores), display, executor)
    print(path)


@ladder_app.command("table")
def ladder_table(
    name: Annotated[str, typer.Argument(help="A study's name, or the start of it; empty lists them.")] = "",
    home: Home = HOME,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV too.")] = None,
) -> None:
    """Print a ladder's run table."""
    from gnomon.workflow.laddering import table_lines

    for line in table_lines(name, home, csv):
        print(line)
