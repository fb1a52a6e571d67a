"""A small corpus that several rooms' tests share: generated text, built once a process."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gnomon.corpus.build import build_corpus
from gnomon.recipe.values import CorpusRecipe, FolderSource

WORDS = ("alpha", "beta", "gamma", "while", "return", "import", "value", "index", "if", "else",
         "for", "in", "def", "self")  # fmt: skip


def write_folder(folder: Path, files: int = 40, lines: int = 60) -> Path:
    """A folder of generated code-like text, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        rng = random.Random(number)
        text = "\n".join(" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(lines))
        (folder / f"file{number:02}.py").write_text(f"# {number}\n{text}\n")
    return folder


def folder_recipe(folder: Path, vocabulary: int = 300) -> CorpusRecipe:
    return CorpusRecipe(sources=(FolderSource(kind="folder", path=str(folder)),), vocabulary=vocabulary)


@pytest.fixture(scope="session")
def small_home(tmp_path_factory):
    """(home, corpus) of a generated folder; tests make their runs in homes of their own and read the corpus here."""
    place = tmp_path_factory.mktemp("small")
    home = place / "home"
    return home, build_corpus(folder_recipe(write_folder(place / "text")), home)
