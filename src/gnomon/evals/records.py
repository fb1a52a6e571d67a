"""What is kept of an examination: one row per run, item and sample, in Parquet, so that every table is a query.

    records/<run>/<task>-<hash>.parquet            finished, sorted by item and sample
    records/<run>/<task>-<hash>.parts/00000.parquet ...   while it runs

An interrupted examination reads its parts and asks only what is missing; the finished file is the same either way.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import atomic_path

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Record:
    """One sample of one item by one model. Columns that do not apply are nan, -1, "" or empty.

    value: the grade, 0 to 1. choice_log_probabilities: nats, summed over a choice's tokens. greedy: the first choice
    all of whose tokens were the likeliest, or -1. p_gold, p_gold_token, p_gold_byte: the right choices' share among
    all, by sum, per token, per byte. right_sum, right_token, right_byte: whether the likeliest is right under each.
    gold_bits_per_byte: of the right choice after its context (the likeliest right one). margin: log-probability of the
    right choice over the best wrong one. contaminated: 1, 0, or -1 where it was not looked for. error: why the model
    could not be asked.
    """

    run: str
    task: str
    task_hash: str
    item: str
    sample: int
    cluster: str
    prompt_hash: str
    seed: int = 0
    temperature: float = 0.0
    gold: tuple[int, ...] = ()
    choice_log_probabilities: tuple[float, ...] = ()
    choice_tokens: tuple[int, ...] = ()
    choice_bytes: tuple[int, ...] = ()
    greedy: int = -1
    p_gold: float = float("nan")
    p_gold_token: float = float("nan")
    p_gold_byte: float = float("nan")
    right_sum: int = -1
    right_token: int = -1
    right_byte: int = -1
    gold_bits_per_byte: float = float("nan")
    margin: float = float("nan")
    value: float = float("nan")
    prediction: str = ""
    verdict: str = ""
    text: str = ""
    contaminated: int = -1
    error: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.item, self.sample


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(),
             "tuple[int, ...]": pa.list_(pa.int64()), "tuple[float, ...]": pa.list_(pa.float64())}  # fmt: skip
    columns = [pa.field(f.name, kinds[str(f.type)]) for f in dataclasses.fields(Record)]
    return pa.schema(columns, metadata={"schema_version": str(SCHEMA_VERSION)})


def _write(path: Path, records: Iterable[Record]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{f.name: getattr(r, f.name) for f in dataclasses.fields(r)} for r in records]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), temporary)


def read(path: Path) -> list[Record]:
    """The records of one file. Raises GnomonError when it is not one, or a newer gnomon wrote it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise GnomonError(f"{path}: not a file of records ({str(error).splitlines()[0]})") from None
    version = int((table.schema.metadata or {}).get(b"schema_version", b"0"))
    if version > SCHEMA_VERSION or not version:
        raise GnomonError(f"{path}: records of version {version}; this gnomon reads {SCHEMA_VERSION}")
    names = {f.name for f in dataclasses.fields(Record)}
    rows: list[dict[str, Any]] = table.select([c for c in table.column_names if c in names]).to_pylist()
    out = []
    for row in rows:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        out.append(Record(**values))
    return out


class Store:
    """The records of one run on one task. Append as they come; finish() makes the one file that others read."""

    def __init__(self, home: Path, run: str, task: str, task_hash: str) -> None:
        self.path = home / "records" / run / f"{task}-{task_hash[:12]}.parquet"
        self.parts = self.path.with_suffix(".parts")
        self._next = 0

    @property
    def finished(self) -> bool:
        return self.path.exists()

    def begun(self) -> list[Record]:
        """What earlier sittings wrote: all of it when finished."""
        if self.finished:
            return read(self.path)
        found: dict[tuple[str, int], Record] = {}
        for part in sorted(self.parts.glob("*.parquet")):
            self._next = int(part.stem) + 1
            found.update({record.key: record for record in read(part)})
        return list(found.values())

    def append(self, records: Sequence[Record]) -> None:
        """Keep these, whatever happens next."""
        if records:
            self.parts.mkdir(parents=True, exist_ok=True)
            _write(self.parts / f"{self._next:05d}.parquet", records)
            self._next += 1

    def finish(self, order: Sequence[str]) -> list[Record]:
        """All records, by the order of items and then samples, as one file; the parts go."""
        place = {item: i for i, item in enumerate(order)}
        records = sorted(self.begun(), key=lambda r: (place[r.item], r.sample))
        _write(self.path, records)
        shutil.rmtree(self.parts, ignore_errors=True)
        return records
