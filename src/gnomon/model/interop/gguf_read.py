"""GGUF files of llama.cpp, read with the `gguf` package: weights de-quantised to fp32, tokenizer and chat template.

Architectures llama and qwen3, whose graphs are the transformer of this house. In a llama file the rows of q and k are
already in the order of neighbouring pairs that both turn; in a qwen3 file they are in halves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.model.interop.imported import Imported, missing_library
from gnomon.model.interop.splitters import splitter
from gnomon.model.interop.weights import GGUF_LLAMA, GGUF_QWEN3, take
from gnomon.recipe.plan import ModelShape

HOUSES = {"llama": GGUF_LLAMA, "qwen3": GGUF_QWEN3}
NORMAL, MARK, WORD, UNUSED = 1, 3, 4, 5  # token types: control, user-defined, without meaning
TURNING_TABLE = "rope_freqs.weight"  # llama.cpp keeps the scaling of Llama 3's rotations in it
NAMED_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end_of_turn|>")  # a turn ends with one of these, whatever the file says


def read_gguf(path: Path) -> Imported:
    """A model from a GGUF file. Raises GnomonError when it is missing, cut off, or of an architecture unknown here."""
    fields, tensors = _open(path)
    facts = _Facts(path, fields)
    architecture = facts.text("general.architecture")
    if architecture not in HOUSES:
        raise GnomonError(
            f"{path}: its architecture is {architecture!r}; gnomon reads GGUF of {' and '.join(sorted(HOUSES))}"
        )
    house = HOUSES[architecture]
    try:
        shape = _shape(facts, architecture, tensors)
    except ZeroDivisionError:
        raise GnomonError(f"{path}: its metadata names no heads; the file is not whole") from None
    shapes = {name: tuple(int(n) for n in reversed(t.shape)) for name, t in tensors.items()}
    model = take(shape, house, shapes, lambda name: _values(path, tensors[name]), str(path))
    tokenizer = _tokenizer(facts)
    if tokenizer.vocab > shape.vocab:
        raise GnomonError(
            f"{path}: its tokenizer has {tokenizer.vocab} tokens and its embedding table {shape.vocab} rows; "
            "a table has a row for every token"
        )
    tokens = fields["tokenizer.ggml.tokens"]

    def mark(key: str) -> str:
        return tokens[fields[key]] if key in fields else ""

    ends = {tokenizer.end_id, *(tokenizer.marks[n] for n in NAMED_ENDS if n in tokenizer.marks)}
    ends |= {fields[k] for k in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id") if k in fields}
    return Imported(
        source=str(path),
        model=model,
        tokenizer=tokenizer,
        chat_template=fields.get("tokenizer.chat_template", ""),
        bos=mark("tokenizer.ggml.bos_token_id"),
        eos=mark("tokenizer.ggml.eos_token_id"),
        end_ids=tuple(sorted(ends)),
    )


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(metadata, tensors by name). Arrays of 50k strings are plain lists afterwards."""
    try:
        import gguf
    except ModuleNotFoundError:
        raise missing_library("gguf", "gguf") from None
    if not path.is_file():
        raise GnomonError(f"{path}: no such file")
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        ends = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError, TypeError) as error:
        raise GnomonError(f"{path}: not readable as GGUF ({error}); it was cut off or is no GGUF file") from None
    if ends > path.stat().st_size:
        raise GnomonError(f"{path}: {path.stat().st_size} bytes, and its weights end at {ends}; it was cut off")
    return fields, {t.name: t for t in reader.tensors}


def _values(path: Path, tensor: Any) -> Tensor:
    import gguf

    try:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise GnomonError(
            f"{path}: weight {tensor.name} is quantised as {tensor.tensor_type.name}, which the gguf package "
            "cannot undo; take a file in F16, Q8_0 or Q4_K"
        ) from None
    return torch.from_numpy(np.array(values, dtype=np.float32))  # a copy: the file's own memory is read-only


class _Facts:
    """Metadata by name, with one clear line for what is not there."""

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self.path, self.fields = path, fields

    def text(self, name: str) -> str:
        return str(self._need(name))

    def whole(self, name: str, default: int | None = None) -> int:
        value = self._need(name) if default is None else self.fields.get(name, default)
        if not isinstance(value, int):
            raise GnomonError(f"{self.path}: {name} is {value!r}; gnomon reads models with one whole number there")
        return value

    def _need(self, name: str) -> Any:
        if name not in self.fields:
            raise GnomonError(f"{self.path}: {name} is not in its metadata; the file is not whole")
        return self.fields[name]


