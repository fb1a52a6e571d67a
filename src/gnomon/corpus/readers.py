"""Files to text, by suffix: plain text, Markdown, code, HTML, JSON lines, tables.

Bytes are UTF-8 (with or without a mark), UTF-16 with a mark, what a Python file's coding line says, or Latin-1.
Latin-1 fits any bytes, so it is taken only where the bytes look like nothing else: no control characters, none of the
codes that broken UTF-8 and other 8-bit sets leave behind (0x7f–0x9f), at most a tenth above 127. Everything else is
lost, not guessed.
A file that is no text by nature (by its suffix, or with an unknown suffix and zero bytes inside) is passed over.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import tokenize
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gnomon.corpus.documents import Lost, NotText, Text
from gnomon.corpus.markup import html_text, names

TEXT_FIELDS = ("text", "content", "body", "document", "article", "code", "passage")
UNPACKED_LIMIT = 1 << 30  # bytes that a compressed file may grow to
SAMPLE_ROWS = 200  # rows that decide which columns of a table hold words
NOT_TEXT = names(
    "png jpg jpeg gif bmp ico webp tif tiff svgz psd heic mp3 mp4 m4a wav ogg flac avi mov mkv webm pdf ps eps "
    "djvu doc docx xls xlsx ppt pptx odt ods odp epub mobi zip tar tgz bz2 xz zst 7z rar jar whl egg deb rpm apk "
    "iso img exe dll so dylib a o obj lib pyc pyo pyd class wasm bin dat db sqlite sqlite3 npy npz pkl pickle pt "
    "pth safetensors onnx h5 hdf5 parquet arrow feather ttf otf woff woff2 eot mo gmo swp ds_store"
)
NAMED_TEXT = names(
    "txt text md markdown rst tex org adoc log py pyi ipynb c h cc cpp hpp cu java kt scala go rs js jsx ts tsx "
    "mjs css scss html htm xhtml xml svg json jsonl ndjson yaml yml toml ini cfg conf csv tsv sh bash zsh fish pl "
    "pm rb php lua r jl hs ml ex exs erl clj lisp el vim sql f f90 for m swift dart zig nim srt vtt po pot pod "
    "diff patch bib"
)


class Undecodable(Exception):
    """The bytes are no text in any encoding that is tried; its message is the reason."""


def read_file(path: Path) -> Iterator[Text | Lost]:
    """The texts of a file, chosen by its suffix, and what was lost of it.

    Raises NotText for files that are no text by nature, OSError when the file cannot be read.
    """
    suffix = suffix_of(path)
    if suffix in NOT_TEXT:
        raise NotText(f"a .{suffix} file")
    reader = READERS.get(suffix)
    if reader is not None:
        yield from reader(path)
        return
    yield from read_plain(path)


def suffix_of(path: Path) -> str:
    """Lower-case suffix without its dot; of a .gz file, the suffix before it."""
    suffixes = [s.lower().lstrip(".") for s in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in ("gz", "dz"):
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def load(path: Path) -> bytes:
    """A file's bytes, unpacked when it is gzip."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b" and path.suffix.lower() in (".gz", ".dz"):
        try:
            with gzip.open(io.BytesIO(data)) as f:
                unpacked = f.read(UNPACKED_LIMIT + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Undecodable(f"broken gzip: {error}") from error
        if len(unpacked) > UNPACKED_LIMIT:
            raise Undecodable(f"grows beyond {UNPACKED_LIMIT} bytes when unpacked")
        return unpacked
    return data


def decode(data: bytes, suffix: str = "") -> str:
    """Bytes as text with "\\n" line ends. Raises Undecodable; NotText for binary data under an unknown suffix."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decoded(data, "utf-16")
    if b"\0" in data:
        if suffix in NAMED_TEXT:
            raise Undecodable("binary: it holds zero bytes")
        raise NotText("binary")
    try:
        return _lines(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        where = f"no UTF-8 at byte {error.start}"
    if suffix in ("py", "pyi"):
        return _decoded(data, _coding_line(data, where))
    if re.search(rb"[\x00-\x08\x0e-\x1f\x7f-\x9f]", data) or 10 * len(re.findall(rb"[\xa0-\xff]", data)) > len(data):
        raise Undecodable(where)
    return _lines(data.decode("latin-1"))


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return _lines(data.decode(encoding))
    except UnicodeDecodeError as error:
        raise Undecodable(f"no {encoding} at byte {error.start}") from error


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _coding_line(data: bytes, otherwise: str) -> str:
    """The encoding that a Python file declares in its first two lines."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError:
        raise Undecodable(otherwise) from None
    if encoding.startswith("utf-8"):
        raise Undecodable(otherwise)
    return encoding


def texts_of(path: Path, transform: Callable[[str], str]) -> Iterator[Text | Lost]:
    """A whole file as one text, passed through transform. Raises NotText when nothing is left of it."""
    size = path.stat().st_size
    try:
        text = transform(decode(load(path), suffix_of(path)))
    except Undecodable as error:
        yield Lost(size, str(error))
        return
    if not text.strip():
        raise NotText("empty" if transform is same else "no text in it")
    yield Text(text)


def same(text: str) -> str:
    return text


def read_plain(path: Path) -> Iterator[Text | Lost]:
    return texts_of(path, same)


def read_html(path: Path) -> Iterator[Text | Lost]:
    return texts_of(path, html_text)


def read_jsonl(path: Path, text_field: str | None = None) -> Iterator[Text | Lost]:
    """One text a line: text_field, else the first of TEXT_FIELDS that holds a string, else all strings."""
    try:
        text = decode(load(path), "jsonl")
    except Undecodable as error:
        yield Lost(path.stat().st_size, str(error))
        return
    found = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        found = True
        try:
            words = row_text(json.loads(line), text_field)
        except (json.JSONDecodeError, RecursionError):
            yield Lost(len(line.encode()) + 1, f"line {number} is no JSON")
            continue
        if words.strip():
            yield Text(words, str(number))
        else:
            yield Lost(len(line.encode()) + 1, f"line {number} holds no text")
    if not found:
        raise NotText("empty")


def row_text(row: Any, text_field: str | None = None) -> str:
    """The text of a row from outside (a JSON value): a named field, a text-like one, or every string in it."""
    if isinstance(row, dict):
        fields = (text_field,) if text_field else TEXT_FIELDS
        for name in fields:
            if isinstance(row.get(name), str):
                return _clean(row[name])
        if text_field:
            return ""
    return _clean("\n".join(_strings(row)))


def _clean(text: str) -> str:
    """JSON can say half a surrogate pair, UTF-8 cannot."""
    return _lines(text.encode("utf-8", "replace").decode())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def read_csv(path: Path) -> Iterator[Text | Lost]:
    """One text a row: the columns that hold words rather than numbers, one a line."""
    try:
        text = decode(load(path), "csv")
    except Undecodable as error:
        yield Lost(path.stat().st_size, str(error))
        return
    limit = csv.field_size_limit(len(text) + 1)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter="\t" if suffix_of(path) == "tsv" else _delimiter(text)))
    except csv.Error as error:
        yield Lost(path.stat().st_size, f"no table: {error}")
        return
    finally:
        csv.field_size_limit(limit)
    columns = word_columns(rows[1:] or rows)
    body = rows[1:] if len(rows) > 1 else rows
    found = False
    for number, row in enumerate(body, 2):
        words = "\n".join(row[c] for c in columns if c < len(row) and row[c].strip())
        if words:
            found = True
            yield Text(_clean(words), str(number))
    if not found:
        raise NotText("no column holds words" if rows else "empty")


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def word_columns(rows: list[list[str]]) -> list[int]:
    """Columns where most of the filled cells of the first rows hold a letter and are no number."""
    sample = rows[:SAMPLE_ROWS]
    columns = []
    for column in range(max(map(len, sample), default=0)):
        cells = [row[column] for row in sample if column < len(row) and row[column].strip()]
        if cells and 2 * sum(map(_wordy, cells)) > len(cells):
            columns.append(column)
    return columns


def _wordy(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return any(c.isalpha() for c in cell)
    return False


READERS: dict[str, Callable[[Path], Iterator[Text | Lost]]] = {
    "html": read_html,
    "htm": read_html,
    "xhtml": read_html,
    "jsonl": read_jsonl,
    "ndjson": read_jsonl,
    "csv": read_csv,
    "tsv": read_csv,
}
