"""Many tasks make the corpus that one process makes, byte for byte, with every mark and its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus.build import build_corpus
from gnomon.corpus.marks import read_marks
from gnomon.corpus.shards import Corpus
from gnomon.corpus.stages import RESULT, STAGES, Work, share
from gnomon.recipe.values import CorpusRecipe, FolderSource, HeldOut, Quality


@pytest.fixture(scope="module")
def texts(tmp_path_factory, write_prose: Callable[[int, int], str]) -> Path:
    """A folder with exact copies, near copies, poor documents, and held-out text inside training documents; a second
    one is held out whole."""
    place = tmp_path_factory.mktemp("texts")
    folder, held = place / "texts", place / "held"
    folder.mkdir()
    held.mkdir()
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(write_prose(i, 250))
    for i in range(0, 20, 2):
        words = write_prose(i, 250).split(" ")
        words[7] = "changed"
        (folder / f"near{i:02}.txt").write_text(" ".join(words))
    (folder / "exact.txt").write_text(write_prose(3, 250) + "\n")
    (folder / "poor.txt").write_text("two words")
    for i in range(3):
        (held / f"{i}.txt").write_text(write_prose(100 + i, 250))
    passage = " ".join(write_prose(101, 250).split()[30:60])
    (folder / "leak.txt").write_text(f"{write_prose(200, 150)} {passage} {write_prose(201, 150)}")
    return place


@pytest.fixture(scope="module")
def recipe(texts: Path) -> CorpusRecipe:
    def source(name: str) -> FolderSource:
        return FolderSource(kind="folder", path=str(texts / name))

    return CorpusRecipe(
        sources=(source("texts"),), held_out=HeldOut(codebase=source("held")), vocabulary=300,
        quality=Quality(least_words=5), contamination_grams=5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory, recipe: CorpusRecipe) -> Corpus:
    return build_corpus(recipe, tmp_path_factory.mktemp("alone"))


def test_every_reason_to_leave_is_there_and_explained(alone: Corpus) -> None:
    marks = {row["document"]: row for row in read_marks(alone.folder)}
    reasons = " ".join(sorted({row["mark"] for row in marks.values()}))
    for reason in ("kept", "exact copy", "near copy", "too few words", "holds held-out text"):
        assert reason in reasons
    for row in marks.values():
        assert (row["mark"] == "kept") == bool(row["split"])
        assert row["detail"] or row["mark"] == "kept"
    leak = marks["leak.txt"]
    assert leak["mark"] == "holds held-out text" and "first in 1.txt" in leak["detail"]
    assert {"03.txt", "exact.txt"} == {  # whichever is held out is kept
        name for row in marks.values() if row["mark"].startswith("exact") for name in (row["document"], row["copy_of"])
    }
    assert alone.manifest["overlap"]["codebase"]["seen"] == 0


@pytest.mark.parametrize("tasks", [1, 3, pytest.param(70, marks=pytest.mark.slow)])
def test_tasks_make_the_corpus_of_one_process(tmp_path: Path, recipe: CorpusRecipe, alone: Corpus, tasks: int) -> None:
    folder = tmp_path / "corpora" / "work"
    Work.begin(folder, recipe, tmp_path, 1 << 20)
    for stage in STAGES.values():
        world = tasks if stage.shared else 1
        for rank in reversed(range(world)):  # in any order, and each with what lies in the folder alone
            stage.run(Work(folder), rank, world)
    made = Corpus.open(tmp_path / "corpora" / Work(folder).value(RESULT)["corpus"], verify=True)
    assert made.hash == alone.hash
    for split in alone.manifest["splits"]:
        assert (made.folder / f"{split}.bin").read_bytes() == (alone.folder / f"{split}.bin").read_bytes()
    assert read_marks(made.folder) == read_marks(alone.folder)
    assert (made.folder / "lost.json").read_bytes() == (alone.folder / "lost.json").read_bytes()


def test_a_source_without_text_is_named_by_the_stage_that_sees_all(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "broken.txt").write_bytes(b"\x81\x9d" * 40)
    source = FolderSource(kind="folder", path=str(tmp_path / "texts"))
    work = Work.begin(tmp_path / "corpora" / "work", CorpusRecipe(sources=(source,)), tmp_path, 1 << 20)
    STAGES["read"].run(work, 0, 2)
    STAGES["read"].run(work, 1, 2)
    with pytest.raises(GnomonError, match=r"none of its 1 files gives text: broken.txt"):
        STAGES["choose"].run(work, 0, 1)


@pytest.mark.parametrize("world", [1, 2, 5, 9])
def test_shares_follow_each_other_and_hold_everything(world: int) -> None:
    items = list(range(7))
    runs = [items[slice(*share(items, rank, world))] for rank in range(world)]
    assert [i for run in runs for i in run] == items
