"""The local executor: every job once, news of each, and nothing lost when it is stopped or a worker dies."""

from __future__ import annotations

import dataclasses

import pytest

from gnomon.common.errors import JobFailed
from gnomon.ladder.evaluation import WHOLE_SETS_FILE
from gnomon.ladder.executors.local import LocalExecutor
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import Job, run_folder
from gnomon.ladder.table import read_result, run_table
from gnomon.recipe.values import Base, FamilyRecipe


@pytest.fixture(scope="module")
def plans(small_home):
    _, corpus = small_home
    base = Base(width=16, depth=1, batch_tokens=64, tokens=4e3)
    recipe = FamilyRecipe(context=32, head_dim=8, depths={1: 1}, base=base, clip=0)
    family = Family(recipe, corpus.vocab, corpus.hash)
    return [family.at(compute, width) for width, compute in ((8, 4e8), (16, 8e8), (16, 1.6e9))]


def weights(home, plan):
    from gnomon.train.checkpoint import load_final

    return load_final(run_folder(home, plan.run_id)).state_dict()


def test_every_job_is_done_once_and_its_result_is_a_row_of_the_table(tmp_path, small_home, plans):
    _, corpus = small_home
    executor, news = LocalExecutor(tmp_path, corpus.folder, 2), []
    executor.run([Job("train", plan, ("documents",), 400) for plan in plans], news.append)
    assert sorted(e.run_id for e in news if e.kind == "done") == sorted(p.run_id for p in plans)
    assert not [e for e in news if e.kind == "failed"]
    table = run_table(tmp_path, [(plan, {"budget": 1.0}) for plan in plans])
    assert sorted(table["run_id"].tolist()) == sorted(p.run_id for p in plans)
    assert (table["bits_per_byte_documents"] > 0).all()

    whole = []
    executor.run([Job("evaluate", plans[0], ("documents",))], whole.append)
    subset = read_result(run_folder(tmp_path, plans[0].run_id))["evaluations"]["documents"]
    everything = whole[-1].body["evaluations"]["documents"]
    assert everything["tokens"] > subset["tokens"]
    assert (run_folder(tmp_path, plans[0].run_id) / WHOLE_SETS_FILE).exists()


def test_a_stopped_ladder_goes_on_to_the_very_same_weights(tmp_path, small_home, plans):
    import torch

    _, corpus = small_home
    plan = plans[-1]
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    LocalExecutor(alone, corpus.folder, 1).run([Job("train", plan, ())], lambda _: None)

    def stop(event):
        if event.kind == "progress" and event.body["step"] < plan.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(stopped, corpus.folder, 1).run([Job("train", plan, ())], stop)
    assert read_result(run_folder(stopped, plan.run_id)) is None
    news = []
    LocalExecutor(stopped, corpus.folder, 1).run([Job("train", plan, ())], news.append)
    assert news[-1].kind == "done"
    expected, found = weights(alone, plan), weights(stopped, plan)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_failed_run_is_named_after_the_others_are_finished(tmp_path, small_home, plans):
    _, corpus = small_home
    stray = dataclasses.replace(plans[0], corpus="0" * 64)
    with pytest.raises(JobFailed, match=f"run {stray.run_id}: .*its plan is for corpus 0000"):
        LocalExecutor(tmp_path, corpus.folder, 1).run([Job("train", p, ()) for p in (plans[1], stray)], lambda _: None)
    assert read_result(run_folder(tmp_path, plans[1].run_id))["status"] == "done"


def test_a_worker_that_dies_is_reported_with_its_last_words(tmp_path, plans):
    with pytest.raises(JobFailed, match=r"its worker ended with code \d+ \(.*nowhere"):
        LocalExecutor(tmp_path, tmp_path / "nowhere", 1).run([Job("train", plans[0], ())], lambda _: None)
