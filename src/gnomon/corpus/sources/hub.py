"""Data sets in the Hugging Face format: streamed from the hub through `datasets`, or read from a local folder of the
same layout (Parquet or JSON lines, one file or many a split). Both go through the same row → text step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Lost, Text
from gnomon.corpus.readers import read_jsonl, row_text, suffix_of
from gnomon.corpus.sources.source import Found, Unreachable, walk
from gnomon.recipe.values import HubSource

BATCH_ROWS = 1024


def find(source: HubSource, limit_bytes: float | None) -> Found:
    """The data set, to be streamed up to limit_bytes of text, or a local folder of its files.

    Raises Unreachable when it cannot be opened, GnomonError when the folder holds no such split.
    """
    root = Path(source.dataset).expanduser()
    if root.is_dir():
        return _local(source, root)
    stream = open_stream(source)
    return Found(
        "hub",
        source.dataset if source.subset is None else f"{source.dataset}/{source.subset}",
        f"streamed, split {source.split}",
        source.licence or "see its data card",
        (),
        lambda path: iter(()),
        lambda: row_texts(stream, source, limit_bytes),
    )


def open_stream(source: HubSource) -> Any:
    """The rows of a split of a data set on the hub, as dictionaries."""
    what = f"source hub {source.dataset}"
    try:
        import datasets
    except ImportError:
        raise Unreachable(f"{what}: reading the hub needs pip install 'gnomon[hub]'") from None
    try:
        return datasets.load_dataset(source.dataset, source.subset, split=source.split, streaming=True)
    except Exception as error:  # the library lets every kind of network and format error through
        told = str(error).strip().split("\n")[0][:200]
        raise Unreachable(f"{what}: cannot be opened ({type(error).__name__}: {told})") from error


def row_texts(rows: Any, source: HubSource, limit_bytes: float | None) -> Iterator[Text | Lost]:
    """The text of each row, until limit_bytes of text were given."""
    given = 0
    for number, row in enumerate(rows):
        piece = _row(row, number, source)
        given += len(piece.text.encode()) if isinstance(piece, Text) else 0
        yield piece
        if limit_bytes is not None and given >= limit_bytes:
            return


def _row(row: dict[str, Any], number: int, source: HubSource) -> Text | Lost:
    if source.text_column not in row:
        raise GnomonError(
            f"source hub {source.dataset}: no column {source.text_column!r}; it has {', '.join(map(str, row))}: "
            "set text_column"
        )
    text = row_text(row, source.text_column)
    return Text(text, str(number)) if text.strip() else Lost(0, f"row {number} holds no text")


def _local(source: HubSource, root: Path) -> Found:
    folder = root / source.subset if source.subset and (root / source.subset).is_dir() else root
    tables = [f for f in walk(folder, follow_links=True) if suffix_of(f.path) in ("parquet", "jsonl", "ndjson")]
    split = re.compile(rf"(^|[/_.-]){re.escape(source.split)}([/_.-]|$)")
    named = [f for f in tables if split.search(f.name)]
    any_split = any(re.search(r"(^|[/_.-])(train|test|validation|dev)([/_.-]|$)", f.name) for f in tables)
    files = named if named or any_split else tables
    if not files:
        raise GnomonError(f"source hub {root}: no Parquet or JSON-lines files of split {source.split!r} in it")

    def extract(path: Path) -> Iterator[Text | Lost]:
        return parquet_texts(path, source) if suffix_of(path) == "parquet" else read_jsonl(path, source.text_column)

    return Found(
        "hub", root.resolve().name, "local files", source.licence or "see its data card", tuple(files), extract
    )


def parquet_texts(path: Path, source: HubSource) -> Iterator[Text | Lost]:
    """The text column of a Parquet file, a batch of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if source.text_column not in names:
                _row(dict.fromkeys(names), 0, source)
            number = 0
            for batch in table.iter_batches(BATCH_ROWS, columns=[source.text_column]):
                for row in batch.to_pylist():
                    yield _row(row, number, source)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        yield Lost(path.stat().st_size, f"no Parquet: {str(error).splitlines()[0][:120]}")
