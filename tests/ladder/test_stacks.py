"""Which jobs go to a worker together, and that a ladder of stacks is the ladder of the same runs one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gnomon.ladder import stacks
from gnomon.ladder.executors.local import LocalExecutor
from gnomon.ladder.family import Family
from gnomon.ladder.jobs import Job, run_folder
from gnomon.ladder.stacks import grouped
from gnomon.ladder.table import read_result, run_table
from gnomon.recipe.values import Base, FamilyRecipe


@pytest.fixture(scope="module")
def family(small_home):
    _, corpus = small_home
    base = Base(width=16, depth=1, batch_tokens=64, tokens=4e3)
    return Family(FamilyRecipe(context=32, head_dim=8, depths={1: 1}, base=base, clip=0), corpus.vocab, corpus.hash)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_NATIVE", "0")  # the workers see it too


def jobs_of(family: Family, sizes=((4e8, 8), (8e8, 8), (8e8, 16)), seeds=(0, 1)) -> list[Job]:
    return [Job("train", family.at(c, w, seed), ("documents",), 400) for c, w in sizes for seed in seeds]


def test_runs_of_one_shape_and_batch_are_one_piece_of_work_and_costly_ones_come_first(no_compiler, family) -> None:
    jobs = jobs_of(family)
    pieces = grouped(jobs, 1)
    assert sorted(job.plan.run_id for piece in pieces for job in piece) == sorted(job.plan.run_id for job in jobs)
    for piece in pieces:
        assert len({(job.plan.shape, job.plan.batch_rows) for job in piece}) == 1
    assert {len(piece) for piece in pieces} == {2}
    weights = [sum(job.weight for job in piece) for piece in pieces]
    assert weights == sorted(weights, reverse=True)


def test_no_core_stands_idle_for_a_stack(no_compiler, family) -> None:
    assert all(len(piece) == 1 for piece in grouped(jobs_of(family), 4))


def test_a_stack_is_bounded_and_targets_large_models_and_evaluations_stay_alone(
    no_compiler, family, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = jobs_of(family, sizes=((4e8, 8),), seeds=range(2 * stacks.STACK_RUNS + 1))
    assert sorted(len(piece) for piece in grouped(many, 1)) == [1, stacks.STACK_RUNS, stacks.STACK_RUNS]
    pair = jobs_of(family, sizes=((4e8, 8),))
    others = [replace(job, kind="evaluate") for job in pair]
    targets = [replace(job, plan=replace(job.plan, study="study-1")) for job in pair]
    assert all(len(piece) == 1 for piece in grouped([*others, *targets], 1))
    monkeypatch.setattr(stacks, "STACK_BELOW", 10)
    assert all(len(piece) == 1 for piece in grouped(many, 1))


def test_where_the_compiled_step_serves_there_are_no_stacks(family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GNOMON_NATIVE", raising=False)
    monkeypatch.setattr(stacks, "c_compiler", lambda: "cc")
    assert all(len(piece) == 1 for piece in grouped(jobs_of(family), 1))
    wide = [replace(job, plan=replace(job.plan, dtype="float64")) for job in jobs_of(family)]
    assert all(len(piece) == 2 for piece in grouped(wide, 1))
    monkeypatch.setattr(stacks, "c_compiler", lambda: None)
    assert all(len(piece) == 2 for piece in grouped(jobs_of(family), 1))


def test_a_ladder_of_stacks_has_the_table_of_the_runs_one_by_one(
    no_compiler, family, tmp_path: Path, small_home, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, corpus = small_home
    jobs = jobs_of(family, sizes=((4e8, 8), (8e8, 16)))
    news: list = []
    LocalExecutor(tmp_path / "stacked", corpus.folder, 1).run(jobs, news.append)
    assert sorted(e.run_id for e in news if e.kind == "done") == sorted(job.plan.run_id for job in jobs)
    monkeypatch.setattr(stacks, "STACK_BELOW", 0)
    LocalExecutor(tmp_path / "alone", corpus.folder, 1).run(jobs, lambda _: None)
    tables = [run_table(tmp_path / where, [(job.plan, {}) for job in jobs]) for where in ("stacked", "alone")]
    for column in ("bits_per_byte_documents", "steps", "flops", "trunk", "status"):
        expected = tables[1][column].tolist()
        found = tables[0][column].tolist()
        assert found == (pytest.approx(expected, rel=1e-5) if column.startswith("bits") else expected)
    assert any("stack of 2" in n for n in read_result(run_folder(tmp_path / "stacked", jobs[0].plan.run_id))["notes"])
