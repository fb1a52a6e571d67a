"""Folders of text that look real enough: sentences of invented words, none of which repeats."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gnomon.recipe.values import CorpusRecipe, FolderSource, HeldOut


def prose(seed: int, words: int = 400) -> str:
    """Reproducible text of its own: sentences of words from a seeded lexicon, a line each."""
    rng = random.Random(seed)
    syllables = ["ba", "ne", "ro", "ti", "lu", "sha", "mo", "ke", "vi", "dra", "po", "gen"]
    lexicon = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(300)]
    out = []
    while words > 0:
        count = rng.randint(5, 14)
        out.append(" ".join(rng.choices(lexicon, k=count)).capitalize() + ".")
        words -= count
    return "\n".join(out) + "\n"


@pytest.fixture(scope="session")
def write_prose() -> Callable[[int, int], str]:
    return prose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty text files of about 2.5 kB."""
    root = tmp_path / "texts"
    root.mkdir()
    for i in range(40):
        (root / f"{i:02}.txt").write_text(prose(i))
    return root


@pytest.fixture
def recipe_of() -> Callable[..., CorpusRecipe]:
    def recipe(path: Path, **changes: object) -> CorpusRecipe:
        held_out = changes.pop("held_out", HeldOut())
        source = FolderSource(kind="folder", path=str(path))
        return CorpusRecipe(sources=(source,), held_out=held_out, **{"vocabulary": 300, **changes})

    return recipe
