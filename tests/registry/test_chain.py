"""An entry is on disk whole or not at all, one writer at a time, and the file only ever grows."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock
from gnomon.registry import GENESIS, Registry, chain, sound, verify

Body = Callable[..., dict[str, Any]]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_empty_registry_has_a_head_and_no_file(registry: Registry) -> None:
    assert registry.head == GENESIS
    assert registry.entries() == []
    assert not registry.path.exists()


def test_entries_come_back_as_written(registry: Registry, forecast: Body) -> None:
    written = [registry.register(forecast(width)) for width in (16, 32)]
    assert Registry(registry.path).entries() == written
    assert [entry.previous for entry in written] == [GENESIS, written[0].hash]
    assert registry.head == written[1].hash


def test_an_append_leaves_earlier_bytes_alone(registry: Registry, forecast: Body) -> None:
    registry.register(forecast(16))
    before = registry.path.read_bytes()
    registry.register(forecast(32))
    assert registry.path.read_bytes().startswith(before)


@settings(deadline=None)
@given(note=st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), JSON, max_size=3))
def test_any_json_survives_the_line_it_is_written_to(note: dict[str, Any]) -> None:
    try:
        entry = chain.seal(0, "abandoned", chain.utc_now(), GENESIS, {"forecast": "f", "note": note})
    except GnomonError:
        assert "\\ud" in json.dumps(note)  # lone surrogates: no file can hold them
        return
    (line,) = chain.scan(entry.line())
    assert line.fault == ""
    assert line.entry is not None
    assert line.entry.line() == entry.line()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800"])
def test_a_value_without_json_is_refused_and_nothing_is_written(
    registry: Registry, forecast: Body, value: object
) -> None:
    with pytest.raises(GnomonError, match="cannot be written as JSON"):
        registry.register(forecast(note=value))
    assert not registry.path.exists()


@pytest.mark.parametrize("keep", [1, 2, 300, -2])
def test_a_torn_last_line_is_named_set_aside_and_the_chain_goes_on(
    registry: Registry, forecast: Body, keep: int
) -> None:
    first = registry.register(forecast(16))
    whole = registry.path.read_bytes()
    torn = chain.seal(1, "forecast", chain.utc_now(), first.hash, forecast(32)).line()[:keep]
    registry.path.write_bytes(whole + torn)

    assert registry.entries() == [first]
    (problem,) = registry.verify()
    assert (problem.kind, problem.index) == ("torn", 1)
    with pytest.raises(GnomonError, match=r"entry 1 breaks off .* `gnomon forecast mend`"):
        registry.register(forecast(32))

    assert "now lie in" in registry.mend()
    assert registry.path.read_bytes() == whole
    (aside,) = registry.path.parent.glob("forecasts.jsonl.torn-*")
    assert aside.read_bytes() == torn
    assert registry.mend() == ""
    registry.register(forecast(32))
    assert registry.verify() == []


def test_a_line_that_lacks_only_its_line_feed_counts_and_is_completed(registry: Registry, forecast: Body) -> None:
    first = registry.register(forecast(16))
    registry.path.write_bytes(registry.path.read_bytes()[:-1])
    assert [problem.kind for problem in registry.verify()] == ["torn"]
    assert registry.entries() == [first]
    second = registry.register(forecast(32))
    assert second.previous == first.hash
    assert registry.verify() == []


def test_mend_alone_completes_a_whole_line(registry: Registry, forecast: Body) -> None:
    registry.register(forecast(16))
    whole = registry.path.read_bytes()
    registry.path.write_bytes(whole[:-1])
    assert "line feed" in registry.mend()
    assert registry.path.read_bytes() == whole


def test_a_kill_in_the_middle_of_an_append_loses_only_that_entry(registry: Registry, forecast: Body) -> None:
    first = registry.register(forecast(16))
    script = (
        "import json, os, signal, sys\n"
        "from gnomon.registry import Registry\n"
        "write = os.write\n"
        "def cut(handle, data):\n"
        "    write(handle, bytes(data[: len(data) // 2]))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.write = cut\n"
        "Registry(sys.argv[1]).register(json.loads(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, str(registry.path), json.dumps(forecast(32))]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [problem.kind for problem in registry.verify()] == ["torn"]
    registry.mend()
    assert registry.entries() == [first]
    registry.register(forecast(32))
    assert registry.verify() == []


def test_a_full_disk_leaves_the_registry_as_it_was(
    registry: Registry, forecast: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register(forecast(16))
    before = registry.path.read_bytes()
    write = os.write

    def full(handle: int, data: memoryview) -> int:
        write(handle, bytes(data[:100]))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(JobFailed, match="No space left on device"):
            registry.register(forecast(32))
    assert registry.path.read_bytes() == before
    registry.register(forecast(32))
    assert registry.verify() == []


def test_several_processes_at_once_keep_one_valid_chain(registry: Registry, forecast: Body) -> None:
    script = (
        "import json, sys\n"
        "from gnomon.registry import Registry, hash_of_target\n"
        "registry, body = Registry(sys.argv[1]), json.loads(sys.argv[2])\n"
        "for steps in range(8):\n"
        "    body['target']['steps'] = steps\n"
        "    body['target_hash'] = hash_of_target(body['target'])\n"
        "    registry.register(body)\n"
    )
    command = [sys.executable, "-c", script, str(registry.path)]
    workers = [subprocess.Popen([*command, json.dumps(forecast(16 * n))]) for n in range(1, 5)]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
    assert [p for p in registry.verify() if not p.warning] == []
    written = [(e.body["target"]["shape"]["width"], e.body["target"]["steps"]) for e in registry.entries()]
    assert sorted(written) == [(16 * n, steps) for n in range(1, 5) for steps in range(8)]


def test_a_writer_that_does_not_finish_is_named(tmp_path: Path, forecast: Body) -> None:
    registry = Registry(tmp_path / "forecasts.jsonl", patience_s=0.0)
    with (
        Lock(tmp_path / "forecasts.jsonl.lock", "test"),
        pytest.raises(GnomonError, match=r"another process .* at work on it"),
    ):
        registry.register(forecast())


def test_a_broken_chain_takes_no_further_entry(registry: Registry, forecast: Body) -> None:
    registry.register(forecast(16))
    registry.register(forecast(32))
    registry.path.write_bytes(registry.path.read_bytes().replace(b'"width":16', b'"width":17'))
    with pytest.raises(GnomonError, match="entry 0 does not have the hash that it states"):
        registry.register(forecast(48))


def test_the_next_schema_is_named_and_the_one_before_is_read(
    registry: Registry, forecast: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register(forecast(16))
    with monkeypatch.context() as patch:
        patch.setattr(chain, "SCHEMA_VERSION", 2)
        registry.register(forecast(32))
        assert [entry.schema_version for entry in registry.entries()] == [1, 2]
        assert registry.verify() == []
    (problem,) = verify(registry.path)
    assert (problem.kind, problem.index) == ("newer schema", 1)
    assert not sound([problem])
    with pytest.raises(GnomonError, match="schema_version 2; this gnomon reads 1 to 1"):
        registry.register(forecast(48))
    monkeypatch.setattr(chain, "SCHEMA_VERSION", 3)
    assert [(p.kind, p.index) for p in verify(registry.path)] == [("older schema", 0)]


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match="a registry is a file"):
        Registry(tmp_path).entries()


def test_importing_the_registry_loads_the_standard_library_only() -> None:
    script = "import sys, gnomon.registry; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "scipy", "pydantic", "yaml", "pyarrow"} & set(loaded)
