"""The fast encoder gives the library's tokens, whatever the text."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.corpus import encode as module
from gnomon.corpus.encode import Encoder, cut
from gnomon.corpus.tokenizer import Tokenizer, train_tokenizer

ASCII = st.text(alphabet=st.characters(max_codepoint=127), max_size=80)
CODE = st.text(alphabet=" \n\t\x0b\x0c\r\x1c\x1f'sSdlrvemt<|end|>_a1.,(=\"", max_size=80)


@functools.cache
def trained() -> Tokenizer:
    text = "def f(x):\n    return x's  ||  <|end|>\n\n\n\tit'll they've 123 12\r\n" * 4
    return train_tokenizer([text, "a = 1\n    b = 2\n" * 5], 320)


@given(st.one_of(ASCII, CODE, st.text(max_size=40)))
@settings(max_examples=400, deadline=None)
def test_it_agrees_with_the_library(text: str) -> None:
    assert Encoder(trained()).encode(text).tolist() == trained().encode(text)


@given(st.lists(st.one_of(ASCII, CODE), max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_it_remembers_changes_nothing(texts: list[str]) -> None:
    encoder = Encoder(trained())
    expected = [token for text in texts for token in (*trained().encode(text), 0)]
    streamed = [token for piece in encoder.stream(texts) for token in piece.tolist()]
    assert streamed == expected


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", " ", "\t", "é", "x y", "\r\n", "日"]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_cuts_change_no_token(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = cut(text, 1)
    assert "".join(parts) == text
    assert [token for part in parts for token in trained().encode(part)] == trained().encode(text)


def test_forgetting_and_cutting_change_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {i}  \n\n    indented {i}\n\tx\n\nÜber {i}\nend\n" for i in range(60))
    monkeypatch.setattr(module, "CHUNK", 40)
    monkeypatch.setattr(module, "KNOWN", 100)
    monkeypatch.setattr(module, "PART", 20)
    assert len(cut(text, 20)) > 50
    streamed = np.concatenate(list(Encoder(trained()).stream([text, "", "end"])))
    assert streamed.tolist() == [*trained().encode(text), 0, 0, *trained().encode("end"), 0]
