"""A document, what was lost on the way to it, and the spool that keeps many documents on disk instead of in memory."""

from __future__ import annotations

import bisect
import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its provenance. name: path inside its source, with `:row` for a row of a table.

    sha: SHA-1 of the text's UTF-8, 40 hexadecimal digits. modified: seconds since 1970 of the file it came from, 0 when
    unknown.
    """

    text: str
    name: str
    source: str
    licence: str
    sha: str
    modified: float = 0.0

    @classmethod
    def of(cls, text: str, name: str, source: str, licence: str, modified: float = 0.0) -> Document:
        return cls(text, name, source, licence, hashlib.sha1(text.encode()).hexdigest(), modified)


@dataclass(frozen=True, slots=True)
class Text:
    """Text found in a file; part tells several texts of one file apart."""

    text: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes of a file that gave no text though they should have, and why."""

    bytes: int
    reason: str


class NotText(Exception):
    """The file is no text by nature (an image, an archive): listed, but nothing is lost."""


@dataclass
class Report:
    """What was read of one source. lost: (name, bytes, reason) of what should have been text; passed_over: of what was
    no text by nature."""

    kind: str
    name: str
    version: str
    licence: str
    files: int = 0
    bytes: int = 0  # of the files that are or should be text
    lost: list[tuple[str, int, str]] = field(default_factory=list)
    passed_over: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def lost_bytes(self) -> int:
        return sum(size for _, size, _ in self.lost)


@dataclass(slots=True)
class Entry:
    """A document in the spool and the marks it got. split: None while undecided. dropped: why it is in no split.

    source: index of its source. key: SHA-1 of the text with white space folded, so that copies that differ in nothing
    else share it. of: the entry it is a copy of. detail: of the mark, with the matched text.
    """

    source: int
    name: str
    sha: str
    key: bytes
    offset: int
    bytes: int
    modified: float
    split: str | None = None
    dropped: str | None = None
    of: int | None = None
    detail: str = ""

    @property
    def bucket(self) -> int:
        """0 … 9999, by content: the same text has the same bucket everywhere."""
        return int(self.sha, 16) % 10_000

    @property
    def order(self) -> tuple[int, str]:
        """A rank by content that is unrelated to the bucket."""
        return int(self.sha[:8], 16), self.sha


class Spool:
    """Documents' UTF-8 one after the other in a file, with an Entry each. Memory holds the entries alone.

    Several files that were written apart are read as if they followed each other: `Spool.over`.
    """

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self._files: list[IO[bytes]] = [path.open("w+b")]
        self._starts = [0]  # of each file in the whole
        self._end = 0
        self._lock = threading.Lock()  # readers in several threads share a file's place

    @classmethod
    def over(cls, paths: Sequence[Path], entries: list[Entry]) -> Spool:
        """Written files, to be read. The offsets of entries count through all of them."""
        spool = cls.__new__(cls)
        spool.entries, spool._lock = entries, threading.Lock()
        sizes = [path.stat().st_size for path in paths]
        spool._files = [path.open("rb") for path in paths]
        spool._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        spool._end = sum(sizes)
        return spool

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files:
            file.close()

    def add(self, source: int, document: Document) -> Entry:
        data = document.text.encode()
        key = hashlib.sha1(" ".join(document.text.split()).encode()).digest()
        entry = Entry(source, document.name, document.sha, key, self._end, len(data), document.modified)
        self._files[0].seek(self._end)
        self._files[0].write(data)
        self._end += len(data)
        self.entries.append(entry)
        return entry

    def cut(self, entry: Entry, at: int) -> Entry:
        """Split entry in two at byte `at` of it (the start of a line); returns the new second part."""
        data = self.read(entry)
        head, tail = data[:at].decode(), data[at:].decode()
        second = Entry(
            entry.source,
            f"{entry.name} (from byte {at})",
            hashlib.sha1(data[at:]).hexdigest(),
            hashlib.sha1(" ".join(tail.split()).encode()).digest(),
            entry.offset + at,
            len(data) - at,
            entry.modified,
        )
        entry.sha, entry.bytes = hashlib.sha1(data[:at]).hexdigest(), at
        entry.key = hashlib.sha1(" ".join(head.split()).encode()).digest()
        self.entries.append(second)
        return second

    def read(self, entry: Entry) -> bytes:
        place = bisect.bisect_right(self._starts, entry.offset) - 1
        with self._lock:
            self._files[place].seek(entry.offset - self._starts[place])
            return self._files[place].read(entry.bytes)

    def of_split(self, split: str) -> list[Entry]:
        """The entries of a split that were not dropped, by source, then in the order they were read."""
        return [
            e for e in sorted(self.entries, key=lambda e: (e.source, e.offset)) if e.split == split and not e.dropped
        ]

    def texts(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        for entry in entries:
            yield self.read(entry)
