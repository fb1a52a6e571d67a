"""marks.parquet: one row a document that was read, with its split or the mark that left it out and the matched text.

It lies beside the shards and belongs to no hash: it explains a corpus, it does not make one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Entry

MARKS_FILE = "marks.parquet"
SCHEMA_VERSION = 1
ROWS = 1 << 16  # written together
KEPT = "kept"


def write_marks(path: Path, entries: Sequence[Entry], sources: Sequence[str]) -> None:
    """Write the table. sources: the name of each source, by its number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("source", pa.string()), ("document", pa.string()), ("bytes", pa.int64()), ("sha1", pa.string()),
            ("split", pa.string()), ("mark", pa.string()), ("copy_of", pa.string()), ("detail", pa.string()),
        ],
        metadata={"schema_version": str(SCHEMA_VERSION)},
    )  # fmt: skip
    rows = _rows(entries, sources)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, ROWS)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def _rows(entries: Sequence[Entry], sources: Sequence[str]) -> Iterator[dict[str, Any]]:
    for e in entries:
        yield {
            "source": sources[e.source], "document": e.name, "bytes": e.bytes, "sha1": e.sha,
            "split": "" if e.dropped else e.split, "mark": e.dropped or KEPT,
            "copy_of": entries[e.of].name if e.of is not None else "", "detail": e.detail,
        }  # fmt: skip


def read_marks(folder: Path) -> list[dict[str, Any]]:
    """The rows of a corpus folder. Raises GnomonError when there are none or they are unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / MARKS_FILE
    if not path.exists():
        raise GnomonError(f"{path}: no such file; `gnomon corpus build` writes it when it builds the corpus again")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise GnomonError(f"{path}: not readable as Parquet ({error}); build the corpus again") from None
    version = (table.schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise GnomonError(f"{path}: schema_version is {version}; this gnomon reads {SCHEMA_VERSION}")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
