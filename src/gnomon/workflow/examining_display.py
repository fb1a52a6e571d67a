"""The live table of an examination: finished tasks above, the one under way below with its rate and time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Live:
    """Lines that stay, and one bar that moves; without a terminal only the lines."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self.bar.add_task("", total=None)

    def __enter__(self) -> Live:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()

    def line(self, text: str) -> None:
        self.console.print(text, markup=False)

    def progress(self, model: str, task: str, done: int, of: int) -> None:
        self.bar.update(self._task, description=f"{model}  {task}", completed=done, total=of)
