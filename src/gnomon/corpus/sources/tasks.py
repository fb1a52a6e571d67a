"""Graded code tasks as training text: documents of some problems each, made on the spot from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from gnomon.common.hashing import file_hash
from gnomon.corpus import tasks
from gnomon.corpus.documents import Lost, Text
from gnomon.corpus.readers import read_file
from gnomon.corpus.sources.source import Found
from gnomon.corpus.tasks.problems import text, training_problems
from gnomon.recipe.values import TasksSource

PROBLEMS = 12  # in a document


def find(source: TasksSource) -> Found:
    """The problems of a seed, as many as limit_mb holds."""
    version = file_hash(Path(tasks.__file__).with_name("pieces.tsv"))[:12]
    return Found(
        "tasks", f"graded-tasks-{source.seed}", version, source.licence or "Apache-2.0", (), read_file,
        lambda: _documents(source), held_out=False,
    )  # fmt: skip


def _documents(source: TasksSource) -> Iterator[Text | Lost]:
    problems, given = training_problems(source.seed), 0
    for number in itertools.count():
        document = "\n\n".join(text(p) for p in itertools.islice(problems, PROBLEMS))
        given += len(document.encode())
        if given > source.limit_mb * 1e6 and number:
            return
        yield Text(document, str(number))
