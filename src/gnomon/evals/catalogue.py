"""Every task by name, and the suites: what to run to know what."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.evals.task import Task
from gnomon.evals.tasks import answering, choosing, coding, exams, inverse, knowledge

ROOMS = (choosing, knowledge, answering, coding, inverse)
SUITES: dict[str, tuple[str, ...]] = {
    "smoke": ("graded-seen", "graded-unseen", "graded-reference", "hindsight-neglect", "redefined-signs",
              "endings-by-heart"),
    "academic": ("mmlu", "hellaswag", "arc-easy", "arc-challenge", "winogrande", "humaneval", "drop", "gsm8k",
                 "truthfulqa-mc1", "truthfulqa-mc2", "lambada", "openbookqa", "piqa", "copa", "winograd", "bbh",
                 "mgsm-de", "mgsm-fr", "mgsm-zh", "mgsm-sw", "mgsm-bn", "mmlu-af", "mmlu-xh", "mmlu-zu"),
    "exams": tuple(exams.EXAMS),
    "code": ("humaneval", "humaneval-reference", "mbpp", "graded-seen", "graded-unseen", "graded-reference"),
    "calibration": ("mmlu", "arc-easy", "arc-challenge", "truthfulqa-mc1"),
}  # fmt: skip


def tasks() -> dict[str, type[Task]]:
    """The tasks that come with gnomon, by name."""
    found = dict(exams.classes())
    for room in ROOMS:
        for thing in vars(room).values():
            if isinstance(thing, type) and issubclass(thing, Task) and "name" in vars(thing):
                found[thing.name] = thing
    return found


def named(words: Sequence[str]) -> list[type[Task]]:
    """The tasks that suites, names and FILE.py:CLASS mean, each once, in order. Raises GnomonError for others."""
    known = tasks()
    out: list[type[Task]] = []
    for word in words:
        if word in SUITES:
            out += [known[name] for name in SUITES[word]]
        elif word in known:
            out.append(known[word])
        elif ".py:" in word:
            out.append(_from_file(*word.rsplit(":", 1)))
        else:
            near = difflib.get_close_matches(word, [*known, *SUITES], 1)
            hint = f"did you mean {near[0]}?" if near else "`gnomon evals list` names them"
            raise GnomonError(f"{word}: neither a suite nor a task nor FILE.py:CLASS; {hint}")
    return list(dict.fromkeys(out))


def _from_file(file: str, name: str) -> type[Task]:
    """A task of the user's own. Raises GnomonError when the file raises or has no such task."""
    path = Path(file)
    if not path.exists():
        raise GnomonError(f"{file}: not there")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that its source can be hashed
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise GnomonError(f"{file}: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise GnomonError(f"{file}: no task class called {name}")
    return found
