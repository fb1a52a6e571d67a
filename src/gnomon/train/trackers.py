"""Learning curves for TensorBoard, Weights & Biases and MLflow, as callbacks of a run; off unless they are asked for.

Everything is kept by step: a resumed run goes on in the same tracker run, and no step is there twice. A tracker that
fails (a network, a disk, a service) is left out from then on with one line in the run's notes; training never waits.
The trackers' own environment variables hold (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, …); without them all is
written below the home.
"""

from __future__ import annotations

import importlib.util
import json
import netrc
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import yaml

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json, write_text
from gnomon.common.hashing import plain
from gnomon.recipe.plan import Plan
from gnomon.train.result import Result

CLOSE_PATIENCE_S = 60.0  # for a service's last upload, when the training is over
PROJECT = "gnomon"
TOLD_FILE, TOLD_SCHEMA = "tracker-wandb.json", 1
_SERVER = "api.wandb.ai"


class Tracker(Protocol):
    """Where one run's numbers go. Any method may raise anything: the run does not mind."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of a window of steps."""

    def close(self, finals: Mapping[str, float], done: bool) -> None:
        """The last word of this sitting. finals: scores of a finished run. done: it is finished."""


class TensorBoard:
    """Event files in HOME/tensorboard/RUN, with the plan beside them as hparams.yaml."""

    def __init__(self, plan: Plan, home: Path) -> None:
        self.folder = home / "tensorboard" / plan.run_id
        write_text(self.folder / "hparams.yaml", yaml.safe_dump(settings(plan)))
        self._writer: Any = None
        self._last = -1

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None or step <= self._last:  # begun, resumed, or rolled back
            self._open(step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self._last = step

    def _open(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is not None:
            self._writer.close()
        # Readers drop what an earlier sitting wrote from this step on.
        self._writer = SummaryWriter(str(self.folder), purge_step=step)

    def close(self, finals: Mapping[str, float], done: bool) -> None:
        for name, value in finals.items():
            self._writer.add_scalar(name, value, self._last)
        self._writer.close()


class WeightsAndBiases:
    """One run of the project `gnomon`, named as the run. Without a key (WANDB_API_KEY, .netrc) it stays offline, in
    HOME/wandb, and `wandb sync` sends it later. A step that was told in an earlier sitting is not told again."""

    def __init__(self, plan: Plan, home: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._told = home / "runs" / plan.run_id / TOLD_FILE
        self._last = json.loads(self._told.read_text())["step"] if self._told.exists() else -1
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=plan.run_id,
            name=plan.run_id,
            dir=str(home),
            mode=mode,
            resume=None if mode == "offline" else "allow",  # offline, the service joins the sittings when they are sent
            config=settings(plan),
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, init_timeout=30, x_disable_stats=True
            ),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._last:
            self._run.log(dict(values), step=step)
            self._last = step
            write_json(self._told, {"step": step}, TOLD_SCHEMA)

    def close(self, finals: Mapping[str, float], done: bool) -> None:
        self._run.summary.update(dict(finals))
        self._run.finish(exit_code=0 if done else 1)


class MLflow:
    """One run of the experiment `gnomon`, found again by its tag `gnomon.run`; files in HOME/mlruns where
    MLFLOW_TRACKING_URI names no server. A step that is there is not written again."""

    def __init__(self, plan: Plan, home: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a lost server must not hold up the run
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        where = os.environ.get("MLFLOW_TRACKING_URI") or (home.absolute() / "mlruns").as_uri()
        if where.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.entities import Param, RunStatus
        from mlflow.tracking import MlflowClient

        self._client, self._states = MlflowClient(tracking_uri=where), RunStatus
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        found = self._client.search_runs([experiment], f"tags.`gnomon.run` = '{plan.run_id}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status=RunStatus.to_string(RunStatus.RUNNING))
        else:
            self._id = self._client.create_run(
                experiment, run_name=plan.run_id, tags={"gnomon.run": plan.run_id}
            ).info.run_id
            self._client.log_batch(self._id, params=[Param(k, str(v)) for k, v in settings(plan).items()])
        history = self._client.get_metric_history(self._id, "loss_nats") if found else []
        self._last = max((m.step for m in history), default=-1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if step > self._last:
            now = int(time.time() * 1000)
            self._client.log_batch(self._id, metrics=[Metric(k, float(v), now, step) for k, v in values.items()])
            self._last = step

    def close(self, finals: Mapping[str, float], done: bool) -> None:
        for name, value in finals.items():
            self._client.log_metric(self._id, name, value, step=self._last)
        state = self._states.FINISHED if done else self._states.KILLED
        self._client.set_terminated(self._id, self._states.to_string(state))


# Name on the command line -> (the tracker, its package, its extra).
TRACKERS: dict[str, tuple[Callable[[Plan, Path], Tracker], str, str]] = {
    "tensorboard": (TensorBoard, "tensorboard", "tensorboard"),
    "wandb": (WeightsAndBiases, "wandb", "wandb"),
    "mlflow": (MLflow, "mlflow", "mlflow"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Raises GnomonError when one is unknown or its package is not installed: before the run, not in the middle."""
    for name in names:
        if name not in TRACKERS:
            raise GnomonError(f"--track {name}: no such tracker; there are {', '.join(TRACKERS)}")
        _, package, extra = TRACKERS[name]
        if importlib.util.find_spec(package) is None:
            raise GnomonError(f"--track {name}: {package} is not installed; pip install 'gnomon[{extra}]'")


def settings(plan: Plan) -> dict[str, Any]:
    """The plan as flat settings, `shape.width` and so on."""
    flat: dict[str, Any] = {"run": plan.run_id}
    for name, value in plain(plan.to_dict()).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": v for inner, v in value.items()}
        else:
            flat[name] = value
    return flat


class Trackers:
    """A callback of train that tells every tracker of `names`; a context, which ends them. home: where they write.

    problems: a line for each tracker that failed.
    """

    def __init__(self, names: Sequence[str], plan: Plan, home: Path) -> None:
        check_trackers(names)
        self.plan, self.home = plan, home
        self.problems: list[str] = []
        self._waiting = dict.fromkeys(names)
        self._open: dict[str, Tracker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close({}, done=False)

    def __call__(self, step: int, row: Mapping[str, float]) -> None:
        """Pass on a row of the metrics. A tracker is opened by its first row, so a finished run is not told again."""
        values = {name: float(value) for name, value in row.items() if name != "step"}
        for name in list(self._waiting):
            del self._waiting[name]
            self._try(name, step, partial(self._begin, name))
        for name, tracker in list(self._open.items()):
            self._try(name, step, partial(tracker.log, step, values))

    def _begin(self, name: str) -> None:
        self._open[name] = TRACKERS[name][0](self.plan, self.home)

    def finish(self, result: Result, run_dir: Path) -> Result:
        """Tell the scores of a finished run and end every tracker; what failed goes into the result's notes."""
        finals = {f"bits_per_byte_{name}": float(e["bits_per_byte"]) for name, e in result.evaluations.items()}
        self._close(finals, done=result.status == "done")
        if self.problems:
            result = replace(result, notes=(*result.notes, *self.problems))
            result.write(run_dir)
        return result

    def _close(self, finals: Mapping[str, float], done: bool) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, None, partial(_within, CLOSE_PATIENCE_S, partial(tracker.close, finals, done)))
        self._open = {}

    def _try(self, name: str, step: int | None, call: Callable[[], object]) -> None:
        """Whatever goes wrong in a tracker ends the tracker, not the run."""
        try:
            call()
        except Exception as error:
            self._open.pop(name, None)
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            at = "at its end" if step is None else f"at step {step}"
            self.problems.append(f"tracker {name} failed {at} and was left out from there on: {said}")


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call, but do not wait for ever. Raises what call raises, TimeoutError when it takes longer."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"it took longer than {seconds:.0f} seconds")
    if raised:
        raise raised[0]


def _has_key() -> bool:
    """Whether Weights & Biases would let this user in; it is never asked for in the middle of a run."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(_SERVER) is not None
    except (OSError, netrc.NetrcParseError):
        return False
