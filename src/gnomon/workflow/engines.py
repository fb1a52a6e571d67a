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
    from gnomon.engine.local import LocalEngine
    from gnomon.engine.options import EngineOptions
    from gnomon.model.interop.imported import Imported
    from gnomon.model.interop.store import Origin


@dataclass(frozen=True)
class Loaded:
    """An engine with its model's tokenizer.

    plan: of its run, None for a model from elsewhere. chat: how it is spoken to, where it was taught to answer.
    end_ids: tokens after which it says no more.
    """

    engine: LocalEngine
    tokenizer: Tokenizer
    plan: Plan | None = None
    chat: ChatTemplate | None = None
    end_ids: tuple[int, ...] = ()


def load_model(home: Path, name: str, options: EngineOptions | None = None) -> Loaded:
    """A run, or what model/interop/imported.py opens: `smollm2`, a Hugging Face folder, a GGUF file.

    options: how it is served (engine/options.py); what was chosen and why is in engine.notes.
    Raises GnomonError as load_run and open_model do.
    """
    from gnomon.model.interop.imported import is_outside

    return load_outside(home, name, options) if is_outside(name) else load_run(home, name, options)


def load_outside(home: Path, name: str, options: EngineOptions | None = None) -> Loaded:
    """A model that others made, behind an engine. Raises GnomonError as open_model does."""
    try:
        from gnomon.engine.open import open_engine
        from gnomon.model.interop.imported import open_model
    except ModuleNotFoundError as error:
        raise _untrained(error) from None
    found = open_model(name, home)
    engine = open_engine(found.model, found.tokenizer, options)
    return Loaded(engine, found.tokenizer, None, _chat(found), found.end_ids)


def _chat(found: Imported | Origin) -> ChatTemplate | None:
    """How a model wants to be spoken to; None where it was never taught to answer."""
    from gnomon.chat.template import ChatTemplate

    return ChatTemplate(found.chat_template, found.bos, found.eos) if found.chat_template else None


def load_run(home: Path, run: str, options: EngineOptions | None = None) -> Loaded:
    """The final weights of the run whose id begins with `run`, behind an engine.

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
        from gnomon.engine.open import open_engine
        from gnomon.train.checkpoint import load_final
    except ModuleNotFoundError as error:
        raise _untrained(error) from None
    tokenizer = Tokenizer.open(folder / "tokenizer.json")
    engine = open_engine(load_final(found.folder), tokenizer, options)
    if not found.plan.init:
        return Loaded(engine, tokenizer, found.plan)
    from gnomon.model.interop.store import origin

    kept = origin(home, found.plan.init)  # it is spoken to as the model that it started from
    return Loaded(engine, tokenizer, found.plan, _chat(kept), kept.end_ids)


def _untrained(error: ModuleNotFoundError) -> GnomonError:
    return GnomonError(f"{error.name} is not installed; pip install 'gnomon[train]'")
