"""The rules by which text is split before merges, under the names that llama.cpp has for them (tokenizer.ggml.pre)."""

from __future__ import annotations

import json
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
NAMES = ("gpt-2", "smollm", "llama-bpe", "qwen2")
FLAGS = ("trim_offsets",)  # what moves offsets alone


def splitter(name: str, where: str) -> Any:
    """The rule of that name for `tokenizers`. Raises GnomonError for one that is not known here."""
    from tokenizers import Regex, pre_tokenizers

    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if name not in NAMES:
        raise GnomonError(f"{where}: its text is split as {name!r} before merges; gnomon knows {', '.join(NAMES)}")
    if name == "gpt-2":
        return letters
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), letters])
    pattern = Regex(LLAMA_3 if name == "llama-bpe" else QWEN_2)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), bare])


def splitter_name(tokenizer: Tokenizer) -> str:
    """What llama.cpp calls the rule of this tokenizer. Raises GnomonError when it has no name for it."""
    import tokenizers
    from tokenizers import models

    found = json.loads(tokenizer.to_json())
    for name in NAMES:
        known = tokenizers.Tokenizer(models.BPE())
        known.pre_tokenizer = splitter(name, name)
        if _bare(json.loads(known.to_str())["pre_tokenizer"]) == _bare(found["pre_tokenizer"]):
            return name
    raise GnomonError(
        f"tokenizer: it splits text in a way that llama.cpp has no name for here; those with one: {', '.join(NAMES)}"
    )


def _bare(value: Any) -> Any:
    """Settings without those that change no token."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if k not in FLAGS}
    return [_bare(v) for v in value] if isinstance(value, list) else value
