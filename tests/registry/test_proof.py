"""A proof can be checked without gnomon, and no longer holds when it was edited."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnomon.common.errors import GnomonError
from gnomon.registry import Registry, timestamp
from gnomon.registry.proof import export_proof, verify_proof

Body = Callable[..., dict[str, Any]]


@pytest.fixture
def proof(registry: Registry, forecast: Body, tmp_path: Path) -> Path:
    registry.register(forecast(16))
    entry = registry.register(forecast(32, note="läuft"))
    registry.register(forecast(48))
    return export_proof(registry, entry.hash[:12], tmp_path / "proof.json")


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
    return path


def test_a_proof_holds_with_and_without_its_registry(proof: Path, registry: Registry) -> None:
    assert verify_proof(proof) == []
    assert verify_proof(proof, registry.path) == []


def test_a_proof_shows_no_other_forecast(proof: Path) -> None:
    value = json.loads(proof.read_text())
    assert (len(value["chain"]), value["scored"]) == (2, True)
    assert '"width": 16' not in proof.read_text()
    assert base64.b64decode(value["timestamp_request"]) == timestamp.request(value["entry"]["hash"])


def test_its_instructions_work_without_gnomon(proof: Path) -> None:
    command = next(line for line in json.loads(proof.read_text())["instructions"] if line.startswith("python3"))
    script = command.partition('"')[2].rpartition('"')[0]

    def check() -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-c", script, str(proof)], capture_output=True, text=True, check=True
        )
        return done.stdout.split()[0]

    assert check() == "sound"
    change(proof, lambda value: value["entry"]["body"].update(law="better"))
    assert check() == "EDITED"


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value["entry"]["body"].update(law="better"),
        lambda value: value["entry"].update(time="2020-01-01T00:00:00Z"),
        lambda value: value["entry"].update(hash="9" * 64),
        lambda value: value["chain"].pop(),
        lambda value: value["chain"].insert(0, "9" * 64),
        lambda value: value["chain"].__setitem__(0, "9" * 64),
        lambda value: value.update(timestamp_request=base64.b64encode(timestamp.request("9" * 64)).decode()),
    ],
)
def test_an_edited_proof_is_named(proof: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    assert {problem.kind for problem in verify_proof(change(proof, edit))} == {"edited"}


def test_a_registry_that_lost_the_entry_is_named(proof: Path, registry: Registry) -> None:
    lines = registry.path.read_bytes().splitlines(keepends=True)
    registry.path.write_bytes(lines[0])
    assert {problem.kind for problem in verify_proof(proof, registry.path)} == {"truncated"}


@pytest.mark.parametrize("edit", [lambda value: value.pop("chain"), lambda value: value.update(entry=3, chain=[])])
def test_a_file_that_is_no_proof_is_named(proof: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(GnomonError, match="is no proof that gnomon wrote"):
        verify_proof(change(proof, edit))


def test_only_forecasts_have_proofs(registry: Registry, forecast: Body, tmp_path: Path) -> None:
    entry = registry.register(forecast())
    given_up = registry.abandon(entry.hash, "why not")
    with pytest.raises(GnomonError, match="a proof is of a forecast"):
        export_proof(registry, given_up.hash, tmp_path / "proof.json")
