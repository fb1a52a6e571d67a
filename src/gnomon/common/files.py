"""Files that are either whole or absent, carry their schema version, and are held by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.hashing import plain


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside path; when the block ends well it is synced to disk and takes path's place.

    Raises JobFailed when the disk is full; path is then as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile.mkstemp: its files are for their owner's eyes only, and a report or a proof is made to be handed on.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobFailed(f"{path}: the disk is full; free some space and give the same command again") from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename inside folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: dict[str, Any], schema_version: int) -> None:
    """value as readable JSON with its schema_version, atomically."""
    body = {"schema_version": schema_version, **plain(value)}
    write_text(path, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, schema_version: int) -> dict[str, Any]:
    """What write_json wrote, by this version of the schema or the one before.

    Raises GnomonError when the file is missing, is no JSON object, or has another schema version.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise GnomonError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GnomonError(f"{path}: not readable as JSON ({error}); it was cut off or edited") from error
    if not isinstance(value, dict):
        raise GnomonError(f"{path}: holds {type(value).__name__}; an object is expected")
    found = value.get("schema_version")
    if found not in (schema_version, schema_version - 1):
        raise GnomonError(f"{path}: schema_version is {found}; this gnomon reads {schema_version - 1}–{schema_version}")
    return value


class Lock:
    """One process at a time on a folder; the system frees it when the process ends, however it ends."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        self._file: IO[str] | None = None

    def __enter__(self) -> Lock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = self.path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise GnomonError(
                f"{self.what}: another process ({holder}) is at work on it; wait for it or stop it first"
            ) from None
        handle.truncate(0)
        handle.write(f"pid {os.getpid()}")
        handle.flush()
        self._file = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
