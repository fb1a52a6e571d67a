"""The command line: one short function a verb. Parse, call, print; whatever takes thought lives in workflow/."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import plain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measure small language models, know the big one before you pay for it, then train it and be right.",
)
recipe_app = typer.Typer(no_args_is_help=True, help="Recipes: what to run, as typed values.")
corpus_app = typer.Typer(no_args_is_help=True, help="Text: read, deduplicated, held out, tokenised.")
ladder_app = typer.Typer(no_args_is_help=True, help="Ladders: isoFLOP budgets × sizes × seeds, and their table.")
forecast_app = typer.Typer(no_args_is_help=True, help="Forecasts: laws, intervals, the registry.")
runs_app = typer.Typer(no_args_is_help=True, help="Runs: list, show, prune.")
bench_app = typer.Typer(no_args_is_help=True, help="Measurements of this machine and of the method.")
for name, group in (
    ("recipe", recipe_app), ("corpus", corpus_app), ("ladder", ladder_app),
    ("forecast", forecast_app), ("runs", runs_app), ("bench", bench_app),
):  # fmt: skip
    app.add_typer(group, name=name)

Home = Annotated[Path, typer.Option("--home", envvar="GNOMON_HOME", help="Where everything is kept.")]
Cores = Annotated[int, typer.Option("--cores", min=0, help="Cores to use; 0 is all this process may use.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result for machines to this file.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides, as key=value.", metavar="[KEY=VALUE]...")]
RecipeName = Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")]
HOME = Path("gnomon-home")


def main() -> None:
    """The entry point: errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app(standalone_mode=False)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print("\nstopped; all that was finished is kept, and the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except GnomonError as error:
        if debug:
            raise
        print(f"gnomon: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        shown = getattr(error, "format_message", None)  # click's own usage errors
        if shown is not None:
            print(f"gnomon: {shown()}", file=sys.stderr)
            sys.exit(2)
        print(f"gnomon: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        sys.exit(1)


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        from gnomon.common.files import write_text

        write_text(path, json.dumps(plain(value), indent=1) + "\n")


def _cores(wished: int) -> int:
    return wished or len(os.sched_getaffinity(0))


@app.command()
def quickstart(
    overrides: Overrides = None,
    corpus: Annotated[Path | None, typer.Option("--corpus", help="Your own folder of text.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="A shipped recipe, or a YAML file.")] = "quickstart",
    seed: Annotated[int | None, typer.Option("--seed", help="The study's seed.")] = None,
    home: Home = HOME,
    cores: Cores = 0,
    json_file: Json = None,
) -> None:
    """Read text, train tiny models, forecast one 30× bigger, seal it, train it, and open the envelope."""
    from gnomon.workflow.display import Display
    from gnomon.workflow.machine_speed import core_flops_per_s
    from gnomon.workflow.quickstart import Options
    from gnomon.workflow.quickstart import quickstart as run

    with Display() as display:
        options = Options(preset, home, _cores(cores), corpus, tuple(overrides or ()), seed)
        _write_json(json_file, run(options, display, core_flops_per_s()))


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")] = False,
) -> None:
    """Train a recipe's ladder; what is finished is not done again."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.display import Display
    from gnomon.workflow.laddering import dry_run_lines, run_ladder

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        for line in dry_run_lines(loaded, home, _cores(cores)):
            print(line)
        return
    with Display() as display:
        path = run_ladder(loaded, home, _cores(cores), display)
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


@forecast_app.command("doctor")
def forecast_doctor(table: Path, metric: str = "bits_per_byte_codebase") -> None:
    """What would ruin a forecast from this table, before any fit."""
    from gnomon.workflow.forecasting import doctor_lines

    for line in doctor_lines(table, metric):
        print(line)


@forecast_app.command("fit")
def forecast_fit(
    table: Path,
    compute: Annotated[float, typer.Option(help="Training FLOPs of the target.")],
    metric: str = "bits_per_byte_codebase",
    parameters: Annotated[float | None, typer.Option(help="Matmul parameters; the optimum if left out.")] = None,
    json_file: Json = None,
) -> None:
    """Forecast a target from a run table, with every law's opinion."""
    from gnomon.workflow.forecasting import fit_table

    forecast, lines = fit_table(table, metric, compute, parameters)
    for line in lines:
        print(line)
    _write_json(json_file, forecast)


@forecast_app.command("register")
def forecast_register(recipe: RecipeName = "quickstart", overrides: Overrides = None, home: Home = HOME) -> None:
    """Seal the forecast of a recipe's target from its finished ladder."""
    from gnomon.recipe.load import load_recipe
    from gnomon.workflow.forecasting import register

    for line in register(load_recipe(recipe, overrides or ()), home):
        print(line)


@forecast_app.command("verify")
def forecast_verify(home: Home = HOME, json_file: Json = None) -> None:
    """Check the chain against the runs, and score every forecast that has its outcome."""
    from gnomon.workflow.verdict import verify_home

    verdict = verify_home(home)
    for line in verdict.lines:
        print(line)
    _write_json(json_file, {"forecasts": verdict.forecasts, "registry_ok": not verdict.problems})
    if verdict.problems:
        raise typer.Exit(1)


@forecast_app.command("log")
def forecast_log(home: Home = HOME) -> None:
    """How many forecasts were registered, finished, deviated, abandoned; then each of them."""
    from gnomon.workflow.verdict import log_lines

    for line in log_lines(home):
        print(line)


@forecast_app.command("abandon")
def forecast_abandon(
    entry: Annotated[str, typer.Argument(help="Hash of the forecast, or the start of it.")],
    why: Annotated[str, typer.Option("--why", help="The reason, kept for ever.")],
    home: Home = HOME,
) -> None:
    """Give a registered forecast up, in the open."""
    from gnomon.workflow.verdict import abandon

    print(abandon(home, entry, why))


@forecast_app.command("mend")
def forecast_mend(home: Home = HOME) -> None:
    """Set a last line of the registry aside that a power cut left half written; nothing else changes."""
    from gnomon.workflow.verdict import mend

    print(mend(home))


@forecast_app.command("proof")
def forecast_proof(
    entry: Annotated[str, typer.Argument(help="Hash of the forecast, or the start of it.")],
    out: Annotated[Path, typer.Option("--out", help="The file to commit or to send.")],
    home: Home = HOME,
) -> None:
    """Export an entry with its chain, as a file that others can check."""
    from gnomon.workflow.verdict import export

    print(export(home, entry, out))


@app.command()
def train(
    what: Annotated[str, typer.Argument(help="A folder of text, or a recipe whose target is to be trained.")] = "",
    overrides: Overrides = None,
    resume: Annotated[str, typer.Option("--resume", help="RUN: go on where it stopped.")] = "",
    branch: Annotated[str, typer.Option("--branch", help="RUN@STEP: a new run from a stored step.")] = "",
    steps: Annotated[int, typer.Option("--steps", help="Steps of a branch, from its start to its end.")] = 0,
    compute: Annotated[float | None, typer.Option("--compute", help="Training FLOPs of a new run.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Width of a new run.")] = None,
    unregistered: Annotated[
        bool, typer.Option("--unregistered", help="Train without a sealed forecast; it shows.")
    ] = False,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Resume on a machine that cannot repeat the run's bits.")
    ] = False,
    home: Home = HOME,
    cores: Cores = 0,
) -> None:
    """Train one model: a new run, `--resume RUN`, or `--branch RUN@STEP`."""
    from gnomon.workflow.display import Display
    from gnomon.workflow.training import Wish, train_one

    wish = Wish(what, tuple(overrides or ()), resume, branch, steps, compute, width, unregistered, inexact)
    with Display() as display:
        print(train_one(wish, home, _cores(cores), display))


@app.command()
def sample(
    run: Annotated[str, typer.Argument(help="A run, or the start of its name.")],
    prompt: Annotated[str, typer.Option("--prompt", help="Text to go on from.")] = "def ",
    samples: Annotated[int, typer.Option(min=1)] = 1,
    max_tokens: Annotated[int, typer.Option(min=1)] = 128,
    temperature: Annotated[float, typer.Option(min=0)] = 0.7,
    seed: int = 0,
    home: Home = HOME,
) -> None:
    """Talk to what you trained: stream text that goes on from a prompt."""
    from gnomon.workflow.sample import sample as stream

    stream(home, run, prompt, samples=samples, max_tokens=max_tokens, temperature=temperature, seed=seed)


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A study's name, or the start of it.")] = "", home: Home = HOME
) -> None:
    """Write a study's report again, from its files."""
    from gnomon.workflow.reporting import rewrite_report

    print(rewrite_report(home, name))


@runs_app.command("list")
def runs_list(home: Home = HOME) -> None:
    """Every run, its state, its loss and its place on disk."""
    from gnomon.workflow.runs import list_lines

    for line in list_lines(home):
        print(line)


@runs_app.command("show")
def runs_show(run: str, home: Home = HOME) -> None:
    """One run: plan, state, results."""
    from gnomon.workflow.runs import show_lines

    for line in show_lines(home, run):
        print(line)


@runs_app.command("prune")
def runs_prune(
    home: Home = HOME, yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what.")] = False
) -> None:
    """Free the disk of checkpoints that finished runs no longer need."""
    from gnomon.workflow.runs import prune_lines

    for line in prune_lines(home, yes):
        print(line)


@app.command()
def doctor(home: Home = HOME) -> None:
    """What this machine has, what gnomon will use, what is missing and how to get it."""
    from gnomon.workflow.machine import machine_lines

    for line in machine_lines(home):
        print(line)


@bench_app.command("train")
def bench_train(json_file: Json = None, cores: Cores = 1, turns: Annotated[int, typer.Option(min=1)] = 15) -> None:
    """Tokens per second and share of the matmul peak, beside a plain step with the same matmul FLOPs."""
    from gnomon.workflow.bench_train import bench_lines, bench_train

    measured = bench_train(threads=_cores(cores), turns=turns)
    for line in bench_lines(measured):
        print(line)
    _write_json(json_file, measured)


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

    for line in transfer_lines(load_recipe(recipe, overrides or ()), home, out, _cores(cores)):
        print(line)


if __name__ == "__main__":
    main()
