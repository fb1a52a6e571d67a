"""From a run or a model from elsewhere to an engine. It lives here: the engine knows no run folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.ladder.store import RunStore
from gnomon.recipe.plan import Plan

if TYPE_CHECKING:
    from gnomon.chat.template import ChatTemplate
    from gnomon.engine.protocol import Engine


@dataclass(frozen=True)
class Loaded:
    """An engine with its model's tokenizer.

    plan: of its run, None for a model from elsewhere. chat: how it is spoken to, where it was taught to answer.
    end_ids: tokens after which it says no more.
    """

    engine: Engine
    tokenizer: Tokenizer
    plan: Plan | None = None
    chat: ChatTemplate | None = None
    end_ids: tuple[int, ...] = ()


def load_model(home: Path, name: str, slots: int = 8) -> Loaded:
    """A run, or what model/interop/imported.py opens: `smollm2`, a Hugging Face folder, a GGUF file.

    Raises GnomonError as load_run and open_model do.
    """
    from gnomon.model.interop.imported import is_outside

    return load_outside(home, name) if is_outside(name) else load_run(home, name, slots)


def load_outside(home: Path, name: str, slots: int = 1) -> Loaded:
    """One slot: a model that others made is large beside ours, and a step of many slots costs what all of them cost."""
    from gnomon.chat.template import ChatTemplate

    try:
        from gnomon.engine.torch_engine import TorchEngine
        from gnomon.model.interop.imported import open_model
    except ModuleNotFoundError as error:
        raise _untrained(error) from None
    found = open_model(name, home)
    chat = ChatTemplate(found.chat_template, found.bos, found.eos) if found.chat_template else None
    return Loaded(TorchEngine(found.model, found.tokenizer, slots), found.tokenizer, None, chat, found.end_ids)


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
        raise _untrained(error) from None
    tokenizer = Tokenizer.open(folder / "tokenizer.json")
    return Loaded(TorchEngine(load_final(found.folder), tokenizer, slots), tokenizer, found.plan)


def _untrained(error: ModuleNotFoundError) -> GnomonError:
    return GnomonError(f"{error.name} is not installed; pip install 'gnomon[train]'")
