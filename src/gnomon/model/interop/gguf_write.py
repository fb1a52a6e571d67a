"""A trained model as a GGUF file that llama.cpp runs: architecture llama, or qwen3 where q and k are normed.

Weights stay in fp32, so that what is generated greedily there is what is generated here. The tokenizer goes in as
GPT-2's byte-level BPE under the name of the rule that splits text before merges.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gnomon.common.errors import JobFailed
from gnomon.common.files import atomic_path
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.model.interop.imported import missing_library
from gnomon.model.interop.splitters import splitter_name
from gnomon.model.interop.weights import GGUF_LLAMA, GGUF_QWEN3, exported_shape, give
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape

NORMAL, MARK, WORD, UNUSED = 1, 3, 4, 5  # token types


def write_gguf(
    model: Transformer,
    tokenizer: Tokenizer,
    path: Path,
    name: str,
    chat_template: str = "",
    marks: tuple[str, str] = ("", ""),
) -> None:
    """Write one file, whole or not at all. name: what llama.cpp calls the model. marks: bos and eos of the template.

    Raises GnomonError for a tokenizer that llama.cpp has no rule for.
    """
    try:
        import gguf
    except ModuleNotFoundError:
        raise missing_library("gguf", "gguf") from None
    shape = exported_shape(model.shape)
    architecture = "qwen3" if shape.qk_norm else "llama"
    split = splitter_name(tokenizer)
    with atomic_path(path) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        _describe(writer, shape, name)
        _add_tokenizer(writer, tokenizer, split, shape.vocab, marks)
        if chat_template:
            writer.add_chat_template(chat_template)
        for theirs, weight in give(model, GGUF_QWEN3 if shape.qk_norm else GGUF_LLAMA).items():
            writer.add_tensor(theirs, weight.numpy())
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        except OSError as error:
            raise JobFailed(f"{path}: it could not be written ({error.strerror or error})") from error
        finally:
            writer.close()


def _describe(writer: Any, shape: ModelShape, name: str) -> None:
    import gguf

    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(shape.vocab)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.depth)
    writer.add_feed_forward_length(shape.mlp_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)


def _add_tokenizer(writer: Any, tokenizer: Tokenizer, split: str, rows: int, marks: tuple[str, str]) -> None:
    """rows: of the embedding table; rows beyond the vocabulary get names that no text has."""
    value = json.loads(tokenizer.to_json())
    merges = [m if isinstance(m, str) else " ".join(m) for m in value["model"]["merges"]]
    kinds = dict.fromkeys(tokenizer.marks.values(), MARK)
    kinds |= {added["id"]: WORD for added in value["added_tokens"] if added["id"] not in kinds}
    names = [tokenizer.text_of(i) for i in range(tokenizer.vocab)]
    names = [name or f"[unused {i}]" for i, name in enumerate([*names, *[""] * (rows - len(names))])]
    types = [
        kinds.get(i, NORMAL if i < tokenizer.vocab and tokenizer.text_of(i) else UNUSED) for i in range(len(names))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    bos, eos = (tokenizer.marks.get(mark, tokenizer.end_id) for mark in marks)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_unk_token_id(tokenizer.end_id)
    writer.add_add_bos_token(tokenizer.own)  # ours begin every text as they begin a document
    writer.add_add_space_prefix(False)
