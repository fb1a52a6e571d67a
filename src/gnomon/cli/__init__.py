"""The command line: one short function a verb. Parse, call, print; whatever takes thought lives in workflow/."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import gnomon.cli.advice
import gnomon.cli.registry
import gnomon.cli.scorecard  # noqa: F401  (adds its verb to forecast_app)
from gnomon.cli.bench import bench_app
from gnomon.cli.evals import evals_app
from gnomon.cli.forecast import forecast_app
from gnomon.cli.ladder import corpus_app, ladder_app, recipe_app
from gnomon.cli.options import (
    HOME,
    Cores,
    Executor,
    Home,
    Json,
    Overrides,
    Track,
    core_count,
    missing_extra,
    write_json,
)
from gnomon.cli.runs import runs_app
from gnomon.common.errors import GnomonError, Told

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measure small language models, know the big one before you pay for it, then train it and be right.",
)
for name, verbs in (
    ("recipe", recipe_app), ("corpus", corpus_app), ("ladder", ladder_app),
    ("forecast", forecast_app), ("runs", runs_app), ("bench", bench_app), ("evals", evals_app),
):  # fmt: skip
    app.add_typer(verbs, name=name)


def main() -> None:
    """The entry point: errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when torch is loaded: threads that spin cost 25x
    try:
        code = app(standalone_mode=False)  # what a verb exits with comes back as a value
        if isinstance(code, int) and code:
            sys.exit(code)
    except (typer.Abort, KeyboardInterrupt):
        print("\nstopped; all that was finished is kept, and the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except GnomonError as error:
        if debug:
            raise
        if not isinstance(error, Told):
            print(f"gnomon: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        extra = missing_extra(error)
        if extra:
            print(f"gnomon: {extra}", file=sys.stderr)
            sys.exit(2)
        shown = getattr(error, "format_message", None)  # click's own usage errors
        if shown is not None:
            print(f"gnomon: {shown()}", file=sys.stderr)
            sys.exit(2)
        print(f"gnomon: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        sys.exit(1)


@app.command()
def quickstart(
    overrides: Overrides = None,
    corpus: Annotated[Path | None, typer.Option("--corpus", help="Your own folder of text.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="A shipped recipe, or a YAML file.")] = "quickstart",
    seed: Annotated[int | None, typer.Option("--seed", help="The study's seed.")] = None,
    home: Home = HOME,
    cores: Cores = 0,
    executor: Executor = "local",
    track: Track = None,
    json_file: Json = None,
) -> None:
    """Read text, train tiny models, forecast one 30× bigger, seal it, train it, and open the envelope."""
    from gnomon.workflow.display import Display
    from gnomon.workflow.machine_speed import core_flops_per_s
    from gnomon.workflow.quickstart import Options
    from gnomon.workflow.quickstart import quickstart as run

    with Display() as display:
        options = Options(
            preset, home, core_count(cores), corpus, tuple(overrides or ()), seed, executor, tuple(track or ())
        )
        write_json(json_file, run(options, display, core_flops_per_s()))


@app.command()
def train(
    what: Annotated[str, typer.Argument(help="A folder of text, or a recipe whose target is to be trained.")] = "",
    overrides: Overrides = None,
    resume: Annotated[str, typer.Option("--resume", help="RUN: go on where it stopped.")] = "",
    init: Annotated[str, typer.Option("--init", help="Go on from smollm2, a model's folder or a .gguf.")] = "",
    beside: Annotated[int, typer.Option("--beside", help="With --init: width of one from scratch beside it.")] = 0,
    branch: Annotated[str, typer.Option("--branch", help="RUN@STEP: a new run from a stored step.")] = "",
    steps: Annotated[int, typer.Option("--steps", help="Of a branch, from its start to its end; of --init.")] = 0,
    compute: Annotated[float | None, typer.Option("--compute", help="Training FLOPs of a new run.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Width of a new run.")] = None,
    unregistered: Annotated[
        bool, typer.Option("--unregistered", help="Train without a sealed forecast; it shows.")
    ] = False,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Resume on a machine that cannot repeat the run's bits.")
    ] = False,
    track: Track = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda; for a new run.")] = "cpu",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="torch.compile; by default where it pays.")
    ] = None,
    mesh: Annotated[
        str, typer.Option("--mesh", envvar="GNOMON_MESH", help="Under torchrun: data=4,tensor=2; else all along data.")
    ] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would need and if it fits; start nothing.")] = False,
    micro_rows: Annotated[int, typer.Option("--micro-rows", min=0, help="Rows at once; 0 chooses. Less memory.")] = 0,
    home: Home = HOME,
    cores: Cores = 0,
) -> None:
    """Train one model: a new run, `--resume RUN`, or `--branch RUN@STEP`; under torchrun in many processes."""
    from gnomon.workflow.display import Display
    from gnomon.workflow.together import train_together
    from gnomon.workflow.training import Wish

    wish = Wish(
        what, tuple(overrides or ()), resume, branch, steps, compute, width, unregistered, inexact, tuple(track or ()),
        init, beside, device, compiled, plan, micro_rows,
    )  # fmt: skip
    with Display() as display:
        line = train_together(wish, home, core_count(cores), display, mesh)
    if line:
        print(line)


@app.command()
def sample(
    run: Annotated[str, typer.Argument(help="A run, or the start of its name; smollm2, a model's folder, a .gguf.")],
    prompt: Annotated[str, typer.Option("--prompt", help="Text to go on from, or to answer.")] = "def ",
    samples: Annotated[int, typer.Option(min=1)] = 1,
    max_tokens: Annotated[int, typer.Option(min=1)] = 128,
    temperature: Annotated[float, typer.Option(min=0)] = 0.7,
    seed: int = 0,
    raw: Annotated[bool, typer.Option("--raw", help="Go on from the prompt, past the model's chat template.")] = False,
    weights: Annotated[str, typer.Option(help="float32, bfloat16, or int8: faster, and checked first.")] = "float32",
    cores: Cores = 1,
    home: Home = HOME,
) -> None:
    """Talk to what you trained, or to a model from elsewhere: text that goes on from a prompt, as it comes."""
    from gnomon.engine.options import EngineOptions
    from gnomon.workflow.sample import sample as stream

    engine = EngineOptions(weights=weights, threads=core_count(cores))
    stream(
        home, run, prompt, samples=samples, max_tokens=max_tokens, temperature=temperature, seed=seed, raw=raw,
        engine=engine,
    )  # fmt: skip


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run, or the start of its name; smollm2, a model's folder, a .gguf.")],
    folder: Annotated[Path, typer.Argument(help="A new folder; for gguf also a new FILE.gguf.")],
    to: Annotated[str, typer.Option("--to", help="hf: a folder of transformers. gguf: a file of llama.cpp.")] = "hf",
    home: Home = HOME,
) -> None:
    """Write what you trained for transformers or llama.cpp: weights, tokenizer and how to generate."""
    from gnomon.workflow.exporting import export as write

    for path in write(home, run, to, folder):
        print(path)


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A study's name, or the start of it.")] = "", home: Home = HOME
) -> None:
    """Write a study's report again, from its files."""
    from gnomon.workflow.reporting import rewrite_report

    print(rewrite_report(home, name))


@app.command()
def drill(
    kills: Annotated[int, typer.Option(min=4, help="SIGKILLs in each of fp32 and bf16.")] = 25,
) -> None:
    """Kill, starve, damage and confuse a run: it must end as one left alone, or refuse with the reason."""
    from gnomon.workflow.drill import drill_lines

    outcomes = []
    for line, good in drill_lines(kills):
        print(line, flush=True)
        outcomes.append(good)
    if not all(outcomes):
        raise typer.Exit(1)


@app.command()
def doctor(home: Home = HOME) -> None:
    """What this machine has, what gnomon will use, what is missing and how to get it."""
    from gnomon.workflow.machine import machine_lines

    for line in machine_lines(home):
        print(line)
