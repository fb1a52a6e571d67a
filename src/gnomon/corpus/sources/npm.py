"""Text inside npm packages: fetched with `npm pack`, whose scripts are not run, and unpacked file by file."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath

from gnomon.common.errors import GnomonError
from gnomon.corpus.readers import UNPACKED_LIMIT, read_file
from gnomon.corpus.sources.commands import made_once, run
from gnomon.corpus.sources.source import Found, Unreachable, walk
from gnomon.recipe.values import NpmSource


def find(source: NpmSource, cache: Path) -> Found:
    """The files of a package that match source.include. package: a registry name, or a folder that holds a package.

    Raises Unreachable when it cannot be fetched, GnomonError when nothing in it matches or it is not that version.
    """
    what = f"source npm {source.package}"
    local = Path(source.package).expanduser()
    spec = str(local.resolve()) if local.is_dir() else f"{source.package}@{source.version}"
    if spec.startswith("-"):
        raise GnomonError(f"{what}: no name of an npm package")

    def fetch(folder: Path) -> None:
        out = run(what, ["npm", "pack", spec, "--ignore-scripts", "--silent"], folder)
        archives = sorted(folder.glob("*.tgz"))
        if not archives:
            raise Unreachable(f"{what}: npm pack brought no archive ({out.strip()[:200]})")
        unpack(what, archives[0], folder)

    if local.is_dir():  # its content may change under the same version
        held = cache / "npm" / f"local-{local.resolve().name}-{int(max(f.modified for f in walk(local)) * 1000)}"
    else:
        held = cache / "npm" / f"{source.package.replace('/', '--')}-{source.version}"
    root = made_once(held, fetch) / "package"
    about = _package_json(what, root)
    if about.get("version") != source.version:
        raise GnomonError(f"{what}: version {about.get('version')} was found, the recipe names {source.version}")
    files = walk(root, source.include)
    if not files:
        raise GnomonError(f"{what}: no file in it matches include {source.include!r}")
    licence = source.licence or str(about.get("license") or "unknown")
    return Found("npm", str(about.get("name", source.package)), source.version, licence, tuple(files), read_file)


def _package_json(what: str, root: Path) -> dict[str, object]:
    try:
        value = json.loads((root / "package.json").read_text())
    except (OSError, ValueError) as error:
        raise GnomonError(f"{what}: its package.json cannot be read ({error})") from error
    return value if isinstance(value, dict) else {}


def unpack(what: str, archive: Path, folder: Path) -> None:
    """Regular files of a .tgz into folder/package. Raises GnomonError on names that lead out of it or on a flood."""
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if not member.isfile():
                    continue  # links and devices are no text
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or len(name.parts) < 2:
                    raise GnomonError(f"{what}: its archive holds the name {member.name!r}, which leads out of it")
                total += member.size
                if total > UNPACKED_LIMIT:
                    raise GnomonError(f"{what}: its archive grows beyond {UNPACKED_LIMIT} bytes")
                path = folder / "package" / Path(*name.parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                path.write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise GnomonError(f"{what}: its archive is broken ({error})") from error
