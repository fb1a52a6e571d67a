"""Guards: every fault is injected, seen, and survived as promised; a healthy run is left alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json
from gnomon.corpus.rows import TrainRows
from gnomon.recipe.plan import Plan
from gnomon.train import checkpoint as checkpoints
from gnomon.train.execution import decide
from gnomon.train.guard import EVENTS_FILE, WINDOW, Guard, Verdict, fingerprints
from gnomon.train.leak import require_causal
from gnomon.train.learner import FlatLearner
from gnomon.train.metrics import METRICS_FILE, read_metrics
from gnomon.train.result import Result
from gnomon.train.term import NextToken
from gnomon.train.trainer import train

MakePlan = Callable[..., Plan]
STEPS = 220


class Pulled(Exception):
    """The plug was pulled."""


class Faulty(FlatLearner):
    """A learner whose loss is too high on some batches, and whose gradient may be disturbed after it was taken."""

    bad: frozenset[int] = frozenset()  # fingerprints of the batches
    excess = 5.0

    def gradient(self, rows: np.ndarray) -> torch.Tensor:
        shown = super().gradient(rows)
        return shown + self.excess if int(fingerprints(rows[None])[0]) in self.bad else shown


def faulty(corpus: Any, plan: Plan, data_steps: range, excess: float = 5.0) -> type[Faulty]:
    rows = TrainRows(corpus.tokens("train"), plan.shape.context, plan.order_seed, plan.batch_rows)
    found = frozenset(int(fingerprints(rows.batch(step)[None])[0]) for step in data_steps)
    return type("FaultyHere", (Faulty,), {"bad": found, "excess": excess})


def weights(run_dir: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    return checkpoints.load(run_dir, step).weights


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def events(run_dir: Path) -> list[tuple[int, str]]:
    return [(e["step"], e["kind"]) for e in read_json(run_dir / EVENTS_FILE, 1)["events"]]


def test_a_healthy_run_is_left_alone_and_keeps_its_name(corpus: Any, make_plan: MakePlan, tmp_path: Path) -> None:
    plan, off = make_plan(steps=STEPS), make_plan(steps=STEPS, spike_sigmas=0.0)
    assert "spike_sigmas" not in plan.to_dict()["optimisation"] and plan.run_id != off.run_id
    guarded, bare = train(plan, corpus, tmp_path / "guarded"), train(off, corpus, tmp_path / "bare")
    assert guarded.guards == bare.guards == {} and not (tmp_path / "guarded" / EVENTS_FILE).exists()
    assert same(weights(tmp_path / "guarded"), weights(tmp_path / "bare"))


def test_one_bad_batch_is_not_learned_from(corpus: Any, make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(steps=STEPS)
    result = train(plan, corpus, tmp_path, learner=faulty(corpus, plan, range(150, 151)))
    assert (result.status, result.steps, result.guards) == ("done", STEPS, {"spike": 1})
    assert events(tmp_path) == [(150, "spike")]
    rows = read_metrics(tmp_path / METRICS_FILE)
    assert [row["step"] for row in rows if row["skipped_steps"]] == [151]
    assert max(row["loss_nats"] for row in rows if row["step"] > 130 and row["step"] != 151) < 4
    assert checkpoints.load(tmp_path, STEPS).state["updates"] == STEPS - 1


@pytest.mark.parametrize("stored", [(40, 120, 148), ()], ids=["stored", "from the beginning"])
def test_a_spike_that_stays_sends_the_run_back_and_its_data_is_left_out(
    corpus: Any, make_plan: MakePlan, tmp_path: Path, stored: tuple[int, ...]
) -> None:
    plan = make_plan(steps=STEPS)
    learner = faulty(corpus, plan, range(150, 154))
    execution = replace(decide(plan, keep_steps=stored), log_every=5)
    heard: list[int] = []
    result = train(
        plan, corpus, tmp_path, learner=learner, execution=execution,
        on_event=lambda what, step: heard.append(step) if what == "rolled back" else None,
    )  # fmt: skip
    assert result.guards == {"spike": 4, "roll back": 1} and result.steps == STEPS
    # To step 128, a block before the spike: from the newest checkpoint before that, or from the beginning.
    assert heard == [120 if stored else 0]
    final = checkpoints.load(tmp_path, STEPS).state
    assert final["skipped"] == [[128, 154]] and final["guard"]["rollbacks"] == 1
    assert [row["step"] for row in read_metrics(tmp_path / METRICS_FILE)] == list(range(5, STEPS + 1, 5))


def test_a_run_that_goes_back_ends_alike_wherever_it_is_killed(
    corpus: Any, make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(steps=STEPS)
    learner = faulty(corpus, plan, range(150, 160))
    execution = replace(decide(plan), log_every=5)
    train(plan, corpus, tmp_path / "alone", learner=learner, execution=execution)
    chance = random.Random(5)
    for stored in ((30, 90, 94, 121, 139, 151, 180), (140,)):
        run_dir = tmp_path / f"killed{len(stored)}"
        how = replace(execution, keep_steps=stored)
        for patience in range(12):
            left = chance.randint(20, 120) + 60 * patience

            def kill(what: str, step: int) -> None:
                nonlocal left
                left -= what == "step"
                if not left:
                    raise Pulled

            try:
                train(plan, corpus, run_dir, learner=learner, execution=how, mode="auto", on_event=kill)
            except Pulled:
                continue
            break
        assert same(weights(run_dir), weights(tmp_path / "alone"))
        assert events(run_dir) == events(tmp_path / "alone")
        curves = [read_metrics(folder / METRICS_FILE) for folder in (run_dir, tmp_path / "alone")]
        for column in ("step", "loss_nats", "bits_per_byte", "skipped_steps", "alarms"):
            assert [row[column] for row in curves[0]] == [row[column] for row in curves[1]]


def test_a_loss_that_stays_high_is_accepted_in_the_end(corpus: Any, make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(steps=STEPS)
    result = train(plan, corpus, tmp_path, learner=faulty(corpus, plan, range(190, 1000)))
    assert result.status == "done" and result.guards["roll back"] == 2 and result.guards["gave way"] == 1


def test_a_spike_in_the_gradient_alone_is_an_alarm(
    corpus: Any, make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, plan = FlatLearner.norm, make_plan(steps=STEPS, clip=0.0)
    monkeypatch.setattr(FlatLearner, "norm", lambda self: norm(self) * (1000 if self.updates == 170 else 1))
    result = train(plan, corpus, tmp_path)
    assert result.guards == {"norm": 1} and events(tmp_path) == [(170, "norm")]
    assert [row["step"] for row in read_metrics(tmp_path / METRICS_FILE) if row["alarms"]] == [171]


class Broken(torch.autograd.Function):
    """The identity, which gives NaN, forward or backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, forward: bool) -> torch.Tensor:
        ctx.forward_ = forward
        return x * math.nan if forward else x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (gradient if ctx.forward_ else gradient * math.nan), None


