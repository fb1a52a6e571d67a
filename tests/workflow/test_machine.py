"""`gnomon doctor` tells what is there, with and without torch, and on machines unlike this one."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

from gnomon.workflow import machine as module
from gnomon.workflow.machine import machine, machine_lines, usable_cores

CPU = """processor : 0
model name : A Processor @ 2 GHz
flags : fpu sse2 fma avx2 {more}

processor : 1
model name : another
flags : none
"""
ALL_512 = "avx512f avx512bw avx512vl avx512dq"


@pytest.fixture
def system(tmp_path):
    """Writes a /proc and /sys of another machine; returns its facts."""

    def facts(flags="", memory_kb=(8_000_000, 3_000_000), cgroup=None):
        files = {
            "proc/cpuinfo": CPU.format(more=flags),
            "proc/meminfo": f"MemTotal: {memory_kb[0]} kB\nMemAvailable: {memory_kb[1]} kB\n",
        }
        files |= {"sys/fs/cgroup/memory.max": cgroup} if cgroup is not None else {}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return machine(tmp_path / "no" / "such" / "home", tmp_path)

    return facts


@pytest.mark.parametrize(
    ("flags", "kernels", "bf16"),
    [
        ("", "AVX2", False),
        (ALL_512, "AVX512", False),
        (ALL_512 + " avx512_bf16", "AVX512", True),
        ("avx512f", "AVX2", False),
    ],
)
def test_the_processors_kernels_are_read_from_its_flags(system, flags, kernels, bf16):
    facts = system(flags)
    assert (facts["processor"], facts["kernels"], facts["bf16"]) == ("A Processor @ 2 GHz", kernels, bf16)


def test_memory_is_what_the_control_group_allows(system):
    assert (system()["memory_bytes"], system()["memory_available_bytes"]) == (8_192_000_000, 3_072_000_000)
    limited = system(cgroup="2000000000\n")
    assert (limited["memory_bytes"], limited["memory_available_bytes"]) == (2_000_000_000, 2_000_000_000)
    assert system(cgroup="max\n")["memory_bytes"] == 8_192_000_000


def test_cores_are_what_affinity_and_quota_allow(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert [usable_cores(q) for q in ("", "max 100000", "250000 100000", "50000 100000", "9000000 100000")] == [
        8,
        8,
        2,
        1,
        8,
    ]


def test_without_torch_and_tools_each_is_named_with_the_way_to_get_it(monkeypatch, tmp_path):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", nothing)
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    facts = machine(tmp_path)
    missing = {m["name"]: m for m in facts["missing"]}
    assert set(module.PACKAGES) | set(module.TOOLS) <= set(missing)
    assert missing["torch"]["needed"] and not missing["datasets"]["needed"]
    text = "\n".join(machine_lines(tmp_path))
    assert "torch      not installed" in text
    assert "needed for training and sampling: pip install 'gnomon[train]'" in text
    assert "apt-get install git" in text


def test_the_facts_are_plain_and_asking_loads_nothing_heavy(tmp_path):
    code = (
        "import sys, json; from pathlib import Path; from gnomon.workflow.machine import machine, machine_lines;"
        f"print(json.dumps(machine(Path({str(tmp_path)!r})))); machine_lines(Path('.'));"
        "sys.exit(len({'torch', 'numpy', 'tokenizers', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["cores"] >= 1 and facts["disk_free_bytes"] > 0
