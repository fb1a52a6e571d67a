"""`gnomon corpus explain` and `build`: what a person reads, and one clear line when there is nothing to read."""

from __future__ import annotations

import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus.build import build_corpus
from gnomon.recipe.values import CorpusRecipe, FolderSource
from gnomon.workflow.corpora import build_lines, explain_lines


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a corpus of which two documents left."""
    place = tmp_path_factory.mktemp("corpora")
    folder = place / "texts"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02}.txt").write_text("\n".join(f"line {i} {j} of document {i * j}" for j in range(80)))
    original = (folder / "04.txt").read_text()
    (folder / "same.txt").write_text(original.replace("\n", "\n\n"))
    (folder / "alike.txt").write_text(original.replace("line 4 30 ", "row 4 30 "))
    recipe = CorpusRecipe(sources=(FolderSource(kind="folder", path=str(folder)),), vocabulary=300)
    build_corpus(recipe, place / "home")
    return place / "home"


def test_without_a_name_the_marks_are_counted(home) -> None:
    lines = list(explain_lines(home, "", "", ""))
    assert lines[1].split()[:2] == ["kept", "13"]  # a part of one document is held out
    assert any(line.startswith("exact copy") for line in lines) and any(line.startswith("near copy") for line in lines)


def test_a_document_is_explained_with_what_it_copies_and_the_text(home) -> None:
    lines = "\n".join(explain_lines(home, "alike", "", ""))
    assert "alike.txt: left out, near copy" in lines and "of 04.txt" in lines
    assert "of their word 5-grams, for one: 'line 4 25 of document 100'" in lines
    lines = "\n".join(explain_lines(home, "same.txt", "", ""))
    assert "left out, exact copy" in lines and "which begin: 'line 4 0 of document 0" in lines
    assert "kept, in " in "\n".join(explain_lines(home, "07", "", ""))
    assert "same.txt" not in "\n".join(explain_lines(home, "", "", "near copy"))


def test_what_is_not_there_is_one_line(home, tmp_path) -> None:
    with pytest.raises(GnomonError, match="no document has 'zebra' in its name"):
        list(explain_lines(home, "zebra", "", ""))
    with pytest.raises(GnomonError, match="corpus feedface: none in"):
        list(explain_lines(home, "", "feedface", ""))
    with pytest.raises(GnomonError, match="`gnomon corpus build` makes one"):
        list(explain_lines(tmp_path, "", "", ""))
    next((home / "corpora").glob("*/marks.parquet")).rename(home / "elsewhere")
    with pytest.raises(GnomonError, match="no such file; `gnomon corpus build` writes it"):
        list(explain_lines(home, "", "", ""))


def test_options_of_a_cluster_need_one(home) -> None:
    recipe = CorpusRecipe(sources=(FolderSource(kind="folder", path=str(home)),))
    with pytest.raises(GnomonError, match="--tasks and --set are for --scale"):
        list(build_lines(recipe, home, lambda stage, fraction: None, 0, 1, "", 4, ()))
    with pytest.raises(GnomonError, match="--set partition: write it as key=value"):
        list(build_lines(recipe, home, lambda stage, fraction: None, 0, 1, "local", 4, ("partition",)))