@pytest.mark.parametrize(
    ("module", "forward", "words"),
    [
        ("blocks.1.mlp.up", True, "blocks.1.mlp.up, forward"),
        ("blocks.0.attention", True, "blocks.0.attention, forward"),
        ("blocks.1.mlp.up", False, "blocks.1.mlp.up, backward"),
        ("norm", False, "norm, backward"),
    ],
)
def test_the_module_that_made_a_nan_is_named(
    corpus: Any, make_plan: MakePlan, tmp_path: Path, module: str, forward: bool, words: str
) -> None:
    class Sick(FlatLearner):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.model.get_submodule(module).register_forward_hook(self.spoil)

        def spoil(self, _: Any, given: Any, made: torch.Tensor) -> torch.Tensor:
            sick = self.updates == 3 and torch.is_grad_enabled()
            return Broken.apply(made, forward) if sick else made

    plan = make_plan(steps=6, depth=2, spike_sigmas=0.0)
    result = train(plan, corpus, tmp_path, learner=Sick, execution=replace(decide(plan), kernels="torch"))
    assert (result.status, result.steps, result.guards) == ("diverged", 3, {"not a number": 1})
    (event,) = read_json(tmp_path / EVENTS_FILE, 1)["events"]
    assert event["step"] == 3 and event["what"].startswith(words)


