"""`gnomon doctor`: what this machine has, what gnomon will use of it, what is missing and how to get it.

Asks the system and the package metadata only: it loads neither torch nor any other heavy library, and works without
them.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

TRAIN = "pip install 'gnomon[train]'"
# Distribution -> (what it is for, how to get it).
PACKAGES = {
    "torch": ("training and sampling", TRAIN),
    "tokenizers": ("the tokenizer", TRAIN),
    "safetensors": ("checkpoints", TRAIN),
    "rensa": ("finding near copies in text", TRAIN),
    "sympy": ("text of the default corpus", TRAIN),
    "networkx": ("the held-out codebase of the default corpus", TRAIN),
    "datasets": ("text from the Hugging Face hub", "pip install 'gnomon[hub]'"),
}
NEEDED = ("torch", "tokenizers", "safetensors", "rensa")
# Program -> (what it is for, how to get it).
TOOLS = {
    "apt-get": ("text from Debian packages", "part of Debian and Ubuntu; elsewhere leave debian sources optional"),
    "npm": ("text from npm packages", "apt-get install npm, or leave npm sources optional"),
    "xz": ("checking by hand what xz -9 needs for the same text", "apt-get install xz-utils"),
    "git": ("anchoring a forecast in a pushed commit", "apt-get install git"),
    "openssl": ("anchoring a forecast with an RFC 3161 time stamp", "apt-get install openssl"),
}
# What each set of torch's CPU kernels wants of the processor, best first.
KERNELS = (
    ("AVX512", {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma"}),
    ("AVX2", {"avx2", "fma"}),
)
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Missing:
    """Something this machine lacks. needed: gnomon cannot train without it."""

    name: str
    purpose: str
    get: str
    needed: bool


def machine(home: Path, root: Path = Path("/")) -> dict[str, Any]:
    """Plain facts about this machine, in bytes and cores.

    root: where proc and sys are looked up. Keys: system, processor, cores, cores_online, load, memory_bytes,
    memory_available_bytes, home, disk_free_bytes, python, kernels, bf16, wait_policy, packages, tools, uses, missing.
    """
    cpu = _pairs(_text(root / "proc/cpuinfo"))
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    memory = {name: int(value.split()[0]) * 1024 for name, value in _pairs(_text(root / "proc/meminfo")).items()}
    limit = _number(_text(root / "sys/fs/cgroup/memory.max"))
    total = memory.get("MemTotal", 0)
    available = memory.get("MemAvailable", total)
    cores = usable_cores(_text(root / "sys/fs/cgroup/cpu.max"))
    bf16 = bool(flags & BF16_FLAGS)
    packages = {name: _version(name) for name in PACKAGES}
    tools = {name: shutil.which(name) is not None for name in TOOLS}
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": cores,
        "cores_online": os.cpu_count() or cores,
        "load": os.getloadavg()[0],
        "memory_bytes": min(total, limit) if limit else total,
        "memory_available_bytes": min(available, limit) if limit else available,
        "home": str(home),
        "disk_free_bytes": shutil.disk_usage(_existing(home)).free,
        "python": platform.python_version(),
        "kernels": next((name for name, wants in KERNELS if wants <= flags), "plain"),
        "bf16": bf16,
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "packages": packages,
        "tools": tools,
        "uses": {"processes": cores, "threads_a_process": 1, "target_threads": cores, "dtype": "float32"},
        "missing": [asdict(m) for m in _missing(packages, tools)],
    }


def usable_cores(quota: str | None = None) -> int:
    """Cores this process may use: its affinity, and the control group's share where there is one ("max", or "Q P").

    quota: that share; None reads this machine's.
    """
    quota = _text(Path("/sys/fs/cgroup/cpu.max")) if quota is None else quota
    cores = len(os.sched_getaffinity(0))
    share = quota.split()
    if len(share) == 2 and share[0].isdigit() and share[1].isdigit() and int(share[1]) > 0:
        cores = min(cores, max(1, int(share[0]) // int(share[1])))
    return cores


def machine_lines(home: Path) -> list[str]:
    """machine(home) in words."""
    return list(_lines(machine(home)))


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    torch = facts["packages"]["torch"]
    yield "this machine"
    yield f"  system     {facts['system']}"
    bf16 = "in hardware" if facts["bf16"] else "emulated"
    yield f"  processor  {facts['processor']}, {facts['kernels']} kernels, bf16 {bf16}"
    yield f"  cores      {facts['cores']} usable of {facts['cores_online']}, load {facts['load']:.1f}"
    yield f"  memory     {_size(facts['memory_available_bytes'])} free of {_size(facts['memory_bytes'])}"
    yield f"  disk       {_size(facts['disk_free_bytes'])} free at {facts['home']}"
    yield f"  python     {facts['python']}"
    yield f"  torch      {torch or 'not installed'}"
    uses = facts["uses"]
    yield "gnomon will use"
    yield f"  ladders    {uses['processes']} processes of {uses['threads_a_process']} thread"
    yield f"  targets    1 process of {uses['target_threads']} threads"
    yield f"  numbers    {uses['dtype']}, unless the recipe says family.dtype=bfloat16"
    for line in _warnings(facts):
        yield f"  note       {line}"
    needed = [m for m in facts["missing"] if m["needed"]]
    others = [m for m in facts["missing"] if not m["needed"]]
    yield "missing" if facts["missing"] else "missing: nothing"
    for m in needed + others:
        yield f"  {m['name']:10} {'needed for' if m['needed'] else 'for'} {m['purpose']}: {m['get']}"


def _warnings(facts: dict[str, Any]) -> Iterator[str]:
    if facts["load"] > facts["cores"] + 0.5:
        yield f"others are at work here (load {facts['load']:.1f} on {facts['cores']} cores); everything takes longer"
    if facts["cores"] > 1 and facts["wait_policy"].upper() != "PASSIVE":
        yield "on shared cores set OMP_WAIT_POLICY=PASSIVE: threads then sleep while they wait for each other"


def _missing(packages: dict[str, str | None], tools: dict[str, bool]) -> Iterator[Missing]:
    for name, version in packages.items():
        if version is None:
            yield Missing(name, *PACKAGES[name], needed=name in NEEDED)
    for name, found in tools.items():
        if not found:
            yield Missing(name, *TOOLS[name], needed=False)
    if importlib.util.find_spec("_lzma") is None:
        yield Missing(
            "lzma", "the comparison with xz -9", "a Python built with liblzma (apt-get install liblzma-dev)", False
        )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _text(path: Path) -> str:
    """What a file of the system says, "" where there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _pairs(text: str) -> dict[str, str]:
    """ "name : value" lines; of a name that comes again (one processor after another) the first."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            pairs.setdefault(name.strip(), value.strip())
    return pairs


def _number(text: str) -> int:
    """The number in a control group's file; 0 for "max" or nothing."""
    return int(text) if text.strip().isdigit() else 0


def _existing(path: Path) -> Path:
    """path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
