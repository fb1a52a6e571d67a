"""What a run writes down about itself: the open window of the metrics, the clock, notes; and what its guards saw.

None of it decides a step. Windows and guards are in step with the checkpoints, so a run that was killed has the curve
of one left alone.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnomon.common.files import write_json
from gnomon.recipe.flops import train_flops_per_token
from gnomon.recipe.plan import Plan
from gnomon.train import schedule
from gnomon.train.guard import EVENTS_FILE, EVENTS_SCHEMA, Guard
from gnomon.train.metrics import Metrics

AT_ONCE, TOKENS_AT_ONCE = 64, 65_536  # steps whose rows are looked at together, which spares most of the cost


class Books:
    """token_bytes: [V]. names: of the terms, in the order in which they are shown."""

    def __init__(self, plan: Plan, token_bytes: NDArray[np.integer], run_dir: Path, names: tuple[str, ...]) -> None:
        self.plan, self.token_bytes, self.names, self.run_dir = plan, token_bytes, names, run_dir
        self.metrics = Metrics(run_dir, tuple(name for name in names if name != "loss_nats"))
        self.guard = Guard(plan)
        self._at_once = max(1, min(AT_ONCE, TOKENS_AT_ONCE // plan.batch_tokens))
        self.notes: list[str] = []
        self.planned: dict[str, float] = {}  # bytes that the run was said to need
        self.last_loss: float | None = None
        self._seconds_before, self._began = 0.0, time.perf_counter()
        self.open()

    @property
    def seconds(self) -> float:
        """Time spent training, over all sittings."""
        return self._seconds_before + time.perf_counter() - self._began

    def open(self) -> None:
        """A new window begins."""
        self.sums = [0.0] * len(self.names)
        self.window: dict[str, float] = {
            "steps": 0, "learned": 0, "bytes": 0, "grad_norm": 0.0, "alarms": 0, "opened": self.seconds,
        }  # fmt: skip
        self._waiting: list[NDArray[np.int64]] = []

    def add(self, step: int, rows: NDArray[np.int64]) -> None:
        """Rows that step, counted from 0, has read."""
        self.window["steps"] += 1
        self._waiting.append(rows)
        if len(self._waiting) == self._at_once:
            self.look(step + 1)

    def learned(self, shown: list[float], norm: float) -> None:
        """The step learned from its rows."""
        self.window["learned"] += 1
        self.window["grad_norm"] += norm
        self.window["alarms"] += self.guard.alarmed
        self.sums = [a + b for a, b in zip(self.sums, shown, strict=True)]

    def left_out(self, rows: NDArray[np.int64]) -> None:
        """The step learned nothing: its rows do not count into bits per byte."""
        self.window["bytes"] -= int(self.token_bytes[rows[:, 1:]].sum())

    def look(self, step: int) -> None:
        """Look at the rows that wait, of the steps before `step`."""
        if self._waiting:
            batches = np.stack(self._waiting)
            self.window["bytes"] += int(self.token_bytes[batches[..., 1:]].sum())
            self.window["alarms"] += self.guard.look_at(step - len(batches), batches)
            self._waiting = []

    def close(self, step: int) -> dict[str, float]:
        """A row of the metrics for the steps since the last one, up to `step`; a new window begins."""
        self.look(step)
        plan, window = self.plan, self.window
        learned = window["learned"]
        tokens = learned * plan.batch_tokens
        means = dict(zip(self.names, (total / learned if learned else math.nan for total in self.sums), strict=True))
        loss = means.get("loss_nats", math.nan)
        tokens_per_s = max(1, window["steps"]) * plan.batch_tokens / max(self.seconds - window["opened"], 1e-9)
        flops_per_token = train_flops_per_token(plan.shape)
        row = {
            "step": step,
            "tokens": step * plan.batch_tokens,
            "flops": flops_per_token * step * plan.batch_tokens,
            "loss_nats": loss,
            "bits_per_byte": loss * tokens / math.log(2) / window["bytes"] if window["bytes"] > 0 else math.nan,
            "grad_norm": window["grad_norm"] / learned if learned else math.nan,
            "rate": plan.optimisation.rate * schedule.multiplier(max(0, step - 1), plan.steps, plan.optimisation),
            "seconds": self.seconds,
            "tokens_per_s": tokens_per_s,
            "flops_per_s": flops_per_token * tokens_per_s,
            "skipped_steps": window["steps"] - learned,
            "alarms": window["alarms"],
            **{name: value for name, value in means.items() if name != "loss_nats"},
        }
        self.metrics.append(row)
        self.last_loss = loss if math.isfinite(loss) else None
        self.open()
        return row

    # Storing and restoring

    def flush(self) -> None:
        """Write curve and events. Raises JobFailed when the disk is full; what was written before is then untouched."""
        self.metrics.flush()
        if self.guard.events:
            body = {"counts": self.guard.counts, "rollbacks": self.guard.rollbacks, "events": self.guard.events}
            write_json(self.run_dir / EVENTS_FILE, body, EVENTS_SCHEMA)

    def state(self, step: int) -> dict[str, Any]:
        """For a checkpoint after `step` updates."""
        self.look(step)
        return {
            "notes": self.notes,
            "seconds": self.seconds,
            "metrics_rows": len(self.metrics.rows),
            "last_loss": self.last_loss,
            "window": {**self.window, "sums": self.sums},
            "guard": self.guard.state(),
        }

    def resume(self, step: int, state: dict[str, Any]) -> None:
        """Take up the books of a checkpoint."""
        self.metrics.resume(step)
        if len(self.metrics.rows) < state["metrics_rows"]:
            lost = state["metrics_rows"] - len(self.metrics.rows)
            self.notes.append(f"{lost} rows of the learning curve were lost with {self.metrics.path.name}")
        self.notes = [*state["notes"], *self.notes]
        self.last_loss = state["last_loss"]
        self.open()
        window = dict(state["window"])
        self.sums = list(window.pop("sums"))
        self.window.update(window)
        if "guard" in state:
            self.guard.load(state["guard"])
        else:  # a checkpoint from before there were guards
            self.window["learned"] = self.window["steps"]

    def begin(self) -> None:
        """Empty books: the run begins again."""
        self.metrics.rows, self.last_loss = [], None
        self.open()

    def start_clock(self, seconds_before: float) -> None:
        self._seconds_before, self._began = seconds_before, time.perf_counter()
