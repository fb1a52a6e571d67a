"""The log that an offline run of Weights & Biases leaves (run-ID.wandb), without its package; nothing is executed.

LevelDB's log format (google/leveldb doc/log_format.md, blocks of 32 KiB) behind a seven-byte header, holding protobuf
records whose values are JSON; field numbers are those of wandb/proto/wandb_internal.proto (MIT).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers.events import fields

_BLOCK = 32768
_HEADER = 7
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18  # of Record
_KEY, _NESTED, _VALUE = 1, 2, 16  # of an item


@dataclass
class Logged:
    """What one log holds. exit_code: None where the run never said that it ended."""

    run_id: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def read_log(path: Path) -> Logged:
    """The settings, last values and curves of a run. A tail that a killed run left half written is dropped.

    Raises GnomonError when the file is no such log.
    """
    data = path.read_bytes()
    if data[:4] != b":W&B":
        raise GnomonError(f"{path}: no log of Weights & Biases; it begins with {data[:4]!r}")
    logged = Logged()
    try:
        for record in _records(data):
            for number, value in fields(record):
                _take(logged, number, value)
    except (IndexError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise GnomonError(f"{path}: a record is not readable ({error}); the file is damaged") from None
    if not logged.summary and logged.history:
        logged.summary = {k: v for row in logged.history for k, v in row.items()}
    return logged


def _records(data: bytes) -> Iterator[bytes]:
    """Whole records, put together from their pieces: 1 full, 2 first, 3 middle, 4 last."""
    at, pieces = _HEADER, b""
    while at + 7 <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < 7:  # a header does not fit: the block's end is padding
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0 or at + 7 + length > len(data):
            return
        pieces += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield pieces
            pieces = b""


def _take(logged: Logged, number: int, value: Any) -> None:
    if number == _RUN:
        run = list(fields(value))
        logged.run_id = next((v.decode() for n, v in run if n == 1), logged.run_id)
        logged.name = next((v.decode() for n, v in run if n == 8), logged.name)
        for inner in (v for n, v in run if n == 4):
            logged.config |= _items(inner)
    elif number == _CONFIG:
        logged.config |= _items(value)
    elif number == _SUMMARY:
        logged.summary |= _items(value)
    elif number == _HISTORY:
        logged.history.append(_items(value))
    elif number == _EXIT:
        logged.exit_code = next((v for n, v in fields(value) if n == 1), 0)


def _items(message: bytes) -> dict[str, Any]:
    """{key: value} of the items in field 1; a nested key is joined with dots."""
    items = {}
    for item in (v for n, v in fields(message) if n == 1):
        parts = list(fields(item))
        nested = [v.decode() for n, v in parts if n == _NESTED]
        key = next((v.decode() for n, v in parts if n == _KEY and v), "") or ".".join(nested)
        text = next((v for n, v in parts if n == _VALUE), b"null")
        items[key] = json.loads(text)
    return items
