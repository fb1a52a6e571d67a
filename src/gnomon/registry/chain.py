"""The chain: one JSON object a line, each holding the hash of the one before it.

A line is the canonical JSON of its entry, so a changed byte anywhere is a changed hash. The file only ever grows;
an entry counts once its line is on disk. Hash chaining after Haber and Stornetta, "How to time-stamp a digital
document" (J. Cryptology 3, 1991); the limits of what it proves are in docs/registry.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock, sync_folder, write_bytes
from gnomon.common.hashing import canonical_json, content_hash, plain

SCHEMA_VERSION = 1
GENESIS = "0" * 64  # what the first entry calls previous, and the head of an empty registry
KINDS = ("forecast", "outcome", "deviation", "abandoned", "anchor")
FIELDS = ("schema_version", "index", "kind", "time", "previous", "body", "hash")
# What every reader relies on finding in a body; what a new entry must say beyond this is in bodies.py.
BODY_FIELDS: dict[str, dict[str, type]] = {
    "forecast": {"target": dict, "target_hash": str},
    "outcome": {"forecast": str, "run_id": str, "status": str, "registry_heads": list},
    "deviation": {"forecast": str, "run_id": str},
    "abandoned": {"forecast": str},
    "anchor": {"anchor": str, "head": str, "reference": dict},
}


@dataclass(frozen=True)
class Entry:
    """One line of the chain. hash: SHA-256 of the canonical JSON of all the other fields. time: UTC, ISO 8601."""

    index: int
    kind: str
    time: str
    previous: str
    body: dict[str, Any]
    hash: str
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}

    def line(self) -> bytes:
        return canonical_json(self.to_dict()).encode() + b"\n"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Entry:
        """The entry that to_dict wrote. Raises ValueError when it has other fields, types or kinds."""
        if set(value) != set(FIELDS):
            odd = ", ".join(sorted(set(value) ^ set(FIELDS)))
            raise ValueError(f"the fields {odd} are missing or unknown")
        if type(value["index"]) is not int or value["index"] < 0 or not isinstance(value["body"], dict):
            raise ValueError("index is no natural number, or body no object")
        if value["kind"] not in KINDS:
            raise ValueError(f"its kind is {value['kind']!r}; there are {', '.join(KINDS)}")
        for name in ("previous", "hash"):
            if not is_hash(value[name]):
                raise ValueError(f"{name} is not 64 hexadecimal digits")
        for name, kind in BODY_FIELDS[value["kind"]].items():
            if not isinstance(value["body"].get(name), kind):
                raise ValueError(f"body.{name} is missing or wrong")
        moment(value["time"])
        return cls(**value)


@dataclass(frozen=True)
class Line:
    """A line of the file as found. fault: "", "edited", "newer schema", "older schema" or "torn".

    entry is None when the line cannot stand for one; a torn last line that lacks only its line feed has one.
    """

    number: int
    size: int
    entry: Entry | None
    fault: str = ""
    reason: str = ""
    stated: str = ""  # the hash that the line states, true or not, where it can be read


def is_hash(text: object) -> bool:
    """Whether text is 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def utc_now() -> str:
    """The time as entries hold it: UTC to the microsecond, such as 2026-01-02T03:04:05.678901Z."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(text: object) -> datetime:
    """The moment an entry's time names. Raises ValueError when it is no UTC time in ISO 8601."""
    value = datetime.fromisoformat(text) if isinstance(text, str) else None
    if value is None or value.utcoffset() is None or value.utcoffset() != UTC.utcoffset(None):
        raise ValueError(f"its time is {text!r}; a UTC time such as 2026-01-02T03:04:05Z is expected")
    return value


def hash_of(content: Mapping[str, Any]) -> str:
    """The hash an entry with this content must have: over every field but the hash itself."""
    return content_hash({name: value for name, value in content.items() if name != "hash"})


