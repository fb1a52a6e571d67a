"""The three ways into a training, by the values that the command line makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.workflow.display import Display
from gnomon.workflow.training import Wish, train_one

SMALL = ("corpus.vocabulary=300", "family.context=32", "family.base.batch_tokens=128", "family.base.tokens=4e4")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory, small_home) -> tuple[Path, str]:
    """A home with one model trained on a folder, in one line."""
    text, home = small_home[0].parent / "text", tmp_path_factory.mktemp("train")
    with Display() as display:
        line = train_one(Wish(what=str(text), overrides=SMALL, compute=3e9, width=16), home, 1, display)
    return home, line.split()[1]


def plan_of(home: Path, run: str) -> dict:
    return json.loads((home / "runs" / run / "plan.json").read_text())


def test_a_folder_is_trained_in_one_line(trunk):
    home, run = trunk
    result = json.loads((home / "runs" / run / "result.json").read_text())
    assert result["status"] == "done" and 0 < result["evaluations"]["documents"]["bits_per_byte"] < 8


def test_a_branch_leaves_from_a_step_that_was_kept(trunk):
    home, run = trunk
    kept = sorted(int(p.name.rpartition("-")[2]) for p in (home / "runs" / run / "checkpoint").iterdir() if p.is_dir())
    with Display() as display:
        line = train_one(Wish(branch=f"{run}@{kept[0]}", steps=kept[0] + 20), home, 1, display)
    branch = line.split()[1]
    assert branch != run
    assert plan_of(home, branch)["parent"] == f"{run}@{kept[0]}"
    assert plan_of(home, branch)["steps"] == kept[0] + 20


def test_a_branch_from_a_step_that_was_not_kept_leaves_nothing_behind(trunk):
    home, run = trunk
    before = sorted(p.name for p in (home / "runs").iterdir())
    with pytest.raises(GnomonError, match="no checkpoint of that step; those kept"), Display() as display:
        train_one(Wish(branch=f"{run}@20", steps=60), home, 1, display)
    assert sorted(p.name for p in (home / "runs").iterdir()) == before


def test_resume_of_a_finished_run_says_the_same_line(trunk):
    home, run = trunk
    with Display() as display:
        assert train_one(Wish(resume=run[:8]), home, 1, display).split()[1] == run
    with pytest.raises(GnomonError, match=r"no run in .* begins so"), Display() as display:
        train_one(Wish(resume="zzzz"), home, 1, display)
