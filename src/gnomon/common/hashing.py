"""Content hashes: the same value has the same name everywhere (run ids, corpora, forecasts)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any


def later(default: Any) -> Any:
    """A dataclass field that was added after values had been hashed: at its default it is left out of plain and hash.

    So what was named before the field existed keeps its name.
    """
    return dataclasses.field(default=default, metadata={"later": True})


def plain(value: Any) -> Any:
    """value with dataclasses, tuples and paths turned into what JSON knows; later fields at their default left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if not _unset(value, f)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def _unset(value: Any, field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("later")) and getattr(value, field.name) == field.default


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, shortest round-trip floats.

    Raises ValueError on NaN and infinities, TypeError on what JSON cannot say.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of value, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def folder_hash(folder: Path, pattern: str = "**/*.py") -> str:
    """SHA-256 over the relative names and bytes of the files in folder that match pattern, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()
