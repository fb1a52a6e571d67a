"""`gnomon export`: a run, or a model from elsewhere, as a folder of transformers or a GGUF file of llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.ladder.store import RunStore

if TYPE_CHECKING:
    from gnomon.model.transformer import Transformer

FORMATS = ("hf", "gguf")


@dataclass(frozen=True)
class Exportable:
    """What both formats need. Fields as in model/interop/imported.py."""

    name: str
    model: Transformer
    tokenizer: Tokenizer
    chat_template: str = ""
    marks: tuple[str, str] = ("", "")
    end_ids: tuple[int, ...] = ()


def export(home: Path, name: str, to: str, folder: Path) -> list[Path]:
    """Write a finished run (or a model that open_model opens) into folder, and return the files.

    to: hf or gguf. folder: empty or not there yet; for gguf a name ending in .gguf is the file itself.
    Raises GnomonError when there is no such run, it is not finished, or the place is taken.
    """
    if to not in FORMATS:
        raise GnomonError(f"export --to {to}: it is one of {', '.join(FORMATS)}")
    target = folder if folder.suffix == ".gguf" and to == "gguf" else None
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and (target is not None or not empty):
        raise GnomonError(f"export: {folder} is there already; give a new place, nothing is overwritten")
    found = _find(home, name)
    if to == "hf":
        from gnomon.model.interop.hf_write import write_folder

        return write_folder(found.model, found.tokenizer, folder, found.chat_template, found.marks, found.end_ids)
    from gnomon.model.interop.gguf_write import write_gguf

    path = target or folder / f"{found.name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(found.model, found.tokenizer, path, found.name, found.chat_template, found.marks)
    return [path]


def _find(home: Path, name: str) -> Exportable:
    from gnomon.model.interop.imported import is_outside, open_model
    from gnomon.model.interop.store import origin
    from gnomon.model.transformer import Transformer
    from gnomon.train.checkpoint import load_final

    if is_outside(name):
        opened = open_model(name, home)
        if not isinstance(opened.model, Transformer):
            raise GnomonError(
                f"export {name}: a GPT-2 is read here, not written; its folder is what transformers opens"
            )
        marks = (opened.bos, opened.eos)
        return Exportable(Path(name).stem, opened.model, opened.tokenizer, opened.chat_template, marks, opened.end_ids)
    run = RunStore(home).show(name)
    if run.plan is None:
        raise GnomonError(run.problem)
    tokenizer_file = home / "corpora" / run.plan.corpus[:16] / "tokenizer.json"
    if not tokenizer_file.exists():
        raise GnomonError(f"run {run.run_id}: its tokenizer is not in {tokenizer_file.parent}; build its corpus again")
    model, tokenizer = load_final(run.folder), Tokenizer.open(tokenizer_file)
    if not run.plan.init:
        return Exportable(run.run_id, model, tokenizer)
    kept = origin(home, run.plan.init)
    return Exportable(run.run_id, model, tokenizer, kept.chat_template, (kept.bos, kept.eos), kept.end_ids)
