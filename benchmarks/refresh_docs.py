"""Run every command that a page shows, and put what it prints under it.

    python benchmarks/refresh_docs.py docs/forecast.md

Commands are the lines of a ```console block that begin with "$ "; those of one page run in order in one empty folder. A
registry's hashes differ from run to run: a later command that names the page's old hash is run with the new one. What
the ```python blocks of a page print, run in order in one process, goes into the ```text block that follows each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"(```console\n)(.*?)(```)", re.DOTALL)
PYTHON = re.compile(r"(```python\n)(.*?)(```\n\n```text\n)(.*?)(```)", re.DOTALL)
SEALED = re.compile(r"sealed as ([0-9a-f]{12})")
WIDEST = 150  # characters of a line; the rest is cut, with a sign


def printed(command: str, folder: Path) -> str:
    """What a command prints. Raises SystemExit when it fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("GNOMON_HOME", None)
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return cut(done.stdout)


def cut(text: str) -> str:
    """text with no line wider than a page."""
    lines = [line if len(line) <= WIDEST else line[: WIDEST - 1] + "…" for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def refreshed(text: str, folder: Path) -> str:
    """The page with fresh output."""
    hashes: dict[str, str] = {}
    names: dict[str, object] = {}

    def python(found: re.Match[str]) -> str:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(found[2], "a block of the page", "exec"), names)
        return found[1] + found[2] + found[3] + cut(said.getvalue()) + found[5]

    def block(found: re.Match[str]) -> str:
        body = found[2]
        fresh = ""
        for command in re.findall(r"^\$ (.*)$", body, re.MULTILINE):
            current = command
            for old, new in hashes.items():
                current = current.replace(old, new)
            output = printed(current, folder)
            hashes.update(zip(SEALED.findall(body), SEALED.findall(output), strict=False))
            fresh += f"$ {current}\n{output}"
        return found[1] + fresh + found[3]

    return PYTHON.sub(python, BLOCK.sub(block, text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    for page in parser.parse_args().pages:
        with tempfile.TemporaryDirectory() as scratch:
            page.write_text(refreshed(page.read_text(), Path(scratch)))
        print(page)
