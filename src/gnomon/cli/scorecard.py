"""`gnomon forecast scorecard`: forecasting methods side by side on a folder of finished runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.forecast import forecast_app
from gnomon.cli.options import Json, write_json


@forecast_app.command("scorecard")
def forecast_scorecard(
    data: Annotated[Path, typer.Option("--data", help="Folder of .csv and .csv.gz run tables; see docs/scorecard.md.")],
    json_file: Json = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Only this protocol; may be given again. Default: all.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method; may be given again. Default: gnomon and baselines.")
    ] = None,
    refits: Annotated[int, typer.Option(min=1, help="Most fits a family and ratio of the rolling origin.")] = 12,
) -> None:
    """Forecast the big runs of every family from its small ones, and show who was how far off."""
    from gnomon.forecast.scorecard.card import methods_named, protocols_named, score
    from gnomon.forecast.scorecard.families import read_collection
    from gnomon.forecast.scorecard.show import lines

    methods, protocols = methods_named(method), protocols_named(protocol)
    collection = read_collection(data)
    with _Bar() as progress:
        card = score(collection, methods, protocols, refits, progress)
    for line in lines(card):
        print(line)
    write_json(json_file, card)


class _Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._progress.add_task("reading", total=None)
        self._progress.start()
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=what, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
