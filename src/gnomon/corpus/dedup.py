"""Copies: exact ones by a hash of the text with white space folded, near ones by the shingles they share.

A near copy shares at least `threshold` of its word 5-grams (Jaccard) with a document that is kept. Candidates share a
band of their MinHash signatures (signatures.py); every candidate is then compared exactly, so nothing is dropped by an
estimate. Held-out documents come first: training documents that copy them leave, never the reverse.
Signatures, keys and the documents that share a key lie in files; memory holds what the cap allows, in as many passes
as that takes, and the marks do not depend on it.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Entry, Spool
from gnomon.corpus.signatures import SHINGLE, Part, Signatures, bands, write_part
from gnomon.corpus.words import WordHasher, chunks, gram_hashes

SLACK = 0.2  # an estimate this far below the threshold (4.5 standard errors) is not compared exactly
MEMORY_BYTES = 1 << 30  # that the search may hold beside the list of documents
KEY_BYTES = 48  # held for each key while a band is searched: key, place, order, bucket
MEMBER_BYTES = 40  # for each shared key while documents are resolved: place, bucket, order
STATE_BYTES = 28  # that stay for each shared key: where its bucket begins, and the kept documents in it
LONG_LINE = 24  # bytes
QUOTED = 160  # characters of matched text in a mark
EXACT, NEAR = "exact copy", "near copy"


def exact(entries: list[Entry]) -> None:
    """Mark every entry whose folded text an earlier one has. Entries come in the order in which they are kept."""
    first: dict[bytes, int] = {}
    for i, entry in enumerate(entries):
        if entry.key in first:
            entry.dropped, entry.of = _reason(EXACT, entries[first[entry.key]], entry), first[entry.key]
        else:
            first[entry.key] = i


def _reason(what: str, kept: Entry, entry: Entry) -> str:
    """A copy of held-out text is named as such; held-out text itself is only ever a copy of its own kind."""
    return f"{what} of held-out text" if kept.split != "train" and entry.split == "train" else what


def near(
    spool: Spool,
    entries: list[Entry],
    threshold: float,
    folder: Path,
    memory_bytes: int = MEMORY_BYTES,
    threads: int = 1,
) -> None:
    """Mark training entries that are near copies of an earlier entry that is kept; held-out entries come first.

    threshold: Jaccard similarity of word 5-gram sets from which on two documents are copies; 1 marks nothing.
    folder: where the signatures are kept for the time of the call. threads: that sign side by side.
    """
    alive = [e for e in entries if not e.dropped]
    if threshold >= 1 or len(alive) < 2:
        return
    part = Part(folder, "0", 0, len(alive), bands(threshold)[0])
    write_part(part, spool.texts(alive), threshold, threads)
    with Signatures([part]) as signatures:
        mark_near(spool, entries, signatures, threshold, folder, memory_bytes, threads)
    part.remove()


def mark_near(
    spool: Spool,
    entries: list[Entry],
    signatures: Signatures,
    threshold: float,
    folder: Path,
    memory_bytes: int = MEMORY_BYTES,
    threads: int = 1,
) -> None:
    """The second half of near. signatures: of the entries that are not dropped, in their order."""
    alive = [i for i, e in enumerate(entries) if not e.dropped]
    search = _Search(spool, [entries[i] for i in alive], signatures, threshold, folder, memory_bytes, threads)
    for place, match in search.copies().items():
        entry, kept = entries[alive[place]], entries[alive[match.original]]
        entry.dropped, entry.of = _reason(NEAR, kept, entry), alive[match.original]
        entry.detail = f"shares {match.jaccard:.1%} of their word 5-grams, for one: {match.quote!r}"


@dataclass(frozen=True)
class _Match:
    """original: place of the kept document. quote: the longest text they have in common, or its beginning."""

    original: int
    jaccard: float
    quote: str


class _Search:
    """entries: those still alive, in the order in which they are kept."""

    def __init__(
        self,
        spool: Spool,
        entries: list[Entry],
        signatures: Signatures,
        threshold: float,
        folder: Path,
        memory_bytes: int,
        threads: int,
    ) -> None:
        self.spool, self.entries, self.signatures, self.threshold = spool, entries, signatures, threshold
        self.folder, self.memory_bytes, self.threads = folder, memory_bytes, threads
        self.hasher = WordHasher()
        self._cache: OrderedDict[int, NDArray[np.uint64]] = OrderedDict()
        self._cached_bytes = 0

    def copies(self) -> dict[int, _Match]:
        """Which training entry is a near copy of which kept one, by place in entries."""
        path = self.folder / "shared.bin"
        members, buckets = self._write_shared(path)
        if STATE_BYTES * members > self.memory_bytes:
            raise GnomonError(
                f"near copies: {members} keys are shared, which takes {STATE_BYTES * members / 1e6:.0f} MB and "
                f"{self.memory_bytes / 1e6:.0f} are allowed; give --memory-mb more, or take out exact copies of large "
                "pieces first"
            )
        heads = np.full(buckets, -1, dtype=np.int64)  # the last kept document of a bucket, as a place in nodes
        nodes, before = array("q"), array("q")  # kept documents, and the one before it in its bucket
        found: dict[int, _Match] = {}
        for place, mine in self._in_order(path, members):
            if self.entries[place].split == "train":
                candidates: set[int] = set()
                for bucket in mine:
                    at = int(heads[bucket])
                    while at >= 0:
                        candidates.add(nodes[at])
                        at = before[at]
                match = self._copy_of(place, sorted(candidates)) if candidates else None
                if match is not None:
                    found[place] = match
                    continue
            for bucket in mine:
                nodes.append(place)
                before.append(int(heads[bucket]))
                heads[bucket] = len(nodes) - 1
        path.unlink()
        return found

    def _write_shared(self, path: Path) -> tuple[int, int]:
        """Write (place, bucket) of every key that two documents share; returns how many lines and buckets these are.

        A band at a time, and of a band the keys of one range after the other, so that a range fits into memory.
        """
        shares = max(1, -(-KEY_BYTES * self.signatures.count // self.memory_bytes))
        members, buckets = 0, 0
        with path.open("wb") as file:
            for band in range(self.signatures.bands):
                for share in range(shares):
                    keys, places = self.signatures.band(band, share, shares)
                    numbers, here = shared_keys(keys)
                    lines = np.stack([places[here], numbers + buckets], axis=1)
                    file.write(lines.astype(np.int64).tobytes())
                    members += len(lines)
                    buckets += int(numbers.max()) + 1 if len(numbers) else 0
        return members, buckets

    def _in_order(self, path: Path, members: int) -> Iterator[tuple[int, list[int]]]:
        """(place, its buckets) by place: ranges of places, as many as fit into memory, are gathered from the file."""
        if not members:
            return
        ranges = max(1, -(-MEMBER_BYTES * members // self.memory_bytes))
        edges = [self.signatures.count * i // ranges for i in range(ranges + 1)]
        for low, high in pairwise(edges):
            lines = self._between(path, low, high)
            lines = lines[np.argsort(lines[:, 0], kind="stable")]
            places, starts = np.unique(lines[:, 0], return_index=True)
            groups = np.split(lines[:, 1], starts[1:])
            yield from self._hashed(places.tolist(), [group.tolist() for group in groups])

    def _between(self, path: Path, low: int, high: int) -> NDArray[np.int64]:
        found = [np.zeros((0, 2), dtype=np.int64)]
        with path.open("rb") as file:
            while data := file.read(1 << 22):
                lines = np.frombuffer(data, dtype=np.int64).reshape(-1, 2)
                found.append(lines[(lines[:, 0] >= low) & (lines[:, 0] < high)])
        return np.concatenate(found)

    def _hashed(self, places: list[int], groups: list[list[int]]) -> Iterator[tuple[int, list[int]]]:
        """The same, after the shingles of a megabyte of documents have been made together, which is far quicker."""
        at, pending = 0, chunks(self.spool.texts([self.entries[p] for p in places]))
        with ThreadPoolExecutor(self.threads) as pool:
            ahead = [pool.submit(self._sets, chunk) for chunk in islice(pending, self.threads + 1)]
            while ahead:
                sets = ahead.pop(0).result()
                ahead += [pool.submit(self._sets, chunk) for chunk in islice(pending, 1)]
                for place, found in zip(places[at : at + len(sets)], sets, strict=True):
                    self._remember(place, found)
                yield from zip(places[at : at + len(sets)], groups[at : at + len(sets)], strict=True)
                at += len(sets)

    def _sets(self, texts: list[bytes]) -> list[NDArray[np.uint64]]:
        grams, offsets = self.hasher.grams(texts, SHINGLE, whole=True)
        return [sorted_set(grams[a:b]) for a, b in pairwise(offsets.tolist())]

    def _copy_of(self, place: int, candidates: Sequence[int]) -> _Match | None:
        """The first candidate of which the entry is a near copy, by the exact share of their shingles."""
        estimates = self.signatures.alike(place, candidates)
        for candidate in np.asarray(candidates)[estimates >= self.threshold - SLACK].tolist():
            share = jaccard(self._shingles(place), self._shingles(candidate))
            if share >= self.threshold:
                return _Match(candidate, share, self._quote(place, candidate))
        return None

    def _quote(self, place: int, original: int) -> str:
        """Text that both have: a line where they share a long one, which is quickly seen, else a run of words."""
        text = self.spool.read(self.entries[place])
        lines = set(self.spool.read(self.entries[original]).splitlines())
        line = max((line for line in text.splitlines() if line in lines), key=len, default=b"").strip()
        if len(line) >= LONG_LINE:
            return line.decode(errors="replace")[:QUOTED]
        return common_text(self.hasher, text, self._shingles(original))

    def _shingles(self, place: int) -> NDArray[np.uint64]:
        if place not in self._cache:
            self._remember(place, shingles(self.hasher, self.spool.read(self.entries[place])))
        self._cache.move_to_end(place)
        return self._cache[place]

    def _remember(self, place: int, found: NDArray[np.uint64]) -> None:
        """Keep the sets that were used last, within a quarter of the memory."""
        if place in self._cache:
            return
        self._cache[place] = found
        self._cached_bytes += found.nbytes
        while self._cached_bytes > self.memory_bytes // 4 and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes


def shared_keys(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the documents whose key is some other's too: (number of the key from 0, int64 [m]; their places in keys)."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.ones(len(keys), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    ends = np.append(begins[1:], True)
    inside = ~(begins & ends)  # a run of one key alone begins and ends in one place
    numbers = np.cumsum(begins[inside]) - 1
    return numbers.astype(np.int64), order[inside]


def shingles(hasher: WordHasher, text: bytes) -> NDArray[np.uint64]:
    """The set of a document's word 5-grams, sorted; a shorter document is one shingle."""
    return sorted_set(hasher.grams([text], SHINGLE, whole=True)[0])


def sorted_set(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """np.unique, in a third of its time for sets of this size."""
    ordered = np.sort(values)
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Size of the intersection over size of the union of two sorted sets; 0 when both are empty."""
    both = np.sort(np.concatenate([a, b]))
    common = int((both[1:] == both[:-1]).sum())
    union = len(a) + len(b) - common
    return common / union if union else 0.0


def common_text(hasher: WordHasher, text: bytes, known: NDArray[np.uint64], gram: int = SHINGLE) -> str:
    """The longest run of text's words whose grams are all known (sorted), or its beginning; "" when none is."""
    words, starts = hasher.words(text)
    grams = gram_hashes(words, min(gram, max(1, len(words))))  # a shorter text is one gram
    if not len(grams) or not len(known):
        return ""
    hit = known[np.minimum(np.searchsorted(known, grams), len(known) - 1)] == grams
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hit, [False]])))
    if not len(edges):
        return ""
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    first, last = int(edges[2 * longest]), int(edges[2 * longest + 1]) - 1 + gram
    end = int(starts[last]) if last < len(starts) else len(text)
    return text[int(starts[first]) : end].decode(errors="replace").strip()[:QUOTED]
