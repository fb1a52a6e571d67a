"""Which documents are never trained on, chosen before any copies are taken out, and why, in plain words.

by document: a document is held out when the SHA-1 of its text modulo 10000 is small enough, so the choice depends on
nothing but the text. A small corpus gets a little more, because a score needs some twenty thousand tokens, and a single
large file gives its last part. by folder and by date are for texts where neighbours share too much.
"""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Entry, Spool
from gnomon.recipe.values import HeldOut

SPLIT = "documents"
BUCKETS = 10_000
WISHED_BYTES = 80_000  # about 20 000 tokens of 4 bytes
WISHED_SHARE = 0.02  # of the text, where that is less
LARGEST_SHARE = 0.05  # of the text that a small corpus gives away
SMALL = 200  # documents; below it chance alone would hold out nothing or far too much


@dataclass(frozen=True)
class Choice:
    """rule: the way that was taken. words: what was held out and why, for the corpus card."""

    rule: str
    words: str


def hold_out(spool: Spool, entries: list[Entry], how: HeldOut) -> Choice:
    """Set split = "documents" on some of the entries (all undecided). Raises GnomonError when that cannot be done."""
    if not entries:
        raise GnomonError("corpus: no documents to hold out from; the sources gave no text")
    if how.by == "folder":
        return _by_folder(entries, how)
    if how.by == "date":
        return _by_date(spool, entries, how)
    return _by_document(spool, entries, how)


def wished_bytes(total: int, fraction: float) -> float:
    """How much text to hold out at least: the fraction, or what a score needs, but no more than 2 % for its sake."""
    return max(fraction * total, min(WISHED_BYTES, WISHED_SHARE * total))


def _by_document(spool: Spool, entries: list[Entry], how: HeldOut) -> Choice:
    total = sum(e.bytes for e in entries)
    wished = min(WISHED_BYTES, WISHED_SHARE * total)
    limit = max(LARGEST_SHARE, 1.5 * how.fraction) * total
    held, by_hash, too_large, last = 0, 0, 0, ""
    for entry in sorted(entries, key=lambda e: (e.bucket, e.sha, e.source, e.name)):
        chosen = entry.bucket < how.fraction * BUCKETS
        if entry.sha != last:  # a copy of what was just held out goes with it
            if not chosen and held >= wished:
                break
            if entry.bytes > limit / 2 or (len(entries) < SMALL and held + entry.bytes > limit):
                too_large += chosen
                continue
        entry.split, last = SPLIT, entry.sha
        held += entry.bytes
        by_hash += chosen
    count = sum(e.split == SPLIT for e in entries)
    words = (
        f"{count} of {len(entries)} documents ({_share(held, total)} of the text) are held out by content: the SHA-1 "
        f"of their text modulo {BUCKETS} is among the smallest (below {how.fraction * BUCKETS:.0f} holds out "
        f"{how.fraction:.1%} of them), so the choice follows from the text alone."
    )
    if count > by_hash:
        words += f" {count - by_hash} of them were added because a score needs about {wished / 1000:.0f} kB of text."
    if too_large:
        words += (
            f" {too_large} stayed in training although their hash chose them: they are too large a part of the text."
        )
    if held < wished / 2:
        words = _cut_tail(spool, entries, wished, total) + (f" Besides: {words}" if count else "")
    return Choice("document", words)


def _cut_tail(spool: Spool, entries: list[Entry], wished: float, total: int) -> str:
    """Hold out the last part of the largest document, from the start of a line."""
    largest = max((e for e in entries if e.split is None), key=lambda e: (e.bytes, e.sha))
    files = (
        "one file" if len(entries) == 1 else f"{len(entries)} documents, too few or too large to hold out whole ones"
    )
    data = spool.read(largest)
    at = line_start(data, len(data) - int(wished))
    if not 0 < at < len(data):
        raise GnomonError(f"corpus: {total} bytes of text in {files} are too few to hold any out; give more text")
    second = spool.cut(largest, at)
    second.split = SPLIT
    return (
        f"The text is {files}, so the last part of {largest.name} ({second.bytes} bytes, "
        f"{_share(second.bytes, total)} of the text) is held out in one piece: scattered lines would "
        "have neighbours in training."
    )


