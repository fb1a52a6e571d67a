"""Trackers are told every step once, over all sittings, and a tracker that fails takes nothing with it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gnomon.common.errors import GnomonError
from gnomon.train import trackers as module
from gnomon.train.trackers import Trackers, check_trackers, settings
from gnomon.train.trainer import train

STEPS = 12


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No key, no server: everything stays on this disk."""
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def sitting(tmp_path, corpus, make_plan, every_step, held_out):
    """sitting(stop_at): train with the trackers; killed hard after that step where it is given."""
    plan = make_plan(steps=STEPS)

    class Killed(BaseException):
        pass

    def run(names, stop_at=None):
        def kill(step, row):
            if step == stop_at:
                raise Killed

        run_dir = tmp_path / "runs" / plan.run_id
        # A checkpoint at step 5 alone: what was told after it is told again by the next sitting.
        execution = replace(every_step(plan), checkpoint_every_s=1e9, keep_steps=(5,))
        told = Trackers(names, plan, tmp_path)
        try:
            with told:
                result = train(
                    plan, corpus, run_dir, execution=execution, evaluate=[held_out], callbacks=[told, kill], mode="auto"
                )
                return told.finish(result, run_dir)
        except Killed:
            return None

    run.plan, run.home = plan, tmp_path
    return run


def expected(sitting):
    """(steps, losses) of the run's own metrics."""
    from gnomon.train.metrics import read_metrics

    rows = read_metrics(sitting.home / "runs" / sitting.plan.run_id / "metrics.parquet")
    return [row["step"] for row in rows], [row["loss_nats"] for row in rows]


def test_tensorboard_holds_the_curve_the_plan_and_the_scores_after_a_resume(sitting):
    pytest.importorskip("tensorboard", reason="TensorBoard's writer needs gnomon[tensorboard]")
    from gnomon.forecast.readers.tensorboard import read_folder

    assert sitting(["tensorboard"], stop_at=8) is None
    result = sitting(["tensorboard"])
    steps, losses = expected(sitting)
    raw = read_folder(sitting.home / "tensorboard")
    curve = raw.history[sitting.plan.run_id]["loss_nats"]
    assert curve[0].tolist() == steps == [2, 4, 6, 8, 10, 12]
    assert curve[1].tolist() == pytest.approx(losses, rel=1e-6)
    score = result.evaluations["development"]["bits_per_byte"]
    assert raw.columns["bits_per_byte_development"] == [pytest.approx(score, rel=1e-6)]
    assert raw.columns["shape.width"] == [sitting.plan.shape.width]
    assert result.notes == ()


@pytest.mark.slow
def test_weights_and_biases_offline_holds_each_step_once_over_two_sittings(sitting):
    pytest.importorskip("wandb", reason="Weights & Biases needs gnomon[wandb]")
    from gnomon.forecast.readers.wandb_log import read_log

    assert sitting(["wandb"], stop_at=8) is None
    result = sitting(["wandb"])
    steps, losses = expected(sitting)
    logs = [read_log(path) for path in sorted(sitting.home.glob("wandb/*run-*/*.wandb"))]
    told = sorted((row["_step"], row["loss_nats"]) for log in logs for row in log.history)
    assert [step for step, _ in told] == steps
    assert [loss for _, loss in told] == pytest.approx(losses)
    assert {log.run_id for log in logs} == {sitting.plan.run_id} and len(logs) == 2
    assert [log.exit_code for log in logs] == [1, 0]
    score = result.evaluations["development"]["bits_per_byte"]
    assert logs[-1].summary["bits_per_byte_development"] == pytest.approx(score)
    assert result.notes == ()


@pytest.mark.slow
def test_mlflow_files_hold_each_step_once_over_two_sittings(sitting):
    pytest.importorskip("mlflow", reason="MLflow needs gnomon[mlflow]")
    from mlflow.tracking import MlflowClient

    assert sitting(["mlflow"], stop_at=8) is None
    result = sitting(["mlflow"])
    steps, losses = expected(sitting)
    client = MlflowClient(tracking_uri=(sitting.home / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("gnomon").experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss_nats")
    assert [m.step for m in history] == steps
    assert [m.value for m in history] == pytest.approx(losses)
    assert run.info.status == "FINISHED" and run.data.params["shape.width"] == str(sitting.plan.shape.width)
    assert run.data.metrics["bits_per_byte_development"] == result.evaluations["development"]["bits_per_byte"]
    assert result.notes == ()


class Failing:
    """A tracker whose service goes away: when it is opened, at a step, or at the end."""

    at = "open"

    def __init__(self, plan, home):
        self.steps = []
        if self.at == "open":
            raise ConnectionError("no route\nto host")

    def log(self, step, values):
        if self.at == "log" and step > 4:
            raise OSError(28, "No space left on device")

    def close(self, finals, done):
        if self.at == "close":
            raise RuntimeError("the upload failed")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("open", "failed at step 2 and was left out from there on: no route"),
        ("log", "failed at step 6 and was left out from there on: [Errno 28] No space left on device"),
        ("close", "failed at its end and was left out from there on: the upload failed"),
    ],
)
def test_a_tracker_that_fails_is_one_line_of_the_notes(sitting, monkeypatch, at, said):
    monkeypatch.setattr(Failing, "at", at)
    monkeypatch.setattr(module, "TRACKERS", {"failing": (Failing, "json", "failing")})
    result = sitting(["failing"])
    assert result.status == "done" and result.notes == (f"tracker failing {said}",)
    assert f'"tracker failing {said}"' in (sitting.home / "runs" / sitting.plan.run_id / "result.json").read_text()


def test_a_tracker_that_hangs_at_the_end_is_not_waited_for(sitting, monkeypatch):
    import threading

    class Hanging(Failing):
        at = "never"

        def close(self, finals, done):
            threading.Event().wait()

    monkeypatch.setattr(module, "CLOSE_PATIENCE_S", 0.05)
    monkeypatch.setattr(module, "TRACKERS", {"hanging": (Hanging, "json", "hanging")})
    assert "took longer" in sitting(["hanging"]).notes[0]


def test_a_finished_run_is_not_told_again(sitting, monkeypatch):
    opened = []

    class Counting(Failing):
        at = "never"

        def __init__(self, plan, home):
            opened.append(plan.run_id)

    monkeypatch.setattr(module, "TRACKERS", {"counting": (Counting, "json", "counting")})
    sitting(["counting"])
    sitting(["counting"])
    assert len(opened) == 1


def test_unknown_and_missing_trackers_are_said_before_the_run(monkeypatch):
    with pytest.raises(GnomonError, match="--track comet: no such tracker; there are tensorboard, wandb, mlflow"):
        check_trackers(["comet"])
    monkeypatch.setattr(module, "TRACKERS", {"absent": (Failing, "no_such_package_here", "absent")})
    with pytest.raises(GnomonError, match=r"pip install 'gnomon\[absent\]'"):
        check_trackers(["absent"])


def test_settings_are_flat_and_name_the_run(make_plan):
    flat = settings(make_plan())
    assert flat["run"] == make_plan().run_id and flat["optimisation.rate"] == 0.01
    assert not any(isinstance(value, dict) for value in flat.values())
    assert all(not isinstance(v, float) or math.isfinite(v) for v in flat.values())
