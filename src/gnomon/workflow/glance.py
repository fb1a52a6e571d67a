"""A first look at a recipe's text: names, sizes and counts of files, without opening any. Takes well under a second."""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gnomon.recipe.values import CorpusRecipe, FolderSource, PythonSource, TasksSource

SKIPPED_FOLDERS = {"test", "tests", "__pycache__", "site-packages", "node_modules", ".git", ".venv"}


@dataclass(frozen=True)
class Glance:
    """files, bytes: seen without reading. parts: (what, bytes), largest first. remote: sources still to be fetched."""

    files: int
    bytes: int
    parts: tuple[tuple[str, int], ...]
    remote: tuple[str, ...]


def glance(corpus: CorpusRecipe) -> Glance:
    """What the local sources of a corpus look like from outside; a missing one counts as nothing here."""
    parts: Counter[str] = Counter()
    files = 0
    remote = []
    for source in corpus.sources:
        if isinstance(source, PythonSource):
            sizes = [size for path, size in _files(_package_folder(source.package)) if path.endswith(".py")]
            files += len(sizes)
            parts[source.package] += sum(sizes)
        elif isinstance(source, FolderSource):
            for path, size in _files(Path(source.path)):
                files += 1
                parts[Path(path).suffix.lower() or "no suffix"] += size
        elif isinstance(source, TasksSource):
            parts["graded tasks"] += round(source.limit_mb * 1e6)
        else:
            remote.append(getattr(source, "package", getattr(source, "dataset", source.kind)))
    return Glance(files, parts.total(), tuple(parts.most_common()), tuple(remote))


def _package_folder(package: str) -> Path | None:
    """Where an installed package lies, without importing it."""
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _files(folder: Path | None) -> Iterator[tuple[str, int]]:
    """(path, size) of the files below a folder."""
    if folder is None:
        return
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS]
        for name in names:
            path = os.path.join(place, name)
            try:
                yield path, os.stat(path).st_size
            except OSError:
                continue
