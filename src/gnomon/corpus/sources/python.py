"""Python source that the interpreter or pip has put on this machine. Nothing is imported to find it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sysconfig
from pathlib import Path

from gnomon.corpus.readers import read_plain
from gnomon.corpus.sources.source import UNSEEN, File, Found, Unreachable, walk
from gnomon.recipe.values import PythonSource

STANDARD_LIBRARY = "stdlib"
SKIPPED = UNSEEN | frozenset(("tests", "test", "idle_test", "site-packages", "dist-packages", "include"))


def find(source: PythonSource) -> Found:
    """The package's *.py files without its tests. Raises Unreachable when it is not installed."""
    if source.package == STANDARD_LIBRARY:
        root = Path(sysconfig.get_path("stdlib"))
        version, licence = platform.python_version(), "PSF-2.0"
        files = walk(root, "**/*.py", skip=SKIPPED)
    else:
        files = _package_files(source.package)
        version, licence = _metadata(source.package)
    if not files:
        raise Unreachable(f"source python {source.package}: no .py files are installed with it")
    return Found("python", source.package, version, source.licence or licence, tuple(files), read_plain)


def _package_files(package: str) -> list[File]:
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise Unreachable(
            f"source python {package}: no package of this import name is installed; pip install it, name another, or "
            "set `optional: true`"
        )
    if spec.submodule_search_locations:
        return [f for root in spec.submodule_search_locations for f in walk(Path(root), "**/*.py", skip=SKIPPED)]
    if spec.origin and spec.origin.endswith(".py"):
        path = Path(spec.origin)
        return [File(path, path.name, path.stat().st_size, path.stat().st_mtime)]
    return []


def _metadata(package: str) -> tuple[str, str]:
    """Version and licence of the distribution that installed the package; "unknown" where it does not say."""
    data = _installed(package)
    if data is None:  # the import name is not the distribution's; looking that up reads every distribution's files
        names = importlib.metadata.packages_distributions().get(package, [])
        data = _installed(names[0]) if names else None
    if data is None:
        return "unknown", "unknown"
    licence = _first(data, "License-Expression")
    if not licence:
        classifiers = data.get_all("Classifier") or []
        named = [c.rsplit(" :: ", 1)[-1] for c in classifiers if c.startswith("License :: ")]
        licence = ", ".join(named) or _first(data, "License").strip().split("\n")[0][:80]
    return _first(data, "Version") or "unknown", licence or "unknown"


def _first(data: importlib.metadata.PackageMetadata, field: str) -> str:
    return next(iter(data.get_all(field) or []), "")


def _installed(name: str) -> importlib.metadata.PackageMetadata | None:
    try:
        return importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
