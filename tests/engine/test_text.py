"""Streaming shows the same text as decoding at the end, and never half a character or a stop text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gnomon.engine.text import TextStream


def streamed(data: bytes, cuts: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    stream, out, last = TextStream(stop), [], 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        out.append(stream.push(data[last:cut]))
        last = cut
    return [*out, stream.push(b"", final=True)]


@given(st.text(), st.lists(st.integers(0, 1000), max_size=20))
def test_pieces_are_whole_characters_and_add_up(text, cuts):
    pieces = streamed(text.encode(), cuts)
    assert "".join(pieces) == text
    assert all("�" not in piece for piece in pieces) or "�" in text


@given(st.binary(max_size=60), st.lists(st.integers(0, 1000), max_size=20))
def test_broken_bytes_become_what_decode_makes_of_them(data, cuts):
    assert "".join(streamed(data, cuts)) == data.decode(errors="replace")


@given(
    st.text("abé", max_size=30),
    st.lists(st.integers(0, 1000)),
    st.text("abé", min_size=1, max_size=4),
    st.text("ab", min_size=1, max_size=3),
)
def test_text_ends_before_the_stop_text_that_is_complete_first(text, cuts, one, other):
    """However it is cut: "a" is complete in "baa" before "baa" is."""
    complete = ((end, -len(stop)) for end in range(len(text) + 1) for stop in (one, other) if text[:end].endswith(stop))
    end, length = min(complete, default=(len(text), 0))
    cut = end + length
    assert "".join(streamed(text.encode(), cuts, (one, other))) == text[:cut]


def test_what_cannot_be_a_stop_text_any_more_is_let_go():
    stream = TextStream(("###",))
    assert [stream.push(p) for p in (b"a#", b"#b", b"##", b"#c", b"d")] == ["a", "##b", "", "", ""]
    assert stream.stopped
