"""What a home says of its runs is true, and pruning never takes what somebody still needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gnomon.common.errors import GnomonError
from gnomon.common.files import Lock, write_json
from gnomon.ladder.store import RunStore


@pytest.fixture
def home(tmp_path, plan_of, run_in):
    """done (0), diverged (1), interrupted at step 40 (2), unreadable (3), by seed of the plan."""
    run_in(tmp_path, plan_of(0), checkpoints=(60, 80, 100))
    run_in(tmp_path, plan_of(1), status="diverged", steps=30, checkpoints=(10, 20))
    run_in(tmp_path, plan_of(2), status=None, checkpoints=(20, 40))
    run_in(tmp_path, plan_of(3))
    (tmp_path / "runs" / plan_of(3).run_id / "plan.json").write_text('{"schema_')
    return tmp_path


def test_every_run_is_listed_with_its_state(home, plan_of):
    runs = {run.run_id: run for run in RunStore(home).list()}
    states = [(runs[plan_of(i).run_id].status, runs[plan_of(i).run_id].step) for i in range(3)]
    assert states == [("done", 100), ("diverged", 30), ("interrupted", 40)]
    broken = runs[plan_of(3).run_id]
    assert broken.status == "unreadable" and "plan.json" in broken.problem
    assert runs[plan_of(0).run_id].plan == plan_of(0)
    assert runs[plan_of(0).run_id].result["evaluations"]["documents"]["bits_per_byte"] == 1.5
    assert sum(run.disk_bytes for run in runs.values()) == RunStore(home).disk_bytes > 7000


def test_an_empty_home_has_no_runs_and_says_so_when_asked_for_one(tmp_path):
    store = RunStore(tmp_path)
    assert (store.list(), store.disk_bytes, store.prune(dry_run=False)) == ([], 0, [])
    with pytest.raises(GnomonError, match="holds no runs yet"):
        store.show("abc")


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path):
    for name in ("aa01", "aa02", "aa0234", "bb01"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    store = RunStore(tmp_path)
    assert store.find("b").name == "bb01"
    assert store.find("aa02").name == "aa02"  # a whole id wins over a longer one
    with pytest.raises(GnomonError, match=r"run 'aa0': 3 runs begin so; .* aa01, aa02, aa0234"):
        store.find("aa0")
    with pytest.raises(GnomonError, match=r"run 'c': no run .* begins so; there are aa01, aa02, aa0234, bb01"):
        store.find("c")
    with pytest.raises(GnomonError, match="no run"):
        store.find("")


def test_a_run_is_running_as_long_as_its_process_holds_the_lock(home, plan_of):
    run_id = plan_of(2).run_id
    with Lock(home / "runs" / run_id / ".lock", "run"):
        assert RunStore(home).show(run_id).status == "running"
    assert (home / "runs" / run_id / ".lock").exists()
    assert RunStore(home).show(run_id).status == "interrupted"


def left(home, plan):
    return sorted(int(p.name) for p in (home / "runs" / plan.run_id / "checkpoint").iterdir())


def test_a_dry_run_names_what_would_go_and_removes_nothing(home, plan_of):
    store = RunStore(home)
    before = store.disk_bytes
    pruned = {p.run_id: p for p in store.prune()}
    assert store.disk_bytes == before
    assert {run_id: p.disk_bytes for run_id, p in pruned.items()} == {plan_of(0).run_id: 2000, plan_of(1).run_id: 2000}
    assert store.prune(dry_run=False) == list(pruned.values())
    assert store.disk_bytes == before - 4000 + store_locks(home)


def store_locks(home):
    return sum(p.stat().st_size for p in home.glob("runs/*/.lock"))


def test_prune_keeps_final_weights_branch_points_results_and_what_can_go_on(home, plan_of, run_in):
    write_json(home / "runs" / plan_of(0).run_id / "execution.json", {"keep_steps": [60]}, 1)
    run_in(home, plan_of(0, parent=f"{plan_of(1).run_id}@20"), status=None)  # a branch that has not got far
    RunStore(home).prune(dry_run=False)
    assert [left(home, plan_of(i)) for i in range(3)] == [[60, 100], [20], [20, 40]]
    states = {run.run_id: run.status for run in RunStore(home).list()}
    assert [states[plan_of(i).run_id] for i in range(3)] == ["done", "diverged", "interrupted"]


def test_prune_leaves_what_it_is_told_to_and_what_is_running(home, plan_of):
    store = RunStore(home)
    with Lock(home / "runs" / plan_of(2).run_id / ".lock", "run"):
        store.prune(keep=[plan_of(0).run_id[:10]], interrupted=True, dry_run=False)
    assert [left(home, plan_of(i)) for i in range(3)] == [[60, 80, 100], [], [20, 40]]
    store.prune(interrupted=True, dry_run=False)
    assert plan_of(2).run_id not in store.ids()
    with pytest.raises(GnomonError, match="no run"):
        store.prune(keep=["zzz"])


def test_the_store_loads_without_torch():
    code = "import sys, gnomon.ladder.store, gnomon.ladder.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
