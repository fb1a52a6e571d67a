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
def corpus_build(recipe: RecipeName = "quickstart", overrides: Overrides = None, home: Home = HOME) -> None:
    """Build a recipe's corpus and print its card."""
    from gnomon.corpus.build import build_corpus
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.display import stage_progress
    from gnomon.workflow.explain import card_lines

    with stage_progress() as progress:
        corpus = build_corpus(load_recipe(recipe, overrides or ()).corpus, home, progress)
    for line in card_lines(corpus):
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
