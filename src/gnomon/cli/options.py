"""What many verbs share: the options they take and how they write for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gnomon.common.hashing import plain

Home = Annotated[Path, typer.Option("--home", envvar="GNOMON_HOME", help="Where everything is kept.")]
Cores = Annotated[int, typer.Option("--cores", min=0, help="Cores to use; 0 is all this process may use.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result for machines to this file.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides, as key=value.", metavar="[KEY=VALUE]...")]
Executor = Annotated[str, typer.Option("--executor", help="Who does the runs: local, ray, ray:auto, ray:HOST:6379.")]
Track = Annotated[
    list[str] | None,
    typer.Option("--track", help="Show the learning curve in tensorboard, wandb or mlflow too. May be given again."),
]
RecipeName = Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")]
TargetCompute = Annotated[float, typer.Option("--target", "--compute", help="Training FLOPs of the target.")]
Metric = Annotated[str | None, typer.Option("--metric", help="The column to forecast; needed where several could be.")]
Parameters = Annotated[float | None, typer.Option("--parameters", help="The target's size; the optimum if left out.")]
Tokens = Annotated[float | None, typer.Option("--tokens", help="The target's tokens, beside --parameters.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="A column under another name, as OURS=THEIRS: tokens=D. May be given again."),
]
Unit = Annotated[
    str | None, typer.Option("--unit", help="Of losses whose name does not say: nats, bits, bits_per_byte, perplexity.")
]
HOME = Path("gnomon-home")


def group(help: str) -> typer.Typer:
    """A group of verbs."""
    return typer.Typer(no_args_is_help=True, help=help)


def write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        from gnomon.common.files import write_text

        write_text(path, json.dumps(plain(value), indent=1) + "\n")


def core_count(wished: int) -> int:
    from gnomon.workflow.machine import usable_cores

    return wished or usable_cores()


def missing_extra(error: Exception) -> str:
    """What to say when a verb needs a package that gnomon's extras bring; "" for every other error."""
    from gnomon.workflow.machine import PACKAGES

    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"{name} is not installed; {PACKAGES[name][1]}" if name in PACKAGES else ""
