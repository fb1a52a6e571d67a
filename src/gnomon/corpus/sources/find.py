"""From a source in a recipe to a source that can be read."""

from __future__ import annotations

from pathlib import Path

from gnomon.corpus.sources import debian, folder, hub, npm, python, tasks
from gnomon.corpus.sources.source import Found
from gnomon.recipe.values import DebianSource, FolderSource, NpmSource, PythonSource, Source, TasksSource


def find(source: Source, cache: Path, limit_bytes: float | None = None) -> Found:
    """Locate a source, fetching it into cache where it is not on this machine.

    limit_bytes: how much text a stream gives at most. Raises Unreachable or GnomonError, one line each.
    """
    if isinstance(source, PythonSource):
        return python.find(source)
    if isinstance(source, FolderSource):
        return folder.find(source)
    if isinstance(source, DebianSource):
        return debian.find(source, cache)
    if isinstance(source, NpmSource):
        return npm.find(source, cache)
    if isinstance(source, TasksSource):
        return tasks.find(source)
    return hub.find(source, limit_bytes)
