"""Text out of the formats in which Debian ships it, each a function from a file to its texts."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

from gnomon.corpus.documents import Lost, NotText, Text
from gnomon.corpus.markup import man_text
from gnomon.corpus.readers import Undecodable, decode, load, read_html, read_plain, suffix_of, texts_of
from gnomon.corpus.sources.rdata import BadData, blocks, strings
from gnomon.corpus.sources.source import Extractor

LEAST_CHARACTERS = 100  # of a character vector that is text rather than names or options
DICT_DIGITS = {c: i for i, c in enumerate(string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/")}


def read_man(path: Path) -> Iterator[Text | Lost]:
    """A manual page; pages that only point at another one hold no text of their own and are passed over."""
    return texts_of(path, man_text)


def read_fortune(path: Path) -> Iterator[Text | Lost]:
    """A fortune file: sayings between lines that hold `%` alone. Its index (.dat) and its alias (.u8) are no text."""
    if suffix_of(path) in ("dat", "u8"):
        raise NotText("a fortune index")
    for piece in read_plain(path):
        if isinstance(piece, Lost):
            yield piece
            continue
        for number, saying in enumerate(f"\n{piece.text}\n".split("\n%\n")):
            if saying.strip():
                yield Text(saying.strip("\n"), str(number))


def read_dict(path: Path) -> Iterator[Text | Lost]:
    """A dict dictionary (.dict or .dict.dz): the entries its .index beside it names, else the whole as one text."""
    if suffix_of(path) == "index":
        raise NotText("a dictionary's index")
    index = path.with_name(path.name.split(".dict")[0] + ".index")
    if not index.is_file():
        yield from read_plain(path)
        return
    try:
        data = load(path)
        spans = dict_spans(index.read_text(encoding="utf-8", errors="replace"))
    except (Undecodable, KeyError) as error:
        yield Lost(path.stat().st_size, f"no dictionary: {error}")
        return
    for start, size in spans:
        try:
            entry = decode(data[start : start + size], "dict")
        except (Undecodable, NotText) as error:
            yield Lost(size, str(error))
            continue
        if entry.strip():
            yield Text(entry.strip("\n"), str(start))


def dict_spans(index: str) -> list[tuple[int, int]]:
    """(first byte, bytes) of the entries in a dict index, each once, in order; RFC 2229's base-64 numbers."""
    spans = set()
    for line in index.splitlines():
        fields = line.split("\t")
        if len(fields) >= 3 and not fields[0].startswith("00"):  # 00-database-… describes the dictionary itself
            spans.add((_dict_number(fields[1]), _dict_number(fields[2])))
    return sorted(spans)


def _dict_number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 64 + DICT_DIGITS[digit]
    return number


def read_rdata(path: Path) -> Iterator[Text | Lost]:
    """The character vectors in an R lazy-load database (.rdb); objects of other kinds are no text."""
    if suffix_of(path) == "rdx":
        raise NotText("an R index")
    try:
        objects = list(blocks(path.read_bytes()))
    except BadData as error:
        yield Lost(path.stat().st_size, str(error))
        return
    found = False
    for number, block in enumerate(objects):
        for part, vector in enumerate(strings(block)):
            text = "\n".join(vector)
            if len(text) >= LEAST_CHARACTERS:
                found = True
                yield Text(text, f"{number}.{part}")
    if not found:
        raise NotText("no character vectors in it")


EXTRACTORS: dict[str, Extractor] = {
    "text": read_plain,
    "rst": read_plain,
    "pod": read_plain,
    "html": read_html,
    "man": read_man,
    "fortune": read_fortune,
    "dict": read_dict,
    "rdata": read_rdata,
}
