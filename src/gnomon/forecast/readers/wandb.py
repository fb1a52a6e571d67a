"""Weights & Biases without its package: exports of the runs page (CSV), of the API (JSON), and folders on disk.

A run that was synced leaves config.yaml and wandb-summary.json; one that was offline leaves its log alone, see
wandb_log.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers.raw import Raw, flat
from gnomon.forecast.readers.wandb_log import read_log

# What the service calls a run's end, as the table's status. A crash says nothing of the loss: the run is unfinished.
STATES = {"finished": "done"} | dict.fromkeys(
    ("running", "crashed", "failed", "killed", "preempted", "preempting", "pending"), "unfinished"
)
_ABOUT = ("Notes", "User", "Tags", "Created", "Sweep", "End Time", "Hostname", "Group", "Job Type", "Description")
_SUMMARIES = ("summary", "summaryMetrics", "summary_metrics")
_RUN_FOLDER = re.compile(r"^(offline-)?run-\d{8}_\d{6}-(?P<id>.+)$")


def is_export(raw: Raw) -> bool:
    """Whether these are the columns of the runs page's export."""
    return {"Name", "State"} <= set(raw.columns)


def tidy(raw: Raw) -> Raw:
    """The export with run ids and states as gnomon names them, without the columns that say nothing of the run."""
    columns = {n: v for n, v in raw.columns.items() if n not in (*_ABOUT, "Name", "State", "ID", "Runtime")}
    names = [str(v or "") for v in raw.columns["Name"]]
    ids = raw.columns.get("ID")
    if len(set(names)) < len(names):
        names = [f"{name}-{key}" for name, key in zip(names, ids or range(1, len(names) + 1), strict=True)]
    states = [_state(v) for v in raw.columns["State"]]
    extra = {"seconds": raw.columns["Runtime"]} if "Runtime" in raw.columns and "seconds" not in columns else {}
    return Raw({"run_id": names, "status": states, **extra, **columns}, raw.notes, raw.history)


def is_records(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these objects are runs as the API gives them: settings under config, last values under a summary."""
    return bool(rows) and all("config" in row or any(s in row for s in _SUMMARIES) for row in rows)


def read_records(rows: Sequence[Mapping[str, Any]]) -> Raw:
    """Runs as {id, name, state, config, summary, history}; config values may be plain or {"value": ...}."""
    done, history = [], {}
    for i, row in enumerate(rows):
        config = _object(row.get("config"), i, "config")
        summary = _object(next((row[s] for s in _SUMMARIES if s in row), None), i, "summary")
        curves = _curves(row.get("history") or [])
        name = str(row.get("name") or row.get("id") or f"run {i + 1}")
        done.append({"run_id": name, "status": _state(row.get("state"))} | _merged(config, summary, curves))
        if curves:
            history[name] = curves
    return Raw.from_rows(_distinct(done, [str(r.get("id") or i + 1) for i, r in enumerate(rows)]), (), history)


def is_folder(path: Path) -> bool:
    return bool(_run_folders(path))


def read_folder(path: Path) -> Raw:
    """The runs under a folder: one run's own, a `wandb` folder, or the folder that holds one."""
    rows, history = [], {}
    folders = _run_folders(path)
    for folder in folders:
        match = _RUN_FOLDER.match(folder.name)
        run_id, status = match["id"] if match else folder.name, ""
        log = next(folder.glob("*.wandb"), None)
        curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        if (folder / "files" / "wandb-summary.json").is_file() or log is None:
            config = _yaml(folder / "files" / "config.yaml")
            summary = _json(folder / "files" / "wandb-summary.json")
        else:
            logged = read_log(log)
            config, summary, curves = _opened(logged.config), logged.summary, _curves(logged.history)
            status = "done" if logged.exit_code == 0 else "unfinished"
        rows.append({"run_id": run_id, "status": status} | _merged(config, summary, curves))
        if curves:
            history[run_id] = curves
    return Raw.from_rows(_distinct(rows, [folder.name for folder in folders]), (), history)


def _run_folders(path: Path) -> list[Path]:
    def has_run(folder: Path) -> bool:
        files = folder / "files"
        known = (files / "config.yaml").is_file() or (files / "wandb-summary.json").is_file()
        return known or next(folder.glob("*.wandb"), None) is not None

    if has_run(path):
        return [path]
    inside = [*path.glob("*run-*"), *path.glob("wandb/*run-*"), *path.glob("*/wandb/*run-*")]
    return sorted({p for p in inside if _RUN_FOLDER.match(p.name) and has_run(p) and not p.is_symlink()})


def _merged(
    config: Mapping[str, Any], summary: Mapping[str, Any], curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """One row: settings, last logged values (a rate among them is the last one, not the peak), ends of the curves."""
    row = {name: value for name, value in flat(config).items() if not name.startswith("_wandb")}
    logged = {name: float(values[-1]) for name, (_, values) in curves.items()}
    for name, value in {**logged, **_last_values(summary)}.items():
        if re.fullmatch(r"(.*[/._])?(lr|learning_rate)(/.*)?", name):
            row.setdefault("last_rate", value)
        elif name == "_runtime":
            row["seconds"] = value
        elif name != "_timestamp" and not name.startswith("_wandb"):
            row[f"summary.{name}" if name in row else name] = value
    for name, (_, values) in curves.items():
        if re.fullmatch(r"(.*[/._])?(lr|learning_rate)(/.*)?", name):
            row.setdefault("rate", float(values.max()))
            row["last_rate"] = float(values[-1])
    return row


def _last_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A metric that was defined with several summaries is {"last": ..., "min": ...}; its last value counts."""
    last = {name: value["last"] for name, value in summary.items() if isinstance(value, Mapping) and "last" in value}
    return flat({name: value for name, value in summary.items() if name not in last}, "/") | last


def _curves(history: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """History rows [{"_step": 1, "loss": 2.0}, ...] as (steps, values) a metric, in the order of steps."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for i, point in enumerate(history if isinstance(history, list) else []):
        for name, value in flat(point, "/").items() if isinstance(point, Mapping) else ():
            if isinstance(value, int | float) and not isinstance(value, bool) and not name.startswith("_"):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(float(point.get("_step", i)))
                values.append(float(value))
    return {name: _in_order(np.array(s), np.array(v)) for name, (s, v) in curves.items()}


def _in_order(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(steps, kind="stable")
    return steps[order], values[order]


def _distinct(rows: list[dict[str, Any]], keys: list[str]) -> list[dict[str, Any]]:
    names = [row["run_id"] for row in rows]
    return [
        {**row, "run_id": f"{row['run_id']}-{key}"} if names.count(row["run_id"]) > 1 else row
        for row, key in zip(rows, keys, strict=True)
    ]


def _state(value: Any) -> str:
    text = str(value or "").strip().lower()
    return STATES.get(text, text)


def _object(value: Any, index: int, what: str) -> dict[str, Any]:
    """A mapping, or the JSON text of one; {"value": x} entries are opened."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise GnomonError(f"run {index + 1}: {what} is not readable as JSON ({error})") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise GnomonError(f"run {index + 1}: {what} holds {type(value).__name__}; an object is expected")
    return _opened(value)


def _opened(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(k): v["value"] if isinstance(v, Mapping) and "value" in v and set(v) <= {"value", "desc"} else v
        for k, v in value.items()
        if k not in ("_wandb", "wandb_version")
    }


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GnomonError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    return _opened(value) if isinstance(value, Mapping) else {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GnomonError(f"{path}: not readable as JSON ({error}); it was cut off or edited") from None
    return value if isinstance(value, dict) else {}
