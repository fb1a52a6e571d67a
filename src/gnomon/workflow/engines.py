"""From a finished run to an engine. Lives here, because the engine knows no run folders and the trainer no engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.ladder.store import RunStore
from gnomon.recipe.plan import Plan

if TYPE_CHECKING:
    from gnomon.engine.protocol import Engine


@dataclass(frozen=True)
class Loaded:
    """An engine with the tokenizer that its model was trained with, and the plan of its run."""

    engine: Engine
    tokenizer: Tokenizer
    plan: Plan


def load_run(home: Path, run: str, slots: int = 8) -> Loaded:
    """The final weights of the run whose id begins with `run`, behind an engine of that many slots.

    Raises GnomonError when there is no such run, it is not finished, its checkpoint is damaged, its corpus is gone, or
    torch is not installed.
    """
    found = RunStore(home).show(run)
    if found.plan is None:
        raise GnomonError(found.problem)
    folder = home / "corpora" / found.plan.corpus[:16]
    if not (folder / "tokenizer.json").exists():
        raise GnomonError(f"run {found.run_id}: its tokenizer is not in {folder}; build its corpus again first")
    try:
        from gnomon.engine.torch_engine import TorchEngine
        from gnomon.train.checkpoint import load_final
    except ModuleNotFoundError as error:
        raise GnomonError(f"{error.name} is not installed; pip install 'gnomon[train]'") from None
    tokenizer = Tokenizer.open(folder / "tokenizer.json")
    return Loaded(TorchEngine(load_final(found.folder), tokenizer, slots), tokenizer, found.plan)
