"""Files of rows: Parquet, CSV and JSON Lines (also gzipped), and a JSON list of objects."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers.raw import Raw, flat
from gnomon.forecast.table import TABLE_SCHEMA_VERSION

SUFFIXES = (".parquet", ".csv", ".jsonl", ".json")


def load(path: Path) -> Raw:
    """The columns of a file. Raises GnomonError when it is missing or not readable as what its suffix says."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in SUFFIXES or (path.suffix == ".gz" and suffix == ".parquet"):
        raise GnomonError(f"{path}: a run table is .parquet, .csv or .jsonl (these two also .gz), or a runs' folder")
    if not path.is_file():
        raise GnomonError(f"{path}: no such file")
    if suffix == ".parquet":
        return _parquet(path)
    try:
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8-sig")
        if suffix == ".csv":
            return _csv(path, text)
        return _json(path, text) if suffix == ".json" else _lines(path, text)
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise GnomonError(f"{path}: not readable as {suffix[1:]} ({error})") from None


def _csv(path: Path, text: str) -> Raw:
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise GnomonError(f"{path}: the header names {twice[0]!r} twice; every column needs a name of its own")
    rows = [row for row in reader if row]
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise GnomonError(f"{path}: row {i + 1} has {len(row)} fields, the header {len(header)}")
    if not rows:
        return Raw({name: [] for name in header})
    return Raw({name: list(values) for name, values in zip(header, zip(*rows, strict=True), strict=True)})


def _lines(path: Path, text: str) -> Raw:
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return _objects(path, rows, "line")


def _json(path: Path, text: str) -> Raw:
    value = json.loads(text)
    if isinstance(value, dict) and isinstance(value.get("runs"), list):
        value = value["runs"]
    if not isinstance(value, list):
        raise GnomonError(f"{path}: holds {type(value).__name__}; a list of runs is expected")
    return _objects(path, value, "entry")


def _objects(path: Path, rows: list[Any], what: str) -> Raw:
    from gnomon.forecast.readers import wandb

    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise GnomonError(f"{path}: {what} {i + 1} holds {type(row).__name__}; an object a {what} is expected")
    if wandb.is_records(rows):
        return wandb.read_records(rows)
    return Raw.from_rows([flat(row) for row in rows])


def _parquet(path: Path) -> Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise GnomonError(f"{path}: not readable as parquet ({str(error).splitlines()[0]})") from None
    version = (table.schema.metadata or {}).get(b"schema_version")
    if version is not None and int(version) not in (TABLE_SCHEMA_VERSION - 1, TABLE_SCHEMA_VERSION):
        raise GnomonError(
            f"{path}: schema_version is {int(version)}; "
            f"this gnomon reads {TABLE_SCHEMA_VERSION - 1}–{TABLE_SCHEMA_VERSION}"
        )
    return Raw({name: table.column(name).to_pylist() for name in table.column_names})