def line_start(data: bytes, at: int) -> int:
    """The start of a line at or before byte `at`; of a character where the text has no lines."""
    at = max(at, 0)
    line = data.rfind(b"\n", 0, at) + 1
    if line > 0:
        return line
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _by_folder(entries: list[Entry], how: HeldOut) -> Choice:
    total = sum(e.bytes for e in entries)
    if how.folders:
        for folder in how.folders:
            inside = [e for e in entries if e.name.startswith(folder.strip("/") + "/")]
            if not inside:
                raise GnomonError(f"held_out.folders: {folder!r} holds no documents of the sources; name one that does")
            for entry in inside:
                entry.split = SPLIT
        chosen, why = ", ".join(how.folders), "as the recipe says"
    else:
        sizes: dict[str, int] = {}
        for entry in entries:
            folder, slash, _ = entry.name.partition("/")
            if slash:
                sizes[folder] = sizes.get(folder, 0) + entry.bytes
        sizes = {f: size for f, size in sizes.items() if size < total / 2}
        if not sizes:
            raise GnomonError(
                "held_out.by is folder, but no folder of the sources is less than half of the text; use by: document"
            )
        wished = wished_bytes(total, how.fraction)
        enough = {f: size for f, size in sizes.items() if size >= wished} or sizes
        chosen = min(sorted(enough), key=lambda f: abs(enough[f] - wished))
        for entry in entries:
            if entry.name.startswith(chosen + "/"):
                entry.split = SPLIT
        why = f"because its size comes nearest to the {wished / 1000:.0f} kB wished for"
    held = [e for e in entries if e.split == SPLIT]
    if len(held) == len(entries):
        raise GnomonError("held_out.folders: they hold all documents, so none is left to train on; name fewer")
    size = sum(e.bytes for e in held)
    return Choice(
        "folder",
        f"Everything in {chosen} is held out, {why}: {len(held)} of {len(entries)} documents, {_share(size, total)} "
        "of the text. A whole folder is a harder test than scattered documents, since its neighbours are gone too.",
    )


def _by_date(spool: Spool, entries: list[Entry], how: HeldOut) -> Choice:
    total = sum(e.bytes for e in entries)
    dates: dict[tuple[int, str], float] = {}  # rows of one file stay together
    sizes: dict[tuple[int, str], int] = {}
    for entry in entries:
        file = (entry.source, _file_of(entry))
        dates[file] = entry.modified
        sizes[file] = sizes.get(file, 0) + entry.bytes
    if len(dates) < 2 or len(set(dates.values())) < 2:
        raise GnomonError(
            "held_out.by is date, but all files have the same date (a copy or a checkout?); use by: document or folder"
        )
    wished, held, chosen = wished_bytes(total, how.fraction), 0, set()
    for file in sorted(dates, key=lambda f: (-dates[f], f)):
        if held >= wished or held + sizes[file] > total / 2:
            break
        chosen.add(file)
        held += sizes[file]
    if not chosen:
        raise GnomonError("held_out.by is date, but the newest file is more than half of the text; use by: document")
    for entry in entries:
        if (entry.source, _file_of(entry)) in chosen:
            entry.split = SPLIT
    return Choice(
        "date",
        f"The {len(chosen)} newest of {len(dates)} files are held out ({_share(held, total)} of the text), so the "
        "score says how well the model does on what was written after its training text. File dates decide: a copy "
        "that does not keep them holds out something else.",
    )


def _file_of(entry: Entry) -> str:
    name, colon, part = entry.name.rpartition(":")
    return name if colon and part.isdigit() else entry.name


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0 %"