def test_a_gradient_that_stays_no_number_ends_the_run_after_two_returns(
    corpus: Any, make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(steps=60, rate=1e30, clip=0.0)
    result = train(plan, corpus, tmp_path)
    assert result.status == "diverged" and result.guards["roll back"] == 2 and result.steps < 20
    assert read_json(tmp_path / EVENTS_FILE, 1)["events"][0]["what"].startswith("head, backward")
    assert Result.read(tmp_path) == result


def test_dead_data_is_seen(corpus: Any, make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(steps=30)
    corpus._tokens[200:15_000] = 7
    result = train(plan, corpus, tmp_path / "constant")
    assert 15 <= result.guards["constant rows"] <= 30 and set(result.guards) == {"constant rows"}
    batch = TrainRows.batch
    monkeypatch.setattr(TrainRows, "batch", lambda self, step: batch(self, 3 if 10 <= step < 15 else step))
    result = train(replace(plan, seed=4), corpus, tmp_path / "stuck")
    assert sum(row["alarms"] for row in read_metrics(tmp_path / "stuck" / METRICS_FILE)) >= 5
    assert [s for s, kind in events(tmp_path / "stuck") if kind == "repeated batch"] or result.guards


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_sees_later_tokens_is_not_trained(
    corpus: Any, make_plan: MakePlan, tmp_path: Path, dtype: str
) -> None:
    class Leaky(FlatLearner):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.model.blocks[1].mlp.register_forward_hook(lambda module, given, made: made + 0.1 * made.roll(-1, 1))

    plan = make_plan(depth=2, dtype=dtype)
    with pytest.raises(GnomonError, match=r"causal leak: the output of blocks\.1\.mlp at position \d+ changes"):
        train(plan, corpus, tmp_path / "leaky", learner=Leaky)
    assert not checkpoints.steps(tmp_path / "leaky")
    sound = FlatLearner(plan, decide(plan), [NextToken()])
    before = sound.flat.master.clone()
    require_causal(sound.model, plan.shape.vocab, plan.shape.context)
    assert torch.equal(sound.flat.master, before) and torch.equal(sound.flat.compute, before.to(sound.flat.compute))


def test_a_guard_taken_up_from_a_checkpoint_judges_as_one_that_was_not(make_plan: MakePlan) -> None:
    chance = random.Random(1)
    series = [
        (3 + chance.gauss(0, 0.1) + 4 * (chance.random() < 0.01), math.exp(chance.gauss(0, 0.3))) for _ in range(900)
    ]
    plan = make_plan(batch_rows=600)
    whole, parts = Guard(plan), Guard(plan)
    verdicts = []
    for step, (loss, norm) in enumerate(series):
        fresh = Guard(plan)
        fresh.load(parts.state())
        parts = fresh
        verdicts.append(whole.judge(step, loss, norm))
        assert parts.judge(step, loss, norm) == verdicts[-1]
    assert whole.state() == parts.state()
    assert verdicts[:WINDOW] == [Verdict.LEARN] * WINDOW
    spikes = {step for step, (loss, _) in enumerate(series) if loss > 5 and step >= 2 * WINDOW}
    assert {step for step in spikes if verdicts[step] is Verdict.SKIP} == spikes


def test_what_a_guard_sees_does_not_depend_on_how_many_batches_come_at_once(corpus: Any, make_plan: MakePlan) -> None:
    rows = TrainRows(corpus.tokens("train"), 16, 1, 4)
    batches = np.stack([rows.batch(step % 290) for step in range(600)])
    states = []
    for pieces in (1, 7, 600):
        guard = Guard(make_plan())
        found = sum(guard.look_at(first, batches[first : first + pieces]) for first in range(0, 600, pieces))
        states.append((found, guard.state()))
    assert states[0] == states[1] == states[2]
