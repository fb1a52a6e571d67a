"""`gnomon corpus build` and `explain`: a corpus here or on a cluster, and why a document is in no split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.dedup import MEMORY_BYTES
from gnomon.corpus.marks import KEPT, read_marks
from gnomon.corpus.pipeline import Say
from gnomon.corpus.shards import Corpus
from gnomon.recipe.values import CorpusRecipe
from gnomon.workflow.explain import card_lines

SHOWN = 10  # documents explained at once


def build_lines(
    recipe: CorpusRecipe,
    home: Path,
    say: Say,
    memory_mb: int,
    threads: int,
    scale: str,
    tasks: int,
    given: Sequence[str],
) -> Iterator[str]:
    """Build a corpus and print its card. scale: "" is this process, else how datatrove runs its tasks.

    given: options of datatrove's executor, as key=value, and `workers`.
    """
    memory_bytes = memory_mb * 1_000_000 or MEMORY_BYTES
    if not scale:
        if tasks or given:
            raise GnomonError("--tasks and --set are for --scale local, slurm or ray; leave them out, or give --scale")
        from gnomon.corpus.build import build_corpus

        yield from card_lines(build_corpus(recipe, home, say, memory_bytes, threads))
        return
    from gnomon.corpus.scale import Where, build_at_scale

    options = dict(_pair(text) for text in given)
    workers = int(options.pop("workers", -1))
    where = Where(scale, tasks or threads, workers, options)
    found = build_at_scale(recipe, home, where, say, memory_bytes)
    if isinstance(found, Corpus):
        yield from card_lines(found)
    else:
        yield f"submitted: {found}; its logs are in logs/, and the same command prints the card when all is done"


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or (key == "workers" and not value.lstrip("-").isdigit()):
        raise GnomonError(f"--set {text}: write it as key=value, for example partition=cpu or workers=8")
    return key, value


def explain_lines(home: Path, document: str, corpus: str, mark: str) -> Iterator[str]:
    """Why documents are where they are; without a document, how many have each mark.

    document: its name, or a part of it. corpus: the start of a corpus' name; the newest when empty. mark: only those
    with a mark that begins so. Raises GnomonError when nothing fits.
    """
    folder = corpus_folder(home, corpus)
    rows = [row for row in read_marks(folder) if row["mark"].startswith(mark)]
    yield f"corpus {folder.name}"
    if not document and not mark:
        yield from _summary(rows)
        return
    found = [row for row in rows if document in row["document"]]
    exact = [row for row in found if row["document"] == document]
    found = exact or found
    if not found:
        marked = f" with a mark {mark!r}" if mark else ""
        raise GnomonError(f"corpus {folder.name}: no document{marked} has {document!r} in its name; "
                          "`gnomon corpus explain` counts what there is")  # fmt: skip
    for row in found[:SHOWN]:
        yield from _explained(row)
    if len(found) > SHOWN:
        yield f"and {len(found) - SHOWN} more; give more of the name"


def _summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    counts = Counter(row["mark"] for row in rows)
    sizes: Counter[str] = Counter()
    for row in rows:
        sizes[row["mark"]] += row["bytes"]
    for name, count in sorted(counts.items(), key=lambda item: (item[0] != KEPT, -item[1])):
        yield f"{name:28} {count:9,} documents {sizes[name] / 1e6:10.2f} MB"
    yield "`gnomon corpus explain NAME` says why a document left; `--mark 'near copy'` lists those with a mark"


def _explained(row: dict[str, Any]) -> Iterator[str]:
    size = f"{row['bytes']:,} bytes of {row['source']}"
    if row["mark"] == KEPT:
        yield f"{row['document']}: kept, in {row['split']} ({size})"
        return
    of = f" of {row['copy_of']}" if row["copy_of"] else ""
    yield f"{row['document']}: left out, {row['mark']}{of} ({size})"
    if row["detail"]:
        yield f"  {row['detail']}"


def corpus_folder(home: Path, name: str) -> Path:
    """The corpus whose name begins so; the newest when name is empty. Raises GnomonError when none or several do."""
    found = sorted((home / "corpora").glob(f"{name}*/manifest.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise GnomonError(f"corpus {name or '(any)'}: none in {home / 'corpora'}; `gnomon corpus build` makes one")
    if name and len(found) > 1:
        raise GnomonError(f"corpus {name}: {', '.join(p.parent.name for p in found)} all begin so; give more of it")
    return found[-1].parent