def seal(index: int, kind: str, time_utc: str, previous: str, body: dict[str, Any]) -> Entry:
    """The entry with its hash. Raises GnomonError when body holds what JSON cannot say (NaN, an infinity, an array)."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "index": index,
        "kind": kind,
        "time": time_utc,
        "previous": previous,
        "body": plain(body),
    }
    try:
        return Entry.from_dict({**content, "hash": hash_of(content)})
    except (ValueError, TypeError) as error:
        raise GnomonError(f"registry: a {kind} that cannot be written as JSON: {error}") from None


def scan(data: bytes) -> list[Line]:
    """Every line of a chain's bytes, each judged by itself; links between lines are the reader's to check."""
    *whole, tail = data.split(b"\n")
    lines = [_judge(number, raw) for number, raw in enumerate(whole)]
    if tail:
        lines.append(_judge_tail(len(whole), tail))
    return lines


def _judge(number: int, raw: bytes) -> Line:
    try:
        value = json.loads(raw)
        text = canonical_json(value).encode()
    except (ValueError, RecursionError):
        return Line(number, len(raw), None, "edited", "is not readable as an entry")
    if not isinstance(value, dict):
        return Line(number, len(raw), None, "edited", "is not readable as an entry")
    version, stated = value.get("schema_version"), str(value.get("hash"))
    if text != raw or stated != hash_of(value):
        reason = "does not have the hash that it states" if text == raw else "is not written as gnomon writes entries"
        return Line(number, len(raw), None, "edited", reason, stated)
    if type(version) is not int or not max(1, SCHEMA_VERSION - 1) <= version <= SCHEMA_VERSION:
        fault = "newer schema" if type(version) is int and version > SCHEMA_VERSION else "older schema"
        readable = f"this gnomon reads {max(1, SCHEMA_VERSION - 1)} to {SCHEMA_VERSION}"
        return Line(number, len(raw), None, fault, f"has schema_version {version}; {readable}", stated)
    try:
        return Line(number, len(raw), Entry.from_dict(value))
    except (ValueError, TypeError) as error:
        return Line(number, len(raw), None, "edited", f"is no entry of gnomon's: {error}", stated)


def _judge_tail(number: int, raw: bytes) -> Line:
    """A last line without its line feed: whole, cut off, or something that no interrupted write leaves behind."""
    line = _judge(number, raw)
    if line.entry is not None:
        return Line(number, len(raw), line.entry, "torn", "lacks only its line feed")
    if line.fault != "edited":
        return line
    with contextlib.suppress(ValueError, RecursionError):
        json.JSONDecoder().raw_decode(raw.decode())
        return line
    return Line(number, len(raw), None, "torn", f"breaks off after {len(raw)} bytes")


class Chain:
    """A file of entries. Any number of processes may read it; one at a time appends, the others wait their turn.

    clock: gives the time of the next entry. patience_s: how long an append waits for another process.
    """

    def __init__(self, path: Path, clock: Callable[[], str] = utc_now, patience_s: float = 30.0) -> None:
        self.path, self.clock, self.patience_s = Path(path), clock, patience_s

    def read(self) -> bytes:
        """The file's bytes; nothing when there is no file yet."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise GnomonError(f"{self.path}: {error.strerror}; a registry is a file such as forecasts.jsonl") from None

    def entries(self) -> list[Entry]:
        """All entries, in order; a torn last line, never confirmed to anybody, is left out.

        Raises GnomonError when the chain is broken anywhere; gnomon.registry.verify names everything that is wrong.
        """
        return self._linked(scan(self.read()))

    def append(self, kind: str, build: Callable[[list[Entry]], dict[str, Any] | Entry]) -> Entry:
        """Add one entry and return it once it is on disk.

        build sees the entries under the lock, so what it checks still holds when the line is written; it gives the
        new body, or an entry that already says the same, which is then returned and nothing is written.
        Raises GnomonError on a broken chain or a torn last line, JobFailed when the disk refuses the line.
        """
        with self.held():
            data = self.read()
            lines = scan(data)
            if lines and lines[-1].fault == "torn" and lines[-1].entry is None:
                raise GnomonError(f"{self.path}: {torn_text(lines[-1])}")
            entries = self._linked(lines)
            built = build(entries)
            if isinstance(built, Entry):
                return built
            previous = entries[-1].hash if entries else GENESIS
            entry = seal(len(entries), kind, self.clock(), previous, built)
            feed = b"\n" if data and not data.endswith(b"\n") else b""
            self._write(feed + entry.line(), len(data))
            return entry

    def mend(self) -> str:
        """Repair a torn last line and say what was done; "" when there was nothing to do.

        A line that lacks only its line feed gets it. A line that breaks off is moved, byte for byte, to a file beside
        the registry, and the registry ends before it. Nothing else is ever changed.
        """
        with self.held():
            data = self.read()
            lines = scan(data)
            if not lines or lines[-1].fault != "torn":
                return ""
            last = lines[-1]
            if last.entry is not None:
                self._write(b"\n", len(data))
                return f"{self.path}: entry {last.number} was whole and got its line feed"
            torn = data[len(data) - last.size :]
            aside = self.path.with_name(f"{self.path.name}.torn-{hashlib.sha256(torn).hexdigest()[:8]}")
            write_bytes(aside, torn)
            with self.path.open("r+b") as f:
                f.truncate(len(data) - last.size)
                os.fsync(f.fileno())
            return f"{self.path}: {last.size} bytes of a line that was never finished now lie in {aside.name}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The registry for one writer, waiting up to patience_s while another process has it."""
        deadline = time.monotonic() + self.patience_s
        lock = Lock(self.path.with_name(self.path.name + ".lock"), str(self.path))
        while True:
            try:
                lock.__enter__()
                break
            except GnomonError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except OSError as error:
                raise JobFailed(f"{self.path}: {error.strerror}; the registry's folder must be writable") from error
        try:
            yield
        finally:
            lock.__exit__()

    def _linked(self, lines: list[Line]) -> list[Entry]:
        entries: list[Entry] = []
        for line in lines:
            if line.fault == "torn" and line.entry is None:
                break
            previous = entries[-1].hash if entries else GENESIS
            reason = line.reason if line.entry is None else ""
            if line.entry is not None and (line.entry.index, line.entry.previous) != (len(entries), previous):
                reason = "does not follow from the line before it"
            if reason or line.entry is None:
                mend = "restore the file from a copy" if "schema" not in line.fault else "use the gnomon that wrote it"
                raise GnomonError(
                    f"{self.path}: entry {line.number} {reason}; `gnomon forecast verify` names all damage; {mend}"
                )
            entries.append(line.entry)
        return entries

    def _write(self, data: bytes, size: int) -> None:
        """Put data behind the size bytes that are there, or leave those as they were."""
        fresh = not self.path.exists()
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise JobFailed(f"{self.path}: {error.strerror}; the registry must be writable") from error
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except BaseException as error:
            os.ftruncate(handle, size)
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
                raise JobFailed(f"{self.path}: the entry could not be written ({reason}); nothing was added") from error
            raise
        finally:
            os.close(handle)
        if fresh:
            sync_folder(self.path.parent)


def torn_text(line: Line) -> str:
    """What a torn last line means and how it is mended."""
    if line.entry is not None:
        return f"entry {line.number} {line.reason}, as after a power cut; it is whole, and the next entry adds that"
    return (
        f"entry {line.number} {line.reason}, as after a power cut; it was never confirmed to anybody; "
        "`gnomon forecast mend` (Registry.mend) sets these bytes aside and changes nothing else"
    )
