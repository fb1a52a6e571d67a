"""Flat token files with hashes, and the corpus folder that holds them.

A split is one file of little-endian unsigned integers without a header, 2 bytes a token while the vocabulary fits, else
4. manifest.json names every file with its size and SHA-256, so a damaged one is found and named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json
from gnomon.common.hashing import content_hash, file_hash
from gnomon.corpus.tokenizer import Tokenizer

SCHEMA_VERSION = 1
SPLITS = ("train", "documents", "codebase", "development")
UNHASHED = ("schema_version", "hash", "local")  # what may differ between two homes that hold the same corpus


def token_dtype(vocab: int) -> np.dtype:
    """The type a token of this vocabulary is stored in."""
    return np.dtype("<u2") if vocab <= 1 << 16 else np.dtype("<u4")


def write_split(path: Path, pieces: Iterable[NDArray[np.integer]], vocab: int) -> dict[str, Any]:
    """Write pieces one after the other; returns the manifest's {"file", "tokens", "sha256"}."""
    digest, tokens, dtype = hashlib.sha256(), 0, token_dtype(vocab)
    with path.open("wb") as f:
        for piece in pieces:
            data = piece.astype(dtype).tobytes()
            digest.update(data)
            f.write(data)
            tokens += len(piece)
    return {"file": path.name, "tokens": tokens, "sha256": digest.hexdigest()}


def corpus_hash(manifest: dict[str, Any]) -> str:
    """SHA-256 of the manifest's content without times and machine paths, 64 hexadecimal digits."""
    return content_hash({k: v for k, v in manifest.items() if k not in UNHASHED})


class Corpus:
    """An opened corpus folder.

    token_bytes: uint16 [vocab], the bytes each token stands for; 0 for `<|end|>`.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], token_bytes: NDArray[np.uint16]) -> None:
        self.folder, self.manifest, self.token_bytes = folder, manifest, token_bytes
        self.hash: str = manifest["hash"]
        self.vocab: int = manifest["tokenizer"]["vocab"]

    @classmethod
    def open(cls, folder: Path, verify: bool = False) -> Corpus:
        """Checks the manifest and every file's size; with verify, every file's SHA-256.

        Raises GnomonError that names the file which is missing, cut off or altered.
        """
        manifest = read_json(folder / "manifest.json", SCHEMA_VERSION)
        try:
            if corpus_hash(manifest) != manifest["hash"]:
                raise GnomonError(
                    f"{folder / 'manifest.json'}: its content does not have the hash it names; build anew"
                )
            for split in manifest["splits"].values():
                size = split["tokens"] * token_dtype(manifest["tokenizer"]["vocab"]).itemsize
                _check(folder / split["file"], size, split["sha256"] if verify else None)
            for entry in manifest["files"].values():
                _check(folder / entry["file"], entry["bytes"], entry["sha256"] if verify else None)
        except (KeyError, TypeError, AttributeError) as error:
            raise GnomonError(f"{folder / 'manifest.json'}: {error!r} is missing; build the corpus anew") from error
        return cls(folder, manifest, np.load(folder / "token_bytes.npy"))

    def has(self, split: str) -> bool:
        return split in self.manifest["splits"]

    def tokens(self, split: str) -> NDArray[np.integer]:
        """The split's tokens, memory-mapped and read-only: uint16 or uint32 [n]."""
        if not self.has(split):
            found = ", ".join(self.manifest["splits"])
            raise GnomonError(f"corpus {self.folder}: no split {split!r}; it has {found}")
        entry = self.manifest["splits"][split]
        if entry["tokens"] == 0:
            return np.zeros(0, dtype=token_dtype(self.vocab))
        path = self.folder / entry["file"]
        try:
            return np.memmap(path, dtype=token_dtype(self.vocab), mode="r", shape=(entry["tokens"],))
        except (OSError, ValueError) as error:
            raise GnomonError(f"{path}: cannot be read ({error}); build the corpus anew") from error

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.open(self.folder / "tokenizer.json")

    def text(self, split: str, tokens: NDArray[np.integer] | None = None) -> bytes:
        """The bytes that tokens (default: the whole split) stand for, documents joined without a mark."""
        strings = self.tokenizer().byte_strings()
        ids = self.tokens(split) if tokens is None else tokens
        return b"".join(map(strings.__getitem__, np.asarray(ids).ravel().tolist()))


def _check(path: Path, size: int, sha256: str | None) -> None:
    if not path.is_file():
        raise GnomonError(f"{path}: the file is missing; build the corpus anew")
    found = path.stat().st_size
    if found != size:
        raise GnomonError(f"{path}: {found} bytes, the manifest says {size}; it is damaged, build the corpus anew")
    if sha256 is not None and file_hash(path) != sha256:
        raise GnomonError(
            f"{path}: its bytes do not have the SHA-256 of the manifest; it is damaged, build the corpus anew"
        )
