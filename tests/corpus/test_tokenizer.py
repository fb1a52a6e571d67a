"""The tokenizer loses no byte, keeps outside text data and is the same every time."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer, train_tokenizer

SAMPLE = ["def add(a, b):\n    return a + b\n", "for x in range(10):\n    print(add(x, 1))\n"] * 5


@functools.cache
def trained() -> Tokenizer:
    return train_tokenizer(SAMPLE, 300)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return trained()


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_every_text_comes_back_byte_for_byte(text: str) -> None:
    tokenizer = trained()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    strings, sizes = tokenizer.byte_strings(), tokenizer.token_bytes()
    assert b"".join(strings[i] for i in ids) == text.encode()
    assert int(sizes[ids].sum() if ids else 0) == len(text.encode())
    assert 0 not in ids


def test_the_end_mark_is_token_zero_and_stands_for_no_byte(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab == len(tokenizer.token_bytes()) <= 300
    assert tokenizer.token_bytes()[0] == 0 and (tokenizer.token_bytes()[1:] > 0).all()
    assert 0 not in tokenizer.encode("text that says <|end|> stays text")
    assert tokenizer.decode(tokenizer.encode("a<|end|>b")) == "a<|end|>b"
    assert tokenizer.decode([0]) == ""


def test_a_saved_tokenizer_reads_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_json())
    again = Tokenizer.open(path)
    text = "def <|end|> print(x)  \n\n é"
    assert again.encode(text) == tokenizer.encode(text) and again.to_json() == tokenizer.to_json()
    path.write_text(tokenizer.to_json()[:1000])
    with pytest.raises(GnomonError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer.open(path)


def test_another_process_with_more_threads_trains_the_same() -> None:
    code = (
        "from gnomon.corpus.tokenizer import train_tokenizer; import hashlib, random; r = random.Random(0)\n"
        "t = [''.join(r.choices('abcd  \\n', k=400)) for _ in range(200)]\n"
        "print(hashlib.sha256(train_tokenizer(t, 400).to_json().encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"RAYON_NUM_THREADS": n}
        ).stdout
        for n in ("1", "3")
    }
    assert len(hashes) == 1 and len(hashes.pop().strip()) == 64


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(GnomonError, match="need 258"):
        train_tokenizer(SAMPLE, 257)


def foreign(path: Path, end: str = "<|endoftext|>", **more: object) -> Path:
    """A tokenizer.json of another house: bytes first, marks at the end, digits apart."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate([*letters, *more.get("extra", [])])}
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens(["  "])
    inner.add_special_tokens([end, "<|im_start|>"])
    path.write_text(inner.to_str())
    return path


def test_another_model_s_tokenizer_loses_no_byte_and_keeps_text_data(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(foreign(tmp_path / "t.json"))
    assert (tokenizer.end_id, tokenizer.vocab, tokenizer.own) == (257, 259, False)
    assert tokenizer.marks == {"<|endoftext|>": 257, "<|im_start|>": 258}
    text = "x = 42  # <|im_start|> é\n"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and not {257, 258} & set(ids) and 256 in ids
    assert b"".join(tokenizer.byte_strings()[i] for i in ids) == text.encode()
    assert tokenizer.token_bytes()[[256, 257, 258]].tolist() == [2, 0, 0]


def test_a_tokenizer_of_another_kind_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match=r"t\.json: tokenizer: no token ends a document; it is called one of"):
        Tokenizer.open(foreign(tmp_path / "t.json", end="<eod>"))
    with pytest.raises(GnomonError, match=r"t\.json: tokenizer: token 256 is '▁the', which is not spelled in bytes"):
        Tokenizer.open(foreign(tmp_path / "t.json", extra=["▁the"]))


def test_a_reader_may_be_told_to_begin_documents(tokenizer: Tokenizer) -> None:
    """What an export says: transformers then puts `<|end|>` before a prompt, as sampling does here."""
    import tokenizers

    told = tokenizers.Tokenizer.from_str(tokenizer.to_json(begins_documents=True))
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert told.encode("def f").ids == [0, *tokenizer.encode("def f")]
    assert plain.encode("def f").ids == tokenizer.encode("def f")
