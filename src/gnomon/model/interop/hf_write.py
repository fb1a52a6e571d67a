"""A trained model as a folder that transformers opens: LlamaForCausalLM, or Qwen3ForCausalLM with qk-norm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from gnomon.common.files import write_bytes, write_text
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.model.interop.weights import HUGGING_FACE, exported_shape, give
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape


def write_folder(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: Path,
    chat_template: str = "",
    marks: tuple[str, str] = ("", ""),
    end_ids: tuple[int, ...] = (),
) -> list[Path]:
    """Write config.json, model.safetensors (fp32), the tokenizer and how to generate. Returns the files.

    marks: bos and eos, for the chat template. end_ids: beside the end of a document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.text_of(tokenizer.end_id)
    ends = sorted({tokenizer.end_id, *end_ids})
    tensors = give(model, HUGGING_FACE)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": marks[0] or end,
        "eos_token": marks[1] or end,
        "unk_token": end,  # some readers insist on one; bytes leave nothing unknown
        "model_max_length": model.shape.context,
        "clean_up_tokenization_spaces": False,
    }
    generation = {"bos_token_id": tokenizer.end_id, "eos_token_id": ends[0] if len(ends) == 1 else ends}
    texts = {
        "config.json": config_of(model.shape, tokenizer.end_id, ends),
        "generation_config.json": generation,
        "tokenizer_config.json": settings,
    }
    write_bytes(folder / "model.safetensors", safetensors.torch.save(tensors, metadata={"format": "pt"}))
    for name, value in texts.items():
        write_text(folder / name, json.dumps(value, indent=2) + "\n")
    write_text(folder / "tokenizer.json", tokenizer.to_json(begins_documents=not chat_template))
    names = ["model.safetensors", *texts, "tokenizer.json"]
    if chat_template:
        write_text(folder / "chat_template.jinja", chat_template)
        names.append("chat_template.jinja")
    return [folder / name for name in names]


def config_of(shape: ModelShape, end_id: int, ends: list[int]) -> dict[str, Any]:
    """The configuration that transformers reads; hf.shape_of is its inverse."""
    told = exported_shape(shape)
    kind = "qwen3" if told.qk_norm else "llama"
    return {
        "architectures": ["Qwen3ForCausalLM" if told.qk_norm else "LlamaForCausalLM"],
        "model_type": kind,
        "vocab_size": told.vocab,
        "max_position_embeddings": told.context,
        "hidden_size": told.width,
        "num_hidden_layers": told.depth,
        "num_attention_heads": told.heads,
        "num_key_value_heads": told.key_heads,
        "head_dim": told.head_dim,
        "intermediate_size": told.mlp_width,
        "hidden_act": "silu",
        "rms_norm_eps": told.norm_eps,
        "rope_theta": told.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": told.rope_base},
        "attention_bias": False,
        "tie_word_embeddings": told.tied,
        "bos_token_id": end_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
        "dtype": "float32",
        **({"use_sliding_window": False} if kind == "qwen3" else {"mlp_bias": False}),
    }
