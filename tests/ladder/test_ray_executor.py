"""The Ray executor gives the local executor's table, and loses nothing when workers, actors or the user end it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.ladder.executors import ray as ray_executor
from gnomon.ladder.executors.choose import executor_for
from gnomon.ladder.executors.local import LocalExecutor
from gnomon.ladder.executors.ray import Host, RayExecutor, code_hash, room
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import Job, run_folder
from gnomon.ladder.table import read_result, run_table
from gnomon.recipe.values import Base, FamilyRecipe

NEEDS_RAY = "the Ray executor needs gnomon[ray]"


@pytest.fixture(scope="module")
def plans(small_home):
    _, corpus = small_home
    base = Base(width=16, depth=1, batch_tokens=64, tokens=4e3)
    recipe = FamilyRecipe(context=32, head_dim=8, depths={1: 1}, base=base, clip=0)
    family = Family(recipe, corpus.vocab, corpus.hash)
    return [family.at(compute, width) for width, compute in ((8, 4e8), (16, 8e8), (16, 6e9))]


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason=NEEDS_RAY)
    yield ray_executor.connect("", 2)
    ray.shutdown()


def weights(home, plan):
    from gnomon.train.checkpoint import load_final

    return load_final(run_folder(home, plan.run_id)).state_dict()


def same_weights(one, other, plan) -> bool:
    import torch

    expected, found = weights(one, plan), weights(other, plan)
    return all(torch.equal(expected[name], found[name]) for name in expected)


def worker_of(home: Path, plan) -> int:
    """The process that has the run's lock."""
    return int((run_folder(home, plan.run_id) / ".lock").read_text().removeprefix("pid "))


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid")).split()[1])


@pytest.fixture(scope="module")
def alone(tmp_path_factory, small_home, plans):
    """A home in which the local executor did every job."""
    home, (_, corpus) = tmp_path_factory.mktemp("alone"), small_home
    LocalExecutor(home, corpus.folder, 2).run(
        [Job("train", plan, ("documents",), 400) for plan in plans], lambda _: None
    )
    return home


@pytest.mark.slow
def test_the_table_is_the_local_executors(tmp_path, small_home, plans, alone, cluster):
    _, corpus = small_home
    executor, news = executor_for("ray", tmp_path, corpus.folder, 2), []
    executor.run([Job("train", plan, ("documents",), 400) for plan in plans], news.append)
    assert {e.kind for e in news} == {"started", "progress", "done"}
    mine, theirs = (run_table(home, [(plan, {}) for plan in plans]) for home in (tmp_path, alone))
    for column in set(theirs.columns) - {"seconds"}:
        assert list(map(str, mine[column])) == list(map(str, theirs[column])), column
    assert all(same_weights(alone, tmp_path, plan) for plan in plans)
    assert not list(tmp_path.glob(".ray-*"))

    executor.run([Job("evaluate", plans[0], ("documents",))], news.append)
    assert news[-1].body["evaluations"]["documents"]["tokens"] > 400


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "actor"])
def test_a_run_whose_worker_or_actor_is_killed_goes_on_to_the_same_weights(
    tmp_path, small_home, plans, alone, cluster, victim
):
    _, corpus = small_home
    plan, news = plans[-1], []

    def kill_once(event):
        news.append(event)
        if event.kind == "progress" and not any(e.kind == "retried" for e in news):
            pid = worker_of(tmp_path, plan)
            os.kill(pid if victim == "worker" else parent_of(pid), signal.SIGKILL)

    RayExecutor(tmp_path, corpus.folder, 2).run([Job("train", plan, ("documents",), 400)], kill_once)
    retried = next(e for e in news if e.kind == "retried")
    assert ("ended with code -9" if victim == "worker" else "actor or node died") in retried.body["message"]
    assert news[-1].kind == "done" and same_weights(alone, tmp_path, plan)
    if victim == "actor":  # its worker saw it go, and wrote a checkpoint
        after = news[news.index(retried) :]
        assert (
            next(e for e in after if e.kind == "progress").body["step"]
            > next(e for e in news if e.kind == "progress").body["step"]
        )


@pytest.mark.slow
def test_a_run_that_dies_again_and_again_is_given_up_with_the_reason(tmp_path, small_home, plans, cluster):
    _, corpus = small_home
    news = []

    def kill(event):
        news.append(event)
        if event.kind == "progress":
            with contextlib.suppress(ProcessLookupError):  # the last word of one that is dead already
                os.kill(worker_of(tmp_path, plans[-1]), signal.SIGKILL)

    with pytest.raises(JobFailed, match=r"given up after 2 starts: its worker ended with code -9"):
        RayExecutor(tmp_path, corpus.folder, 2, retries=1).run([Job("train", plans[-1], ())], kill)
    assert [e.kind for e in news if e.kind == "retried"] == ["retried"]


@pytest.mark.slow
def test_a_stopped_ladder_writes_checkpoints_and_goes_on_to_the_same_weights(
    tmp_path, small_home, plans, alone, cluster
):
    from gnomon.train.checkpoint import steps

    _, corpus = small_home
    plan = plans[-1]

    def stop(event):
        if event.kind == "progress" and event.body["step"] < plan.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RayExecutor(tmp_path, corpus.folder, 2).run([Job("train", plan, ())], stop)
    assert read_result(run_folder(tmp_path, plan.run_id)) is None
    assert steps(run_folder(tmp_path, plan.run_id))
    RayExecutor(tmp_path, corpus.folder, 2).run([Job("train", plan, ("documents",), 400)], lambda _: None)
    assert same_weights(alone, tmp_path, plan)


@pytest.mark.slow
def test_bad_input_fails_as_it_does_locally_and_is_not_tried_again(tmp_path, small_home, plans, cluster):
    _, corpus = small_home
    stray, news = dataclasses.replace(plans[0], corpus="0" * 64), []
    jobs = [Job("train", plan, ()) for plan in (stray, plans[1])]
    with pytest.raises(JobFailed, match=f"run {stray.run_id}: .*its plan is for corpus 0000"):
        RayExecutor(tmp_path, corpus.folder, 1).run(jobs, news.append)
    assert not any(e.kind == "retried" for e in news)
    assert read_result(run_folder(tmp_path, plans[1].run_id))["status"] == "done"
    with pytest.raises(GnomonError, match="a run wants 64 cores and the largest node has 2"):
        RayExecutor(tmp_path, corpus.folder, 1).run([Job("train", plans[0], (), threads=64)], news.append)


def test_a_node_that_does_not_share_the_home_or_the_code_says_so(tmp_path):
    host = Host(str(tmp_path), str(tmp_path), 1)
    assert "all nodes must share it" in host.check("probe", "word", code_hash())
    (tmp_path / "probe").write_text("another home's")
    assert "all nodes must share it" in host.check("probe", "word", code_hash())
    (tmp_path / "probe").write_text("word")
    assert "another gnomon" in host.check("probe", "word", "0" * 64)
    assert host.check("probe", "word", code_hash()) == ""


def test_room_counts_whole_workers_on_living_nodes():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 5.0}},
        {"Alive": True, "Resources": {}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
    ]
    assert room(nodes, 2) == 2
    with pytest.raises(GnomonError, match="wants 8 cores and the largest node has 5"):
        room(nodes, 8)


@pytest.mark.parametrize("name", ["slurm", "ray:", "Ray", "", "local:2", "ray://head:10001"])
def test_an_executor_that_is_none_is_named(tmp_path, name):
    with pytest.raises(GnomonError, match="give local, ray, ray:auto"):
        executor_for(name, tmp_path, tmp_path, 1)
