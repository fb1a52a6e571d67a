"""Files of every kind become text, and what cannot is told with its reason."""

import gzip
import json
from pathlib import Path

import pytest

from gnomon.corpus.documents import Lost, NotText, Text
from gnomon.corpus.markup import html_text, man_text
from gnomon.corpus.readers import read_file


def read(tmp_path: Path, name: str, data: bytes) -> list[Text | Lost]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_file(path))


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("plain.txt", "Straße\r\nzwei\r".encode(), "Straße\nzwei\n"),
        ("mark.md", b"\xef\xbb\xbf# title\n", "# title\n"),
        ("windows.txt", "zwei Wörter".encode("utf-16"), "zwei Wörter"),
        ("latin.txt", ("Das ist ein Satz über die Größe der Erde. " * 3).encode("latin-1"), None),
        ("coded.py", "# -*- coding: koi8-r -*-\n# привет\n".encode("koi8-r"), "# -*- coding: koi8-r -*-\n# привет\n"),
        ("Makefile", b"all:\n\techo\n", "all:\n\techo\n"),
        ("odd.xyz", b"still text", "still text"),
        ("packed.txt.gz", gzip.compress(b"inside", mtime=0), "inside"),
    ],
)
def test_encodings_and_suffixes(tmp_path: Path, name: str, data: bytes, text: str | None) -> None:
    expected = text if text is not None else data.decode("latin-1")
    assert read(tmp_path, name, data) == [Text(expected)]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("zeros.txt", b"abc\0def", "binary: it holds zero bytes"),
        ("broken.md", "Größe".encode()[:-2] + b" \x93quoted\x94", "no UTF-8 at byte 4"),
        ("noise.txt", bytes(range(160, 256)) * 20, "no UTF-8 at byte 0"),
        ("wrong.py", b"# coding: utf-8\nx = '\xff'\n", "no UTF-8 at byte 21"),
        ("half.txt.gz", gzip.compress(b"text" * 100, mtime=0)[:-9], "broken gzip"),
    ],
)
def test_what_is_no_text_in_any_encoding_is_lost_whole(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (lost,) = read(tmp_path, name, data)
    assert isinstance(lost, Lost) and lost.bytes == len(data) and reason in lost.reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("photo.JPG", b"\xff\xd8", r"a \.jpg file"),
        ("state", b"\x7fELF\0\0", "binary"),
        ("empty.txt", b"", "empty"),
        ("blank.md", b" \n\n\t", "empty"),
        ("bare.html", b"<html><body></body></html>", "no text in it"),
        ("empty.jsonl", b"\n", "empty"),
        ("numbers.csv", b"a,b\n1,2\n3,4\n", "no column holds words"),
    ],
)
def test_what_is_no_text_by_nature_is_passed_over(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(NotText, match=reason):
        read(tmp_path, name, data)


def test_json_lines_give_their_text_field_or_all_their_strings(tmp_path: Path) -> None:
    rows = [
        {"id": "x1", "text": "the text"},
        {"title": "A", "content": "the content"},
        {"q": "why?", "meta": {"a": ["because", 3]}, "n": 1},
        "a bare string",
        {"text": "half \ud800 a pair"},
    ]
    data = "\n".join(map(json.dumps, rows)).encode() + b'\n{broken\n{"n": 1}\n'
    found = read(tmp_path, "rows.jsonl", data)
    texts = ["the text", "the content", "why?\nbecause", "a bare string", "half ? a pair"]
    assert found[:5] == [Text(t, str(i)) for i, t in enumerate(texts, 1)]
    assert found[5:] == [Lost(8, "line 6 is no JSON"), Lost(9, "line 7 holds no text")]


def test_tables_give_their_columns_of_words(tmp_path: Path) -> None:
    data = b'id,name,price,note\n1,"Ann, B",2.5,"two\nlines"\n2,Bob,7,\n3,,8,x\n'
    found = read(tmp_path, "t.csv", data)
    assert found == [Text("Ann, B\ntwo\nlines", "2"), Text("Bob", "3"), Text("x", "4")]
    assert read(tmp_path, "t.tsv", b"a\tb\nred,green\t1\n") == [Text("red,green", "2")]
    assert read(tmp_path, "semi.csv", b"a;b\n1;ja\n") == [Text("ja", "2")]
    long = "word " * 60_000
    assert read(tmp_path, "long.csv", f"text\n{long}\n".encode()) == [Text(long, "2")]


def test_html_keeps_words_paragraphs_and_examples_apart() -> None:
    page = """<html><head><title>t</title><style>p { color: red }</style></head><body>
    <nav>menu</nav><h1>Sun &amp; shadow</h1><p>one
    two<br>three</p><script>if (a < b) alert("<p>no</p>")</script>
    <ul><li>first<li>second</ul><pre>  x = 1
      y</pre><table><tr><td>a<td>b</table></body></html>"""
    assert html_text(page) == "Sun & shadow\n\none two\nthree\n\nfirst\nsecond\n\n  x = 1\n      y\n\na\nb"


def test_manual_pages_lose_their_layout_requests_and_keep_their_words() -> None:
    page = r""".\" a comment
.TH LS 1 2020
.SH "SEE ALSO"
ls \- list \fIa directory\fP
.de Xx
hidden
..
.PP
.BR open (2),
.B "bold words" here
.IP \(bu 2
item\&.
.Fl a Ar file
'\" another comment
C:\\path \(aqq\(aq
"""
    assert man_text(page) == (
        "SEE ALSO\n\nls - list a directory\n\nopen(2),\nbold words here\n\n*\nitem.\na file\nC:\\path 'q'"
    )