def _shape(facts: _Facts, architecture: str, tensors: dict[str, Any]) -> ModelShape:
    """Raises GnomonError naming what this transformer does not do: experts, scaled rotations, half-turned heads."""
    path = facts.path
    scaling = facts.fields.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or TURNING_TABLE in tensors:
        kind = scaling if scaling != "none" else "llama3"
        raise GnomonError(f"{path}: its rotary positions are scaled ({kind}); gnomon reads models without rope scaling")
    if facts.fields.get(f"{architecture}.expert_count", 0):
        raise GnomonError(f"{path}: it is a mixture of experts; gnomon reads dense models")
    width, heads = facts.whole(f"{architecture}.embedding_length"), facts.whole(f"{architecture}.attention.head_count")
    head_dim = facts.whole(f"{architecture}.attention.key_length", width // heads)
    turned = facts.whole(f"{architecture}.rope.dimension_count", head_dim)
    values = facts.whole(f"{architecture}.attention.value_length", head_dim)
    if turned != head_dim or values != head_dim:
        raise GnomonError(
            f"{path}: its heads are {head_dim} wide, their values {values}, and {turned} coordinates are turned; "
            "gnomon reads models in which the three are equal"
        )
    if "token_embd.weight" not in tensors:
        raise GnomonError(f"{path}: weight token_embd.weight is missing; the file is not whole")
    kv_heads = facts.whole(f"{architecture}.attention.head_count_kv", heads)
    if kv_heads < 1 or heads % kv_heads:
        raise GnomonError(f"{path}: {kv_heads} heads of keys for {heads} query heads; each serves equally many")
    return ModelShape(
        vocab=int(tensors["token_embd.weight"].shape[1]),
        context=facts.whole(f"{architecture}.context_length"),
        width=width,
        depth=facts.whole(f"{architecture}.block_count"),
        head_dim=head_dim,
        query_heads=0 if heads * head_dim == width else heads,
        kv_heads=0 if kv_heads == heads else kv_heads,
        exact_mlp=facts.whole(f"{architecture}.feed_forward_length"),
        qk_norm=architecture == "qwen3",
        rope_base=float(facts.fields.get(f"{architecture}.rope.freq_base", 10_000.0)),
        norm_eps=_decimal(facts.fields.get(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)),
        embedding_norm=False,
        tied="output.weight" not in tensors,
    )


def _decimal(value: float) -> float:
    """1e-5, which a file in fp32 holds as 9.999999747378752e-06."""
    return float(f"{float(value):.7g}")


def _tokenizer(facts: _Facts) -> Tokenizer:
    """The tokenizer that tokenizer.ggml.* describes. Raises GnomonError for one that is not byte-level BPE."""
    import tokenizers
    from tokenizers import AddedToken, decoders, models

    model = facts.text("tokenizer.ggml.model")
    if model != "gpt2":
        raise GnomonError(
            f"{facts.path}: its tokenizer is {model!r}; gnomon reads byte-level BPE, which GGUF calls gpt2"
        )
    names: list[str] = facts.fields.get("tokenizer.ggml.tokens", [])
    types: list[int] = facts.fields.get("tokenizer.ggml.token_type", [])
    types = [*types, *[NORMAL] * (len(names) - len(types))]
    merges = [tuple(m.split(" ", 1)) for m in facts.fields.get("tokenizer.ggml.merges", [])]
    vocabulary = {n: i for i, (n, kind) in enumerate(zip(names, types, strict=False)) if kind != UNUSED}
    try:
        inner = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=_takes_whole_words(facts)))
    except Exception as error:  # the library raises bare Exception
        raise GnomonError(f"{facts.path}: its tokenizer does not fit together ({error})") from None
    inner.pre_tokenizer = splitter(facts.fields.get("tokenizer.ggml.pre", "gpt-2"), str(facts.path))
    inner.decoder = decoders.ByteLevel()
    words, marks = ([name for name, t in zip(names, types, strict=False) if t == kind] for kind in (WORD, MARK))
    inner.add_tokens([AddedToken(name, special=False, normalized=False) for name in words])
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in marks])
    try:
        return Tokenizer(inner)
    except GnomonError as error:
        raise GnomonError(f"{facts.path}: {error}") from None


def _takes_whole_words(facts: _Facts) -> bool:
    """Llama 3's vocabulary holds words that no merges lead to."""
    return bool(facts.fields.get("tokenizer.ggml.pre") == "llama-bpe")
