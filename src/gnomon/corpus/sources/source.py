"""A source that was found: its files, how each becomes text, and the walk that turns them into documents."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Document, Lost, NotText, Report, Text

Extractor = Callable[[Path], Iterator[Text | Lost]]
UNSEEN = frozenset(("__pycache__", "node_modules"))  # folders that hold nothing a person wrote there


class Unreachable(GnomonError):
    """A source that is not here and cannot be fetched; what a recipe may call optional."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a source. name: its path inside the source, with `/`."""

    path: Path
    name: str
    bytes: int
    modified: float


@dataclass(frozen=True)
class Found:
    """A source that can be read. stream, where it is set, yields texts from elsewhere instead of files.

    held_out: whether some of its documents may be held out.
    """

    kind: str
    name: str
    version: str
    licence: str
    files: tuple[File, ...]
    extract: Extractor
    stream: Callable[[], Iterator[Text | Lost]] | None = None
    held_out: bool = True

    @property
    def label(self) -> str:
        return f"source {self.kind} {self.name}"

    def fingerprint(self) -> list[Any]:
        """What changes when the source does, as far as file names, sizes and dates tell."""
        files = [[str(f.path), f.bytes, f.modified] for f in self.files]
        return [self.kind, self.name, self.version, self.licence, files]

    def documents(self, report: Report) -> Iterator[Document]:
        """Every text of the source in a fixed order; what could not be read goes into report."""
        if self.stream is not None:
            for piece in self.stream():
                report.files += 1
                if isinstance(piece, Lost):
                    report.bytes += piece.bytes
                    report.lost.append((self.name, piece.bytes, piece.reason))
                else:
                    report.bytes += len(piece.text)
                    yield Document.of(piece.text, f"{self.name}:{piece.part}", self.name, self.licence)
            return
        for file in self.files:
            yield from self._read(file, report)

    def _read(self, file: File, report: Report) -> Iterator[Document]:
        report.files += 1
        try:
            for piece in self.extract(file.path):
                if isinstance(piece, Lost):
                    report.lost.append((file.name, min(piece.bytes, file.bytes), piece.reason))
                else:
                    name = f"{file.name}:{piece.part}" if piece.part else file.name
                    yield Document.of(piece.text, name, self.name, self.licence, file.modified)
            report.bytes += file.bytes
        except NotText as error:
            report.passed_over.append((file.name, file.bytes, str(error)))
        except OSError as error:
            report.bytes += file.bytes
            report.lost.append((file.name, file.bytes, error.strerror or str(error)))


def walk(root: Path, include: str = "**/*", follow_links: bool = False, skip: frozenset[str] = UNSEEN) -> list[File]:
    """The files under root whose relative path matches include, sorted by path; hidden ones are left out.

    follow_links: whether links to files count; links to folders never do, so a tree cannot lead out of or into itself.
    """
    wanted = glob_pattern(include)
    found: list[File] = []
    pending = [("", str(root))]
    while pending:
        inside, folder = pending.pop()
        for entry in os.scandir(folder):
            if entry.name.startswith("."):
                continue
            name = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in skip:
                    pending.append((f"{name}/", entry.path))
            elif wanted.fullmatch(name) and entry.is_file(follow_symlinks=follow_links):
                status = entry.stat()
                found.append(File(Path(entry.path), name, status.st_size, status.st_mtime))
    return sorted(found, key=lambda f: f.name)


def glob_pattern(include: str) -> re.Pattern[str]:
    """A glob over relative paths as a regular expression; `**/` stands for any folders, also none."""
    out = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", include):
        if part == "**/":
            out += "(?:.*/)?"
        elif part == "**":
            out += ".*"
        elif part == "*":
            out += "[^/]*"
        elif part == "?":
            out += "[^/]"
        elif part.startswith("[") and part.endswith("]"):
            out += "[" + part[1:-1].replace("\\", r"\\").replace("!", "^", 1 if part[1] == "!" else 0) + "]"
        else:
            out += re.escape(part)
    return re.compile(out, re.DOTALL)
