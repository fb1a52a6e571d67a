"""datatrove runs the stages, on this machine and through a Slurm that is a script, to the very same corpus."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus.build import build_corpus
from gnomon.corpus.scale import Where, build_at_scale
from gnomon.corpus.shards import Corpus

NEEDS = "datatrove pipelines need gnomon[scale]"


def quiet(stage: str, fraction: float) -> None:
    """Nobody listens to the stages."""


@pytest.mark.slow
def test_local_tasks_of_datatrove_make_the_same_corpus(tmp_path: Path, folder: Path, recipe_of) -> None:
    pytest.importorskip("datatrove", reason=NEEDS)
    recipe = recipe_of(folder)
    alone = build_corpus(recipe, tmp_path / "alone")
    stages: list[str] = []
    found = build_at_scale(recipe, tmp_path / "many", Where("local", 3, 2), lambda stage, _: stages.append(stage))
    assert isinstance(found, Corpus) and found.hash == alone.hash
    assert [s.partition(",")[0] for s in stages] == [
        "read", "choose", "sign", "mark", "search", "learn", "encode", "finish",
    ]  # fmt: skip
    assert not list((tmp_path / "many" / "corpora").glob(".scale-*"))
    again: list[str] = []
    assert build_at_scale(recipe, tmp_path / "many", Where("local", 3), lambda s, _: again.append(s)).hash == alone.hash
    assert again == ["the corpus is there already"]


SBATCH = """#!{python}
# A Slurm of one machine: runs every element of the job's array at once, then says the job's number.
import os, re, subprocess, sys
NODE = {{"SLURM_NODELIST": "here", "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_CPU": "1000"}}
script = sys.argv[-1]
text = open(script).read()
array = re.search(r"--array=0-(\\d+)", text)
with open(os.environ["SBATCH_LOG"], "a") as log:
    log.write(re.search(r"--job-name=(\\S+)", text)[1] + " " + " ".join(a for a in sys.argv[1:-1]) + "\\n")
counts_only = "merge_stats" in text
for task in range(0 if counts_only else int(array[1]) + 1):
    environment = {{**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "RUN_OFFSET": "0", **NODE}}
    subprocess.run(["bash", script], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job", len(open(os.environ["SBATCH_LOG"]).readlines()))
"""


@pytest.mark.slow
def test_slurm_gets_one_array_a_stage_each_after_the_one_before(tmp_path: Path, folder: Path, recipe_of, monkeypatch):
    pytest.importorskip("datatrove", reason=NEEDS)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH.format(python=sys.executable))
    (programs / "srun").write_text(
        '#!/bin/bash\nwhile [[ "$1" == -* || "$1" =~ ^[0-9]+$ ]]; do shift; done\nexec "$@"\n'
    )
    (programs / "scontrol").write_text("#!/bin/bash\necho here\n")
    (programs / "launch_pickled_pipeline").write_text(
        f"#!{sys.executable}\nfrom datatrove.tools.launch_pickled_pipeline import main\nmain()\n"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_LOG", str(tmp_path / "sbatch.log"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    recipe = recipe_of(folder)
    found = build_at_scale(
        recipe, tmp_path / "cluster", Where("slurm", 2, 2, {"time": "1:00:00", "partition": "cpu", "qos": "low"}), quiet
    )
    jobs = [line.split() for line in (tmp_path / "sbatch.log").read_text().splitlines()]
    arrays = [job for job in jobs if any("export" in word for word in job)]
    assert [job[0] for job in arrays] == [
        f"gnomon-{s}" for s in ("read", "choose", "sign", "mark", "search", "learn", "encode", "finish")
    ]
    assert all(any("--dependency=afterok" in word for word in job) for job in arrays[1:])
    assert isinstance(found, Corpus) and found.hash == build_corpus(recipe, tmp_path / "alone").hash


def test_options_that_no_executor_has_are_named(tmp_path: Path, folder: Path, recipe_of) -> None:
    pytest.importorskip("datatrove", reason=NEEDS)
    recipe = recipe_of(folder)
    with pytest.raises(GnomonError, match="--scale kubernetes: give one of local, slurm, ray"):
        Where("kubernetes")
    with pytest.raises(GnomonError, match="--tasks 0: at least 1"):
        Where("local", 0)
    with pytest.raises(GnomonError, match="--set partition: LocalPipelineExecutor has no such option; it has"):
        build_at_scale(recipe, tmp_path, Where("local", 2, 1, {"partition": "cpu"}), quiet)
    with pytest.raises(GnomonError, match=r"--scale slurm: give --set time=… --set partition=…"):
        build_at_scale(recipe, tmp_path, Where("slurm"), quiet)


def test_the_modules_load_neither_datatrove_nor_torch() -> None:
    code = "import sys, gnomon.corpus.scale; sys.exit(any(m in sys.modules for m in ('datatrove', 'torch', 'ray')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
