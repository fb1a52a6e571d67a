"""A home's registry, and whether it fits the runs beside it. Loads no trainer and no corpus before there is a run."""

from __future__ import annotations

import json
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.registry import Problem, Registry


def home_registry(home: Path) -> Registry:
    """The registry of a home. Raises GnomonError when nothing was registered there."""
    path = home / "forecasts.jsonl"
    if not path.exists():
        raise GnomonError(
            f"{path}: no forecast was registered here; `gnomon quickstart` or `gnomon forecast register` makes one"
        )
    return Registry(path)


def verify_home_registry(home: Path) -> list[Problem]:
    """Problems of a home's registry: its chain, and its entries against the runs, both ways; warnings left out."""
    registry = Registry(home / "forecasts.jsonl")
    folders = sorted(home.glob("runs/*"))
    runs = []
    if folders:
        from gnomon.ladder.table import read_result

        runs = [result for folder in folders if (result := read_result(folder)) is not None]
    heads = [run["registry_head"] for run in runs] + checkpoint_heads(home)
    return [p for p in registry.verify([h for h in heads if h], runs) if not p.warning]


def checkpoint_heads(home: Path) -> list[str]:
    """Registry heads that the checkpoints in a home hold; damaged ones say nothing."""
    heads = []
    for path in sorted(home.glob("runs/*/checkpoint/*/state.json")):
        try:
            heads.append(json.loads(path.read_text())["registry_head"])
        except (ValueError, KeyError, OSError):
            continue
    return heads
