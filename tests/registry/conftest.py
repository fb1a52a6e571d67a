"""A registry with a clock that ticks by a second an entry, and forecasts to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gnomon.registry import Registry, hash_of_target, run_id_of


def ticking() -> Callable[[], str]:
    def times() -> Iterator[str]:
        for second in range(3600):
            yield f"2026-01-02T03:{second // 60:02d}:{second % 60:02d}.000000Z"

    return times().__next__


def body_of(width: int = 64, **changes: Any) -> dict[str, Any]:
    """A forecast body; width tells targets apart."""
    target = {"shape": {"width": width, "depth": 2}, "steps": 100, "dtype": "float32", "corpus": "c" * 64}
    return {
        "target": target,
        "target_hash": hash_of_target(target),
        "evaluation_sets": {"codebase": "e" * 64},
        "dtype": "float32",
        "outcome_definition": "bits per byte at the last step after decay",
        "law": "power + floor",
        "metrics": ["bits_per_byte_codebase"],
        "quantiles": {"bits_per_byte_codebase": {"0.05": 1.1, "0.5": 1.2, "0.95": 1.35}},
        "code_hash": "a" * 64,
        "analysis_hash": "b" * 64,
        "table_hash": "d" * 64,
        "divergence_rule": "a loss above its value at step 1 after warm-up; scored as a miss",
        "compute_before_registration": {"tuning": 1e12, "failed": 0, "seeds": 2.5e11, "rungs": 3e12},
        **changes,
    }


@pytest.fixture
def forecast() -> Callable[..., dict[str, Any]]:
    return body_of


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "forecasts.jsonl", clock=ticking())


@pytest.fixture
def close() -> Callable[..., dict[str, Any]]:
    """Close a forecast by the run that it seeds, as that run's result.json would have it; returns the result."""

    def closed(registry: Registry, entry: Any, value: float = 1.22, status: str = "done") -> dict[str, Any]:
        run_id = run_id_of(entry) or f"outside-{entry.index}"
        evaluations = {"codebase": {"bits_per_byte": value, "stderr_bits_per_byte": 0.003}}
        head = registry.head
        registry.close(
            entry.hash,
            {"run_id": run_id, "status": status, "evaluations": evaluations, "registry_heads": [entry.hash, head]},
        )
        return {"run_id": run_id, "registry_head": head, "registry_entry": entry.hash, "evaluations": evaluations}

    return closed


@pytest.fixture(scope="session")
def chain_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound registry with an entry of every kind."""
    registry = Registry(tmp_path_factory.mktemp("chain") / "forecasts.jsonl", clock=ticking())
    entries = [registry.register(body_of(width, note="läuft → ∞")) for width in (16, 32, 48)]
    registry.anchor("git-commit", {"commit": "0" * 40, "file": "forecasts.jsonl"})
    registry.deviation(entries[1].hash, "feedfeedfeedfeed", {"steps": [100, 90]}, "the disk was full")
    outcome = {
        "run_id": run_id_of(entries[0]),
        "status": "done",
        "evaluations": {"codebase": {"bits_per_byte": 1.25}},
        "registry_heads": [entries[0].hash],
    }
    registry.close(entries[0].hash, outcome)
    registry.abandon(entries[2].hash, "no time")
    return registry.path.read_bytes()
