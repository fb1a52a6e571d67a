"""A run in memory: its model, optimiser, place in the data and open window of the metrics; and how it is stored.

Everything that decides the next step is here and in the checkpoint, and nowhere else.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import plain
from gnomon.corpus.rows import TrainRows
from gnomon.model.parametrization import initialise, parameter_groups
from gnomon.model.transformer import Transformer
from gnomon.recipe.flops import train_flops_per_token
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train import schedule
from gnomon.train.checkpoint import Checkpoint
from gnomon.train.execution import Execution
from gnomon.train.gradient import step_gradient
from gnomon.train.metrics import Metrics
from gnomon.train.optim import AdamW, FlatWeights, clip_scale
from gnomon.train.term import Term

if TYPE_CHECKING:
    from gnomon.corpus.shards import Corpus

OnEvent = Callable[[str, int], None]


def silent(_: str, __: int) -> None:
    """Nobody listens to the events of a run."""


class Session:
    """One run between two checkpoints. step: updates taken. Call restore() before take_step()."""

    def __init__(
        self,
        plan: Plan,
        corpus: Corpus,
        run_dir: Path,
        execution: Execution,
        terms: Sequence[Term],
        on_event: OnEvent = silent,
    ) -> None:
        self.plan, self.corpus, self.run_dir, self.execution = plan, corpus, run_dir, execution
        self.terms, self.on_event = terms, on_event
        self.token_bytes = np.asarray(corpus.token_bytes, dtype=np.int64)
        self.model = Transformer(plan.shape)
        initialise(self.model, plan.optimisation, plan.seed)
        groups = parameter_groups(self.model, plan.shape, plan.optimisation, plan.steps)
        self.weights = FlatWeights(self.model, groups, execution.torch_dtype)
        self.gradient = step_gradient(self.model, self.weights, terms, execution)
        self.optimiser = AdamW(self.weights, plan.optimisation.beta1, plan.optimisation.beta2)
        self.metrics = Metrics(run_dir, tuple(term.name for term in terms if term.name != "loss_nats"))
        self.step = self.first_step = 0
        self.skipped: tuple[tuple[int, int], ...] = ()
        self.inexact = False
        self.notes: list[str] = []
        self.registry_head = ""
        self.last_loss: float | None = None
        self._seconds_before, self._began = 0.0, time.perf_counter()
        self._open_window()
        self._read_from(())

    def _read_from(self, skipped: tuple[tuple[int, int], ...]) -> None:
        plan = self.plan
        self.skipped = skipped
        self.rows = TrainRows(
            self.corpus.tokens("train"), plan.shape.context, plan.order_seed, plan.batch_rows, skipped
        )

    def _open_window(self) -> None:
        self.window_sums = torch.zeros(len(self.terms), dtype=torch.float64)
        self.window: dict[str, float] = {"steps": 0, "bytes": 0, "grad_norm": 0.0, "opened": self.seconds}

    @property
    def seconds(self) -> float:
        """Time spent training, over all sittings."""
        return self._seconds_before + time.perf_counter() - self._began

    @property
    def seen_tokens(self) -> int:
        return self.step * self.plan.batch_tokens

    # One optimiser step

    def take_step(self) -> bool:
        """One update. False, with the weights as they were, when the gradient is no number."""
        plan = self.plan
        rows = self.rows.batch(self.step)
        shown = self.gradient(rows)
        norm = float(torch.linalg.vector_norm(self.weights.gradient))
        if not math.isfinite(norm):
            return False
        self.optimiser.step(
            schedule.multiplier(self.step, plan.steps, plan.optimisation), clip_scale(norm, plan.optimisation.clip)
        )
        self.step += 1
        self.window_sums += shown
        self.window["steps"] += 1
        self.window["bytes"] += int(self.token_bytes[rows[:, 1:]].sum())
        self.window["grad_norm"] += norm
        return True

    # Metrics

    def close_window(self) -> dict[str, float]:
        """A row of the metrics for the steps since the last one; a new window begins."""
        plan, window = self.plan, self.window
        steps = max(1, int(window["steps"]))
        tokens = steps * plan.batch_tokens
        means = dict(zip((term.name for term in self.terms), (self.window_sums / steps).tolist(), strict=True))
        loss = means.get("loss_nats", math.nan)
        tokens_per_s = tokens / max(self.seconds - window["opened"], 1e-9)
        flops_per_token = train_flops_per_token(plan.shape)
        row = {
            "step": self.step,
            "tokens": self.seen_tokens,
            "flops": flops_per_token * self.seen_tokens,
            "loss_nats": loss,
            "bits_per_byte": loss * tokens / math.log(2) / window["bytes"] if window["bytes"] else math.nan,
            "grad_norm": window["grad_norm"] / steps,
            "rate": plan.optimisation.rate * schedule.multiplier(max(0, self.step - 1), plan.steps, plan.optimisation),
            "seconds": self.seconds,
            "tokens_per_s": tokens_per_s,
            "flops_per_s": flops_per_token * tokens_per_s,
            **{name: value for name, value in means.items() if name != "loss_nats"},
        }
        self.metrics.append(row)
        self.last_loss = loss if math.isfinite(loss) else None
        self._open_window()
        return row

    # Storing and restoring

    def save(self, final: bool = False) -> None:
        """Metrics, then a checkpoint. The last one of a run has no moments, unless a branch may start from it."""
        self.metrics.flush()
        moments: dict[str, Tensor] = {}
        if not final or self.step in self.execution.keep_steps:
            for name, buffer in (("first", self.optimiser.first), ("second", self.optimiser.second)):
                moments.update({f"{name}.{k}": v for k, v in self.weights.views(buffer).items()})
        checkpoints.save(
            self.run_dir,
            Checkpoint(self.step, self.weights.views(self.weights.master), moments, self.state()),
            self.execution.keep_steps,
            lambda phase: self.on_event(f"checkpoint {phase}", self.step),
        )

    def state(self) -> dict[str, Any]:
        """All else that a checkpoint holds, as plain values."""
        return {
            "tokens": self.seen_tokens,
            "first_step": self.first_step,
            "updates": self.optimiser.taken,
            "skipped": plain(self.skipped),
            "registry_head": self.registry_head,
            "plan": plain(self.plan.to_dict()),
            "corpus": self.corpus.hash,
            "terms": [repr(term) for term in self.terms],
            "inexact": self.inexact,
            "notes": self.notes,
            "seconds": self.seconds,
            "metrics_rows": len(self.metrics.rows),
            "last_loss": self.last_loss,
            "window": {**self.window, "sums": self.window_sums.tolist()},
        }

    def restore(self) -> None:
        """Take up the newest whole checkpoint, or the parent's for a branch, or begin.

        Raises GnomonError when a checkpoint belongs to another plan, corpus or set of terms, or none is whole.
        """
        found, notes = checkpoints.newest(self.run_dir)
        self.notes += [f"passed over a damaged checkpoint: {note}" for note in notes]
        if found is not None:
            checkpoints.require_same_plan(self.plan, found.state, self.run_dir)
            self._require_same_terms(found.state["terms"])
            self._take_up(found)
            self._resume_books(found.state)
        elif self.plan.parent:
            from gnomon.train.branch import parent_checkpoint

            self._take_up(parent_checkpoint(self.plan, self.run_dir.parent))
            self.first_step = self.step
        self._began = time.perf_counter()
        if found is None:
            self._open_window()

    def _require_same_terms(self, found: list[str]) -> None:
        mine = [repr(term) for term in self.terms]
        if found != mine:
            raise GnomonError(
                f"{self.run_dir}: this run minimises {' + '.join(found)}, not {' + '.join(mine)}; "
                "give it the same terms, or train in another folder"
            )

    def _take_up(self, found: Checkpoint) -> None:
        """Weights, moments and place in the data of a checkpoint."""
        moments = found.moments
        if not moments and found.step < self.plan.steps:
            raise GnomonError(f"checkpoint of step {found.step}: it holds no optimiser state; nothing can follow it")
        for name, view in self.weights.views(self.weights.master).items():
            view.copy_(found.weights[name])
        for kind, buffer in (("first", self.optimiser.first), ("second", self.optimiser.second)):
            for name, view in self.weights.views(buffer).items():
                if moments:
                    view.copy_(moments[f"{kind}.{name}"])
        self.weights.refresh()
        self.optimiser.taken = found.state["updates"]
        self.step = found.step
        self._read_from(tuple((a, b) for a, b in found.state["skipped"]))

    def _resume_books(self, state: dict[str, Any]) -> None:
        """Metrics, clock and what the run must remember about itself."""
        self.metrics.resume(self.step)
        if len(self.metrics.rows) < state["metrics_rows"]:
            lost = state["metrics_rows"] - len(self.metrics.rows)
            self.notes.append(f"{lost} rows of the learning curve were lost with {self.metrics.path.name}")
        self.first_step = state["first_step"]
        self.inexact = state["inexact"]
        self.notes = [*state["notes"], *self.notes]
        self._seconds_before = state["seconds"]
        self.last_loss = state["last_loss"]
        self.window = dict(state["window"])
        self.window_sums = torch.tensor(self.window.pop("sums"), dtype=torch.float64)


def peak_rss_bytes() -> int:
    """The most memory this process has held at once (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
