"""Text inside Debian packages: downloaded with apt-get and unpacked with dpkg-deb, never installed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.corpus.sources.commands import made_once, run
from gnomon.corpus.sources.formats import EXTRACTORS
from gnomon.corpus.sources.source import Found, Unreachable, walk
from gnomon.recipe.values import DebianSource


def find(source: DebianSource, cache: Path) -> Found:
    """The files of a package that match source.include. package: a name for apt-get, or the path of a .deb file.

    cache: downloads and unpacked packages stay there; a package that is there is not fetched again.
    Raises Unreachable when it cannot be fetched, GnomonError when nothing in it matches.
    """
    what = f"source debian {source.package}"
    archive = _archive(what, source.package, cache / "debian")
    version = run(what, ["dpkg-deb", "-f", str(archive.resolve()), "Version"], archive.parent).strip()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:12]
    root = made_once(
        cache / "debian" / f"{archive.stem}-{digest}",
        lambda folder: _unpack(what, archive, folder),
    )
    files = walk(root, source.include)
    if not files:
        raise GnomonError(f"{what}: no file in it matches include {source.include!r}")
    name = archive.name.split("_")[0] if source.package.endswith(".deb") else source.package
    return Found("debian", name, version, source.licence or _licence(root), tuple(files), EXTRACTORS[source.format])


def _archive(what: str, package: str, cache: Path) -> Path:
    if package.endswith(".deb"):
        path = Path(package).expanduser()
        if not path.is_file():
            raise Unreachable(f"{what}: no such file")
        return path
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package):
        raise GnomonError(f"{what}: no name of a Debian package")

    def download(folder: Path) -> None:
        run(what, ["apt-get", "download", package], folder)

    held = sorted(made_once(cache / "archives" / package, download).glob("*.deb"))
    if not held:
        raise Unreachable(f"{what}: apt-get brought no .deb file")
    return held[-1]


def _unpack(what: str, archive: Path, folder: Path) -> None:
    run(what, ["dpkg-deb", "-x", str(archive.resolve()), str(folder)], folder)


def _licence(root: Path) -> str:
    """The licences that the package's copyright file names, in its own short names."""
    found: list[str] = []
    for path in sorted(root.glob("usr/share/doc/*/copyright")):
        for line in path.read_text(errors="replace").splitlines():
            name = line.removeprefix("License:").strip() if line.startswith("License:") else ""
            if name and name not in found:
                found.append(name)
    return ", ".join(found[:4]) or "see its copyright file"
