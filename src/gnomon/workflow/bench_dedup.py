"""`gnomon bench dedup`: how many megabytes of text a second the search for copies takes, in how much memory, and
whether it finds what was put there. The text is the Python source on this machine, cut into documents of some 4 kB."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.corpus import dedup
from gnomon.corpus.documents import Document, Report, Spool
from gnomon.corpus.overlap import GRAM, HeldOut
from gnomon.corpus.sources import python
from gnomon.corpus.sources.source import Unreachable
from gnomon.corpus.words import WordHasher
from gnomon.recipe.values import PythonSource

PACKAGES = ("stdlib", "torch", "sympy", "numpy", "scipy", "networkx", "fontTools")
MEAN_LOG_BYTES, SPREAD = 8.0, 0.8  # of the documents' length: a median of 3 kB, a mean of 4
SHORTEST, LONGEST = 400, 60_000
COPIES = 0.2  # of the documents, planted
LIKENESS = 0.9  # Jaccard of a planted copy with its original, at least
THRESHOLD = 0.8
PASSAGES = 200  # held-out passages of 13 words, planted


def bench_dedup(megabytes: float, memory_mb: int, threads: int, seed: int = 0) -> dict[str, Any]:
    """Time the search over so much text. Returns speeds in MB/s, peak memory in MB, planted and found copies."""
    rng, hasher = np.random.default_rng(seed), WordHasher()
    originals = list(_documents(rng, megabytes * 1e6 / (1 + COPIES)))
    copied = rng.choice(len(originals), int(COPIES * len(originals)), replace=False).tolist()
    copies = {len(originals) + k: i for k, i in enumerate(copied)}  # place -> place of its original
    texts = [*originals, *(_copy(rng, hasher, originals[i]) for i in copied)]
    with tempfile.TemporaryDirectory() as place, Spool(Path(place) / "spool.bin") as spool:
        for i, text in enumerate(texts):
            spool.add(0, Document.of(text, str(i), "python", "")).split = "train"
        size = sum(e.bytes for e in spool.entries) / 1e6
        base = _reset_peak_mb()
        began, began_cpu = time.perf_counter(), time.process_time()
        dedup.exact(spool.entries)
        dedup.near(spool, spool.entries, THRESHOLD, Path(place), memory_mb * 1_000_000, threads)
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        peak = _peak_mb()
        dropped = [e.dropped is not None for e in spool.entries]
        # An original that is itself a copy of kept text takes its copies' likeness with it: not a miss.
        missed = sum(not dropped[i] and not dropped[original] for i, original in copies.items())
        held, passages = _contamination(rng, spool)
        return {
            "megabytes": round(size, 1),
            "documents": len(texts),
            "threads": threads,
            "mb_per_s": round(size / seconds, 2),
            "mb_per_cpu_s": round(size / cpu, 2),
            "memory_cap_mb": memory_mb,
            "memory_grew_mb": round(peak - base, 1),
            "planted_copies": len(copies),
            "missed_copies": missed,
            "other_copies": sum(dropped) - sum(dropped[i] for i in copies),
            "planted_passages": held,
            "found_passages": passages,
        }


def _documents(rng: np.random.Generator, size: float) -> Iterator[str]:
    """Pieces of the source on this machine, in an order of their own, until there is enough."""
    told = 0
    for package in PACKAGES:
        try:
            found = python.find(PythonSource(kind="python", package=package))
        except Unreachable:
            continue
        for document in found.documents(Report("", "", "", "")):
            at = 0
            while at < len(document.text) and told < size:
                length = int(np.clip(rng.lognormal(MEAN_LOG_BYTES, SPREAD), SHORTEST, LONGEST))
                piece = document.text[at : at + length]
                at += length
                if len(piece) >= SHORTEST:
                    told += len(piece)
                    yield piece
    if not told:
        raise GnomonError("bench dedup: there is no Python source on this machine to search in")


def _copy(rng: np.random.Generator, hasher: WordHasher, text: str) -> str:
    """text with up to one word in a hundred replaced, and at least LIKENESS like it."""
    mine = dedup.shingles(hasher, text.encode())
    words = list(re.finditer(r"\w+", text, re.ASCII))
    copy = text + "\n# a copy"
    for count in (len(words) // 100, len(words) // 300, 1):
        if count:
            changed, last = "", 0
            for k in sorted(rng.choice(len(words), count, replace=False).tolist()):
                changed, last = changed + text[last : words[k].start()] + f"new{k}", words[k].end()
            changed += text[last:]
            if dedup.jaccard(mine, dedup.shingles(hasher, changed.encode())) >= LIKENESS:
                return changed
    return copy if dedup.jaccard(mine, dedup.shingles(hasher, copy.encode())) >= LIKENESS else text + "\n"


def _contamination(rng: np.random.Generator, spool: Spool) -> tuple[int, int]:
    """(passages planted, found): 13 invented words each, inside documents that hold nothing else of the kind."""
    held = [" ".join(f"held{n}" for n in rng.integers(0, 1 << 30, GRAM)) for _ in range(PASSAGES)]
    places = rng.choice(len(spool.entries), min(PASSAGES, len(spool.entries)), replace=False).tolist()
    texts = [spool.read(spool.entries[p]) for p in places]
    cuts = [int(rng.integers(len(t))) for t in texts]
    planted = [t[:c] + b" " + h.encode() + b" " + t[c:] for t, c, h in zip(texts, cuts, held, strict=False)]
    known = HeldOut({"held": [h.encode() for h in held]})
    return len(planted), sum(hit.held_out[1] == hit.place for hit in known.hits(planted, 1))


def _reset_peak_mb() -> float:
    """Start counting the peak of this process' memory anew; what it holds now, in MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    """The most memory held since the count began, in MB; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def dedup_lines(measured: dict[str, Any]) -> Sequence[str]:
    """The measurement in words."""
    m = measured
    return (
        f"{m['documents']:,} documents, {m['megabytes']} MB, {m['threads']} threads",
        f"{m['mb_per_s']} MB/s ({m['mb_per_cpu_s']} MB for a second of one core)",
        f"memory grew by {m['memory_grew_mb']} MB; {m['memory_cap_mb']} MB were allowed for the search",
        f"planted near copies (Jaccard {LIKENESS} and more): {m['planted_copies']}, missed {m['missed_copies']}; "
        f"{m['other_copies']} other copies",
        f"planted held-out passages: {m['found_passages']} of {m['planted_passages']} found",
    )
