"""Byte-level BPE with GPT-2's split pattern, through `tokenizers`. No text is outside its vocabulary.

Token 0 is `<|end|>`, which stands between documents and for no byte. Text that happens to contain its name is encoded
as the letters it is made of: text from outside stays data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError

if TYPE_CHECKING:
    import tokenizers

END = "<|end|>"
BYTES = 256


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise GnomonError("tokenizers is not installed; pip install 'gnomon[train]'") from None
    return tokenizers


class Tokenizer:
    """encode(str) -> list[int], decode(list[int]) -> str; vocab counts `<|end|>`, whose id is end_id."""

    end_id = 0

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        inner.encode_special_tokens = True
        self._inner = inner
        self.vocab: int = inner.get_vocab_size()
        if inner.token_to_id(END) != self.end_id:
            raise GnomonError(f"tokenizer: {END} has id {inner.token_to_id(END)}; id 0 is expected")

    @classmethod
    def open(cls, path: Path) -> Tokenizer:
        """A tokenizer.json. Raises GnomonError when the file is missing or no such thing."""
        if not path.is_file():
            raise GnomonError(f"{path}: no such file")
        library = _library()
        try:
            return cls(library.Tokenizer.from_file(str(path)))
        except GnomonError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise GnomonError(f"{path}: not a tokenizer ({error}); it was cut off or edited") from error

    def to_json(self) -> str:
        return self._inner.to_str(pretty=True)

    def encode(self, text: str) -> list[int]:
        return self._inner.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self._inner.encode_batch_fast(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; bytes that are not whole UTF-8 characters come out as U+FFFD, `<|end|>` as nothing."""
        return self._inner.decode([int(i) for i in ids], skip_special_tokens=True)

    def byte_strings(self) -> list[bytes]:
        """The bytes each token stands for, by id; b"" for `<|end|>`. Joined, they are the text, byte for byte."""
        letters = byte_letters()
        strings = []
        for i in range(self.vocab):
            token = self._inner.id_to_token(i) or ""
            strings.append(b"" if i == self.end_id else bytes(letters[c] for c in token))
        return strings

    def token_bytes(self) -> NDArray[np.uint16]:
        """Bytes each token stands for: uint16 [vocab]; 0 for `<|end|>`."""
        return np.array([len(s) for s in self.byte_strings()], dtype=np.uint16)


def byte_letters() -> dict[str, int]:
    """The printable letter that GPT-2's byte-level alphabet writes for each byte, read backwards."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(BYTES) if b not in plain]
    return {chr(b): b for b in plain} | {chr(BYTES + i): b for i, b in enumerate(others)}


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE of at most vocabulary tokens; fewer when the text has no more pairs that occur twice.

    The same texts in the same order give the same tokenizer, whatever the number of threads: counts are integers and
    ties go to the pair with the smaller ids.
    Raises GnomonError when vocabulary has no room for 256 bytes, `<|end|>` and one merge.
    """
    if vocabulary < BYTES + 2:
        raise GnomonError(f"corpus.vocabulary is {vocabulary}; 256 bytes, {END} and one merge need {BYTES + 2}")
    library = _library()
    inner = library.Tokenizer(library.models.BPE())
    inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(iter(texts), trainer=trainer)
    return Tokenizer(inner)
