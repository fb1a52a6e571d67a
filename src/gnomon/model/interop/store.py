"""Weights from elsewhere, kept in a home under their hash, so that runs can start from them and start again.

    <home>/models/<first 16 digits>/{weights.safetensors, tokenizer.json, model.json}

A run's plan names the hash (Plan.init), so what it started from is a part of what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.common.files import atomic_path, read_json, write_json, write_text
from gnomon.common.hashing import file_hash, plain
from gnomon.model.interop.imported import Imported
from gnomon.model.interop.weights import weights_hash
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Plan

SCHEMA = 1
WEIGHTS, FACTS, TOKENIZER = "weights.safetensors", "model.json", "tokenizer.json"


@dataclass(frozen=True)
class Origin:
    """What a kept model brings along besides weights. folder: where it is kept. The rest as in Imported."""

    hash: str
    folder: Path
    source: str
    shape: ModelShape
    chat_template: str
    bos: str
    eos: str
    end_ids: tuple[int, ...]

    @property
    def tokenizer_file(self) -> Path:
        return self.folder / TOKENIZER


def folder_of(home: Path, init: str) -> Path:
    return home / "models" / init[:16]


def keep(found: Imported, home: Path) -> Origin:
    """Put a model into the home, or find it there already. Raises GnomonError for GPT-2, which no plan describes."""
    model = found.model
    if not isinstance(model, Transformer):
        raise GnomonError(
            f"{found.source}: a GPT-2 is sampled and scored here; training goes on from llama and qwen3 models"
        )
    digest = weights_hash(model)
    folder = folder_of(home, digest)
    if not (folder / FACTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / WEIGHTS) as temporary:
            tensors = {name: p.detach().contiguous() for name, p in model.named_parameters()}
            safetensors.torch.save_file(tensors, temporary)
        write_text(folder / TOKENIZER, found.tokenizer.to_json())
        facts = {
            "hash": digest,
            "weights_sha256": file_hash(folder / WEIGHTS),
            "source": Path(found.source).name,
            "shape": plain(model.shape),
            "chat_template": found.chat_template,
            "bos": found.bos,
            "eos": found.eos,
            "end_ids": found.end_ids,
        }
        write_json(folder / FACTS, facts, SCHEMA)
    return origin(home, digest)


def origin(home: Path, init: str) -> Origin:
    """The kept model of that hash. Raises GnomonError when it is not in the home, or not whole."""
    folder = folder_of(home, init)
    if not (folder / FACTS).exists():
        raise GnomonError(
            f"{folder}: the weights {init[:16]} are not kept here; gnomon train --init MODEL reads them again"
        )
    facts = read_json(folder / FACTS, SCHEMA)
    try:
        return Origin(
            facts["hash"], folder, facts["source"], ModelShape(**facts["shape"]), facts["chat_template"], facts["bos"],
            facts["eos"], tuple(facts["end_ids"]),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise GnomonError(f"{folder / FACTS}: {error}; remove the folder and give --init again") from None


def initial_weights(plan: Plan, home: Path) -> dict[str, Tensor]:
    """What a run of this plan starts from, by our names. Raises GnomonError when it is gone, altered or unfit."""
    kept = origin(home, plan.init)
    if replace(kept.shape, context=plan.shape.context) != plan.shape:
        raise GnomonError(f"run {plan.run_id}: its shape is not that of the weights {plan.init[:16]} it starts from")
    path = kept.folder / WEIGHTS
    if not path.is_file() or file_hash(path) != read_json(kept.folder / FACTS, SCHEMA)["weights_sha256"]:
        raise GnomonError(f"{path}: missing or altered; remove {kept.folder} and give --init again")
    return safetensors.torch.load_file(path)
