"""`gnomon runs` says of each run what a person asks: did it finish, how good is it, what does it cost on disk."""

from __future__ import annotations

import pytest

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.train.result import Result
from gnomon.workflow.runs import list_lines, prune_lines, show_lines


@pytest.fixture
def home(tmp_path):
    """A finished run and an interrupted one, with two checkpoints of a megabyte each."""
    rates = Optimisation(0.006, 32, 2, 1.0, 0.3, 0.9, 0.95)
    for seed in (0, 1):
        plan = Plan(ModelShape(300, 32, 32 * (seed + 1), 2), rates, 100, 4, seed, seed, "c" * 64)
        folder = tmp_path / "runs" / plan.run_id
        write_json(folder / "plan.json", plan.to_dict(), 1)
        for step in (50, 100) if seed == 0 else (20, 40):
            (folder / "checkpoint" / f"{step:08d}").mkdir(parents=True)
            (folder / "checkpoint" / f"{step:08d}" / "weights.safetensors").write_bytes(bytes(1_000_000))
        if seed == 0:
            evaluation = {"loss_nats": 3.0, "bits_per_byte": 1.5, "stderr_bits_per_byte": 0.01, "bytes": 2000}
            Result(
                plan.run_id, "done", 100, plan.tokens, 1e9, 12.5, 2.9, {"documents": evaluation}, "", "cpu", "float32",
                1, 100.0, notes=("a spike at step 7",),
            ).write(folder)  # fmt: skip
    return tmp_path


def run_id(home, status):
    return next(line.split()[0] for line in list_lines(home) if f" {status} " in line)


def test_the_list_has_states_losses_and_the_disk(home):
    lines = list(list_lines(home))
    assert len(lines) == 4
    assert " done " in lines[1] and "documents 1.5000" in lines[1]
    assert " interrupted " in lines[2] and "step 40 of 100" in lines[2]
    assert lines[3] == "2 runs, 4.0 MB on disk"
    assert list(list_lines(home / "nowhere")) == [f"no runs in {home / 'nowhere' / 'runs'} yet"]


def test_one_run_is_shown_with_plan_and_results(home):
    text = "\n".join(show_lines(home, run_id(home, "done")[:8]))
    for part in ("done, step 100 of 100", "width 32", "documents: 1.5000 ± 0.0100", "a spike at step 7", "2.0 MB in"):
        assert part in text
    with pytest.raises(GnomonError, match="no run"):
        list(show_lines(home, "zz"))


def test_a_damaged_plan_does_not_hide_the_other_runs(home):
    (home / "runs" / run_id(home, "done") / "plan.json").write_text("{")
    lines = list(list_lines(home))
    assert "unreadable" in lines[1] and "plan.json" in lines[1] and "interrupted" in lines[2]


def test_prune_says_first_and_removes_only_when_told_to(home):
    assert list(prune_lines(home, yes=False))[-1] == "1.0 MB would be freed; --yes removes it"
    assert list(list_lines(home))[-1] == "2 runs, 4.0 MB on disk"
    assert list(prune_lines(home, yes=True))[-1] == "1.0 MB freed"
    assert list(list_lines(home))[-1] == "2 runs, 3.0 MB on disk"
    assert next(iter(prune_lines(home, yes=True))).startswith("nothing to remove")
