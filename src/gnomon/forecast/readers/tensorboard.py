"""TensorBoard: one folder a run, holding event files and, beside them, the run's settings as YAML or JSON.

A metric's value is the last one logged, which after the rate's decay is the run's final loss; the curve is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers.events import Scalar, read_events
from gnomon.forecast.readers.raw import Raw, flat

EVENTS = "events.out.tfevents.*"
SETTINGS = ("hparams.yaml", "hparams.json", "config.yaml", "config.json", "hparams.yml", "args.json")
_SESSION = re.compile(r"\d{10}(\.\d+)?")  # SummaryWriter.add_hparams writes to a folder named by the time
_RATE = re.compile(r"(.*[/._-])?(lr|learning_rate)([/_-].*)?")


def is_folder(path: Path) -> bool:
    return next(path.rglob(EVENTS), None) is not None


def read_folder(path: Path) -> Raw:
    """One row a folder that holds event files; its name is its way from `path`. Settings of a folder also hold for the
    event folders inside it that have none (metrics written by SummaryWriter.add_scalars)."""
    rows, history, notes = [], {}, []
    folders = sorted({file.parent for file in path.rglob(EVENTS)})
    sessions = {f for f in folders if _SESSION.fullmatch(f.name) and f.parent in folders}
    for folder in (f for f in folders if f not in sessions):
        scalars, settings = _events(folder)
        for session in (s for s in sessions if s.parent == folder):
            settings |= _events(session)[1]
        beside = _settings(folder, path)
        name = str(folder.relative_to(path)) if folder != path else path.resolve().name
        curves = _curves(scalars)
        if not curves:
            notes.append(f"{name} holds no logged numbers and is left out")
            continue
        rows.append({"run_id": name} | beside | settings | _ends(curves, {**beside, **settings}))
        history[name] = curves
    if not rows:
        raise GnomonError(f"{path}: its event files hold no logged numbers")
    return Raw.from_rows(rows, notes, history)


def _events(folder: Path) -> tuple[list[Scalar], dict[str, Any]]:
    """All of a folder's files in the order they were written: a resumed run has several."""
    scalars: list[Scalar] = []
    settings: dict[str, Any] = {}
    for file in sorted(folder.glob(EVENTS)):
        found, set_there = read_events(file)
        if found:  # a restart from a checkpoint overwrites what lies beyond it
            first = min(s.step for s in found)
            again = {s.tag for s in found}
            scalars = [s for s in scalars if s.step < first or s.tag not in again]
        scalars += found
        settings |= set_there
    return scalars, settings


def _curves(scalars: list[Scalar]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    tags = dict.fromkeys(s.tag for s in scalars if not s.tag.startswith("_hparams_"))
    curves = {}
    for tag in tags:
        points = sorted(((s.step, s.value) for s in scalars if s.tag == tag), key=lambda p: p[0])
        curves[tag] = (np.array([p[0] for p in points], dtype=float), np.array([p[1] for p in points]))
    return curves


def _ends(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Last values; of a logged rate the peak (where no setting says it) and the last."""
    row: dict[str, Any] = {}
    for tag, (_, values) in curves.items():
        if _RATE.fullmatch(tag.lower()):
            if not any(_RATE.fullmatch(name.lower()) for name in settings):
                row.setdefault("rate", float(values.max()))
            row.setdefault("last_rate", float(values[-1]))
        else:
            row[f"logged.{tag}" if tag in settings else tag] = float(values[-1])
    row["steps"] = max(float(steps[-1]) for steps, _ in curves.values())
    return row


def _settings(folder: Path, top: Path) -> dict[str, Any]:
    """The nearest settings file: in the folder, or above it up to `top`."""
    for place in (folder, *folder.parents):
        for name in SETTINGS:
            if (place / name).is_file():
                return _read_settings(place / name)
        if place == top:
            break
    return {}


def _read_settings(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise GnomonError(f"{path}: not readable as {path.suffix[1:]} ({str(error).splitlines()[0]})") from None
    return flat(value) if isinstance(value, Mapping) else {}
