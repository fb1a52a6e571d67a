"""Peers: what is said when an environment is missing, and how their steps take turns with ours."""

import sys
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import write_json
from gnomon.workflow import bench_peers, peer_training, peers
from gnomon.workflow.bench_peers import Peer, choose_fastest, peer_steps
from gnomon.workflow.bench_train import bench_plan

PLAN = bench_plan(64)
# Speaks the protocol of peer_training; slower in every precision but one. It dies when the batch is a single row.
STAND_IN = """
import json, sys, time
n, pause = 0, 0.0
for line in sys.stdin:
    if line.strip() == "step":
        time.sleep(pause)
        n += 1
    else:
        n, request = 0, json.loads(line)
        if request["rows"] == 1:
            sys.exit("there is no batch of one row")
        pause = 0.0 if request["precision"] == "bf16-autocast" else 0.02
    print(json.dumps({"step": n}), flush=True)
"""


def pretend(home: Path, name: str) -> None:
    """An environment that looks whole."""
    python = peers.folder(home, name) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    write_json(
        peers.folder(home, name) / peers.READY_FILE,
        {"versions": peers.wanted(peers.BY_NAME[name]), "purpose": ""},
        peers.READY_SCHEMA,
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(peer_training, "__file__", str(script))
    pretend(tmp_path, "transformers")
    return tmp_path


def test_a_missing_environment_is_named_with_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match=r"gnomon bench peers --setup"):
        peers.python_of(tmp_path, "litgpt")
    with pytest.raises(GnomonError, match="transformers, litgpt"):
        peers.python_of(tmp_path, "axolotl")
    assert not any(value["ready"] for value in peers.peers_value(tmp_path).values())
    assert "missing" in "\n".join(peers.peer_lines(tmp_path))


def test_an_environment_with_other_versions_is_not_ready(home: Path) -> None:
    assert peers.installed(home, "transformers") is not None
    path = peers.folder(home, "transformers") / peers.READY_FILE
    write_json(path, {"versions": {"transformers": "4.0.0"}, "purpose": ""}, peers.READY_SCHEMA)
    assert peers.installed(home, "transformers") is None


def test_pip_that_fails_is_quoted_and_leaves_nothing_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_create(place: Path, **_: object) -> None:
        program = place / "bin" / "python"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for torch' >&2\nexit 1\n")
        program.chmod(0o755)

    monkeypatch.setattr(peers.venv, "create", fake_create)
    with pytest.raises(JobFailed, match="No matching distribution found for torch"):
        peers.set_up(tmp_path, lambda *_: None)
    assert peers.installed(tmp_path, "transformers") is None


def test_the_fastest_precision_is_kept_and_those_not_set_up_are_left_out(home: Path) -> None:
    with peer_steps(home, PLAN, 1) as steps:
        assert set(steps) == {"transformers"}
        peer = steps["transformers"]
        assert peer.setting == "bf16-autocast"
        assert set(peer.tried) == set(peer_training.PRECISIONS["transformers"])
        peer()


def test_a_peer_that_dies_is_quoted(home: Path) -> None:
    from dataclasses import replace

    peer = Peer(home, "transformers", 1)
    try:
        with pytest.raises(JobFailed, match=r"peer transformers: .* code 1 \(there is no batch of one row\)"):
            choose_fastest(peer, replace(PLAN, batch_rows=1))
    finally:
        peer.close()


def test_every_training_peer_has_an_environment() -> None:
    assert set(bench_peers.PEERS) <= set(peers.BY_NAME)
