"""Byte-level BPE through `tokenizers`: trained here with GPT-2's split pattern, or that of a model from elsewhere.

No text is outside its vocabulary. In ours token 0 is `<|end|>`, which stands between documents and for no byte; others
have a mark of their own (END_NAMES). Text that happens to contain the name of a mark is encoded as the letters it is
made of: text from outside stays data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError

if TYPE_CHECKING:
    import tokenizers

END = "<|end|>"
END_NAMES = (
    END,
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "</s>",
)  # between documents; the first that is there
BYTES = 256


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise GnomonError("tokenizers is not installed; pip install 'gnomon[train]'") from None
    return tokenizers


class Tokenizer:
    """encode(str) -> list[int], decode(list[int]) -> str.

    vocab: largest id + 1, marks included. end_id: the mark between documents. own: trained by train_tokenizer.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        """Raises GnomonError when it is not byte-level BPE, or has no mark that ends a document."""
        inner.encode_special_tokens = True
        self._inner = inner
        vocabulary = inner.get_vocab(with_added_tokens=True)
        self.vocab: int = max(vocabulary.values(), default=-1) + 1
        end = next((name for name in END_NAMES if name in vocabulary), None)
        if end is None:
            raise GnomonError(f"tokenizer: no token ends a document; it is called one of {', '.join(END_NAMES)}")
        self.end_id: int = vocabulary[end]
        self.own = end == END
        if self.own and self.end_id:
            raise GnomonError(f"tokenizer: {END} has id {self.end_id}; id 0 is expected")
        added = inner.get_added_tokens_decoder()
        self.marks: dict[str, int] = {t.content: i for i, t in added.items() if t.special}
        self.marks[end] = self.end_id
        self._words = {i: t.content for i, t in added.items() if not t.special and i != self.end_id}
        self._strings = self._read_bytes()

    @classmethod
    def open(cls, path: Path) -> Tokenizer:
        """A tokenizer.json. Raises GnomonError when the file is missing, no such thing, or of another kind."""
        if not path.is_file():
            raise GnomonError(f"{path}: no such file")
        library = _library()
        try:
            return cls(library.Tokenizer.from_file(str(path)))
        except GnomonError as error:
            raise GnomonError(f"{path}: {error}") from None
        except Exception as error:  # the library raises bare Exception
            raise GnomonError(f"{path}: not a tokenizer ({error}); it was cut off or edited") from error

    def to_json(self, begins_documents: bool = False) -> str:
        """As tokenizer.json. begins_documents: whoever reads it puts the mark between documents before every text."""
        if not begins_documents:
            return self._inner.to_str(pretty=True)
        value = json.loads(self._inner.to_str())
        end = self.text_of(self.end_id)
        first = {"SpecialToken": {"id": end, "type_id": 0}}
        value["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, *({"Sequence": {"id": part, "type_id": i}} for i, part in enumerate("AB"))],
            "special_tokens": {end: {"id": end, "ids": [self.end_id], "tokens": [end]}},
        }
        return json.dumps(value, ensure_ascii=False, indent=2)

    def text_of(self, token: int) -> str:
        """How the vocabulary spells a token; "" for an id without one."""
        return self._inner.id_to_token(token) or ""

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; bytes that are not whole UTF-8 characters come out as U+FFFD, marks as nothing."""
        return self._inner.decode([int(i) for i in ids], skip_special_tokens=True)

    def byte_strings(self) -> list[bytes]:
        """The bytes each token stands for, by id; b"" for marks. Joined, they are the text, byte for byte.

        (A tokenizer that normalises, as Qwen's does to NFC, gives the normalised text.)
        """
        return list(self._strings)

    def _read_bytes(self) -> list[bytes]:
        letters, marks = byte_letters(), set(self.marks.values())
        strings = []
        for i in range(self.vocab):
            token = self._inner.id_to_token(i) or ""
            if i in marks:
                strings.append(b"")
            elif i in self._words:
                strings.append(self._words[i].encode())
            elif all(c in letters for c in token):
                strings.append(bytes(letters[c] for c in token))
            else:
                raise GnomonError(
                    f"tokenizer: token {i} is {token!r}, which is not spelled in bytes; a byte-level BPE is expected"
                )
        return strings

    def token_bytes(self) -> NDArray[np.uint16]:
        """Bytes each token stands for: uint16 [vocab]; 0 for marks."""
        return np.array([len(s) for s in self._strings], dtype=np.uint16)


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
