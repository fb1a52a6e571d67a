"""R's lazy-load databases without R: the packed blocks of an .rdb file, and the strings in R's serialisation.

The format is the one "R Internals" describes (sections 1.8 and 1.9): every object is a flags word and a body; flags
hold the type in the low byte and tell of attributes (bit 9) and tags (bit 10). Only what data sets are made of is read;
functions and environments end the walk of their object.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator

PAIRLISTS = (2, 3, 5, 6)  # pairlist, closure, promise, language
ATOMS = {10: 4, 13: 4, 14: 8, 15: 16, 24: 1}  # logical, integer, double, complex, raw: bytes a value
ALONE = frozenset((254, 253, 251, 242, 241, 247))  # NULL, the global, missing, empty and base environments
BLOCK_LIMIT = 1 << 30


class BadData(Exception):
    """Bytes that are not what R would have written; its message says where."""


def blocks(data: bytes) -> Iterator[bytes]:
    """The unpacked objects of an .rdb file: each a 4-byte length and zlib data (or a letter and bzip2 or xz)."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size > BLOCK_LIMIT:
            raise BadData(f"no R database: a block of {size} bytes at byte {at}")
        unpack, at = _unpacker(data, at + 4)
        try:
            block = unpack.decompress(data[at:])
        except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
            raise BadData(f"no R database: {error} at byte {at}") from error
        if len(block) != size or not unpack.eof:
            raise BadData(f"no R database: a block at byte {at} is cut off")
        at = len(data) - len(unpack.unused_data)
        yield block


def _unpacker(data: bytes, at: int) -> tuple[zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor, int]:
    kind = data[at : at + 1]
    if kind == b"2":
        return bz2.BZ2Decompressor(), at + 1
    if kind == b"Z":
        return lzma.LZMADecompressor(), at + 1
    return zlib.decompressobj(), at


def strings(block: bytes) -> list[list[str]]:
    """The character vectors in one serialised object, in order; those found before something unknown was met."""
    walk = _Walk(block)
    try:
        walk.header()
        walk.item(0)
    except (BadData, struct.error, RecursionError):
        pass
    return walk.vectors


class _Walk:
    def __init__(self, block: bytes) -> None:
        self.block, self.at = block, 0
        self.vectors: list[list[str]] = []

    def number(self) -> int:
        (value,) = struct.unpack_from(">i", self.block, self.at)
        self.at += 4
        return value

    def header(self) -> None:
        if self.block[:2] != b"X\n":
            raise BadData("not XDR")
        self.at = 2
        version = self.number()
        self.at += 8  # the R that wrote it, the oldest that can read it
        if version >= 3:
            size = self.number()
            self.at += size  # the name of the encoding

    def length(self) -> int:
        value = self.number()
        return value if value >= 0 else (self.number() << 32) + self.number()

    def item(self, depth: int) -> str | None:
        """Walk past one object; the text of a CHARSXP is returned, vectors are collected."""
        flags = self.number()
        kind, attributes, tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if depth > 200:
            raise BadData("too deep")
        if kind in ALONE:
            return None
        if kind == 255:  # a reference, its number in the flags or after them
            if not flags >> 8:
                self.number()
            return None
        if kind == 9:
            return self.characters()
        if kind == 1:
            self.item(depth + 1)
        elif kind in PAIRLISTS:
            for _ in range(2 + bool(attributes) + bool(tag)):
                self.item(depth + 1 if kind != 2 else depth)
        elif kind == 238:  # ALTREP: how, state, attributes
            for _ in range(3):
                self.item(depth + 1)
        else:
            self.vector(kind, depth)
            if attributes:  # names, classes, factor levels: about the data, not part of it
                kept = len(self.vectors)
                self.item(depth + 1)
                del self.vectors[kept:]
        return None

    def characters(self) -> str | None:
        size = self.number()
        if size < 0:
            return None
        raw = self.block[self.at : self.at + size]
        self.at += size
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def vector(self, kind: int, depth: int) -> None:
        if kind in ATOMS:
            count = self.length()
            self.at += count * ATOMS[kind]
        elif kind == 16:
            self.vectors.append([self.item(depth + 1) or "" for _ in range(self.length())])
        elif kind in (19, 20):
            for _ in range(self.length()):
                self.item(depth + 1)
        else:
            raise BadData(f"type {kind}")
