"""Running the programs that fetch and unpack packages, with one line when they fail."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from gnomon.corpus.sources.source import Unreachable

TIMEOUT_S = 900


def run(what: str, command: list[str], folder: Path) -> str:
    """Standard output of a command run in folder. Raises Unreachable with what, the command and its complaint."""
    if shutil.which(command[0]) is None:
        raise Unreachable(f"{what}: {command[0]} is not on this machine; install it or set `optional: true`")
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{what}: {command[0]} took longer than {TIMEOUT_S} s; is the network there?") from None
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("E:", "npm error", "npm ERR!"))] or lines
        raise Unreachable(
            f"{what}: `{' '.join(command[:2])}` failed ({told[0] if told else 'without a word'}); check the name and "
            "the network, or set `optional: true`"
        )
    return done.stdout


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """folder, filled by make in a temporary place first, so that it is whole or absent."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        make(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder
