"""Files are whole or absent; schema versions; one process at a time."""

import errno
import os
import subprocess
import sys

import pytest

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock, atomic_path, read_json, write_json, write_text
from gnomon.common.hashing import canonical_json, content_hash


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(JobFailed, match="disk is full"), atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_reads_this_schema_version_and_the_one_before(tmp_path):
    path = tmp_path / "a.json"
    for written in (1, 2):
        write_json(path, {"x": 1}, schema_version=written)
        assert read_json(path, schema_version=2)["x"] == 1
    write_json(path, {"x": 1}, schema_version=3)
    with pytest.raises(GnomonError, match=r"schema_version is 3; this gnomon reads 1–2"):
        read_json(path, schema_version=2)


def test_a_cut_off_json_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"schema_version": 1, "x"')
    with pytest.raises(GnomonError, match=r"a\.json: not readable as JSON"):
        read_json(path, 1)


def test_a_second_process_is_refused_and_the_lock_dies_with_its_holder(tmp_path):
    path = tmp_path / ".lock"
    hold = (
        "import sys; from pathlib import Path; from gnomon.common.files import Lock\n"
        "with Lock(Path(sys.argv[1]), 'run x'):\n    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(path)], stdin=-1, stdout=-1, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(GnomonError, match=rf"run x: another process \(pid {holder.pid}\)"), Lock(path, "run x"):
        pass
    holder.kill()
    holder.wait()
    with Lock(path, "run x"):
        pass


def test_a_hash_depends_on_content_not_on_the_order_of_keys():
    assert content_hash({"a": 1, "b": (1, 2)}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 1.5})
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})


def test_what_is_written_can_be_read_by_whom_the_user_lets(tmp_path):
    """A report or a proof is handed on: the process's umask decides who reads it, not the way it was written."""
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "page.html", "x")
        assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
