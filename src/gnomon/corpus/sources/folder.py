"""A folder of the user's own text."""

from __future__ import annotations

from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.corpus.readers import read_file
from gnomon.corpus.sources.source import Found, Unreachable, walk
from gnomon.recipe.values import FolderSource

MEND = "give a folder of txt, md, html, jsonl, csv or code files"


def find(source: FolderSource) -> Found:
    """Every file under the folder that is not hidden. Raises Unreachable when it is missing, GnomonError when empty."""
    root = Path(source.path).expanduser()
    if root.is_file():
        raise GnomonError(f"source folder {root}: this is a file; give the folder that holds it")
    if not root.is_dir():
        raise Unreachable(f"source folder {root}: no such folder; {MEND}")
    files = walk(root, follow_links=True)
    if not files:
        raise GnomonError(f"source folder {root}: it holds no files; {MEND}")
    return Found("folder", root.resolve().name, "", source.licence or "the user's own", tuple(files), read_file)
