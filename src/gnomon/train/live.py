"""One run, live: loss in bits per byte, tokens and operations per second, share of the measured peak, time left.

A line that redraws itself on a terminal; a plain line every ten seconds elsewhere. Hand it to train as a callback.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gnomon.recipe.plan import Plan

PLAIN_EVERY_S = 10.0


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def share_of_peak(speed: float, peak: float) -> float:
    """At most 1: a run that is faster than the peak shows that the peak was measured while others used the cores."""
    return speed / max(peak, speed)


def words(row: dict[str, float], step: int, steps: int, peak: float | None) -> str:
    """A row of the metrics in one line. peak: operations per second of the model's products, None when not measured."""
    speed = row["flops_per_s"]
    share = f" ({share_of_peak(speed, peak):.0%} of peak)" if peak else ""
    seen = row.get("skipped_steps", 0) + row.get("alarms", 0)
    guards = f" · guards: {seen:.0f}, see `gnomon runs show`" if seen else ""
    left = (steps - step) * row["tokens"] / step / row["tokens_per_s"]
    return (
        f"{row['bits_per_byte']:.3f} bits/byte · {row['tokens_per_s']:,.0f} tokens/s · "
        f"{speed / 1e9:.1f} GFLOP/s{share} · {clock(left)} left{guards}"
    )


class Live:
    """with Live(plan, peak) as live: train(..., callbacks=[live])."""

    def __init__(self, plan: Plan, peak: float | None = None, console: Console | None = None) -> None:
        self.plan, self.peak = plan, peak
        self.console = console or Console(stderr=True)
        self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} · {task.fields[words]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(plan.run_id[:8], total=plan.steps, words="beginning")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, step: int, row: dict[str, float]) -> None:
        line = words(row, step, self.plan.steps, self.peak)
        if self.console.is_terminal:
            self._progress.update(self._task, completed=step, words=line)
        elif time.monotonic() - self._said >= PLAIN_EVERY_S or step == self.plan.steps:
            self._said = time.monotonic()
            self.console.print(
                f"run {self.plan.run_id[:8]} step {step}/{self.plan.steps} {line}", highlight=False, soft_wrap=True
            )
