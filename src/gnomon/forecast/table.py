"""The run table: one row a run, columns as numpy arrays; written as Parquet or CSV, read by gnomon.forecast.readers.

gnomon's own ladder writes it; anybody's table with the same columns, or with a mapping of names, is as good. A missing
number is NaN, a missing text is "", so a partial table can be read and the doctor can say what is missing.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.common.files import atomic_path

TABLE_SCHEMA_VERSION = 1

# name -> (kind, what it holds). Every evaluation set NAME adds loss_nats_NAME, bits_per_byte_NAME and stderr_NAME.
COLUMNS: dict[str, tuple[str, str]] = {
    "run_id": ("text", "name of the run: hash of its plan"),
    "study": ("text", "which study or ladder the run belongs to"),
    "width": ("number", "model width"),
    "depth": ("number", "transformer blocks"),
    "head_dim": ("number", "width of an attention head"),
    "vocab": ("number", "vocabulary entries"),
    "context": ("number", "tokens a row predicts"),
    "parameters_total": ("number", "every trained number"),
    "parameters_no_embedding": ("number", "without the embedding table"),
    "parameters_matmul": ("number", "parameters a token is multiplied with: blocks and head"),
    "tokens": ("number", "tokens trained on"),
    "unique_tokens": ("number", "different tokens among them"),
    "flops": ("number", "training operations, counted from the shapes"),
    "budget": ("number", "nominal compute of the isoFLOP group the run belongs to, or missing"),
    "annealed": ("flag", "the value is from after the rate's decay (missing: taken as true)"),
    "batch_tokens": ("number", "tokens a step"),
    "rate": ("number", "peak learning rate at the base width"),
    "last_rate": ("number", "learning rate at the last step"),
    "schedule": ("text", "shape of the rate's schedule: cosine, linear, constant, ..."),
    "anneal_data": ("text", "text of the decay phase, where it is not that of the rest"),
    "steps": ("number", "optimiser steps"),
    "seed": ("integer", "seed of the weights"),
    "order_seed": ("integer", "seed of the row order"),
    "corpus": ("text", "hash of the corpus"),
    "tokenizer": ("text", "hash of the tokenizer"),
    "code": ("text", "hash of the code that trained it"),
    "numerics": ("text", "version of the numerics"),
    "dtype": ("text", "compute type"),
    "trunk": ("flag", "branched from a trunk whose rates belong to a longer horizon"),
    "registered": ("flag", "a target that was forecast before it ran"),
    "status": ("text", "done or diverged (missing: done)"),
    "seconds": ("number", "wall time"),
    "device": ("text", "what it ran on"),
}
EVALUATION_PREFIXES = {
    "loss_nats_": "loss on that evaluation set, nats per token",
    "bits_per_byte_": "loss on that evaluation set, bits per byte of text",
    "stderr_": "standard error of the bits per byte over the evaluation rows",
}
History = Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]
_DEFAULT_FLAGS = {"annealed": True}
_TRUE, _FALSE = {"true", "1", "1.0", "yes"}, {"false", "0", "0.0", "no"}


def kind_of(name: str) -> str:
    """text, number, integer, flag, or any (a column gnomon does not know)."""
    if name in COLUMNS:
        return COLUMNS[name][0]
    return "number" if name.startswith(tuple(EVALUATION_PREFIXES)) else "any"


def describe_columns() -> str:
    """The columns, one a line, for people."""
    lines = [f"{name:24} {kind:8} {what}" for name, (kind, what) in COLUMNS.items()]
    return "\n".join(lines + [f"{prefix + 'NAME':24} number   {what}" for prefix, what in EVALUATION_PREFIXES.items()])


class RunTable:
    """Columns of equal length, each a numpy array: float64, int64, bool or text. Not changed after it is made.

    notes: what a reader did on its own (names it recognised, counts it filled in), one sentence each. history: run id
    -> {metric: (steps [n], values [n])}, where the source had whole curves.
    """

    def __init__(
        self, columns: Mapping[str, np.ndarray], notes: Sequence[str] = (), history: History | None = None
    ) -> None:
        lengths = {len(c) for c in columns.values()}
        if len(lengths) > 1:
            raise GnomonError(
                f"run table: columns of different lengths {sorted(lengths)}; every column has one value a run"
            )
        self.columns = dict(columns)
        self.notes = tuple(notes)
        self.history: History = history or {}

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], where: str = "run table") -> RunTable:
        """A table of these rows; a key that a row lacks is missing there. Raises GnomonError on text among numbers."""
        rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: column_of(name, [row.get(name) for row in rows], where) for name in names})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> np.ndarray:
        """The column; a known one that the table lacks is returned as all missing. Raises GnomonError on others."""
        if name in self.columns:
            return self.columns[name]
        kind = kind_of(name)
        if kind == "any" or name.startswith(tuple(EVALUATION_PREFIXES)):
            known = ", ".join(sorted(n for n in self.columns if kind_of(n) != "text"))
            raise GnomonError(f"run table: no column {name!r}; it has {known or 'no columns'}")
        return column_of(name, [None] * len(self), "run table")

    def row(self, index: int) -> dict[str, Any]:
        """Row `index` as plain Python values."""
        return {name: column[index].item() for name, column in self.columns.items()}

    def rows(self) -> list[dict[str, Any]]:
        lists = {name: column.tolist() for name, column in self.columns.items()}
        return [{name: lists[name][i] for name in lists} for i in range(len(self))]

    def value(self, run_id: str, name: str) -> Any:
        """One cell. Raises GnomonError when no row has this run id."""
        found = np.flatnonzero(self["run_id"] == run_id)
        if not len(found):
            raise GnomonError(f"run table: no run {run_id!r} among its {len(self)} rows")
        return self[name][found[0]].item()

    def select(self, keep: np.ndarray) -> RunTable:
        """The rows that a boolean mask or an index array names."""
        return RunTable({name: column[keep] for name, column in self.columns.items()}, self.notes, self.history)

    def ids(self, keep: np.ndarray | None = None) -> tuple[str, ...]:
        """Names of the rows: run_id, or "row 7" (counted from 1) where there is none."""
        names = [name or f"row {i + 1}" for i, name in enumerate(self["run_id"].tolist())]
        return tuple(names if keep is None else np.asarray(names, dtype=object)[keep])

    @property
    def hash(self) -> str:
        """SHA-256 over the values, whatever the file format, the order of the columns and the order of the rows."""
        names = sorted(n for n, c in self.columns.items() if not _all_missing(c))
        lists = [self.columns[name].tolist() for name in names]
        lines = sorted(repr([None if v != v else v for v in values]) for values in zip(*lists, strict=True))
        return hashlib.sha256("\n".join([repr(names), *lines]).encode()).hexdigest()

    def write(self, path: Path | str) -> None:
        """To .parquet (with schema_version in the metadata) or .csv, atomically."""
        path = Path(path)
        with atomic_path(path) as temporary:
            if path.suffix == ".csv":
                _write_csv(temporary, self)
            elif path.suffix == ".parquet":
                _write_parquet(temporary, self)
            else:
                raise GnomonError(f"{path}: a run table is written as .parquet or .csv")


def column_of(name: str, values: list[Any], where: str) -> np.ndarray:
    """Values of any origin as the array that the column's kind asks for."""
    kind = kind_of(name)
    if kind == "any":
        try:
            return _parsed("number", name, values, where)
        except GnomonError:
            kind = "text"
    return _parsed(kind, name, values, where)


def _parsed(kind: str, name: str, values: list[Any], where: str) -> np.ndarray:
    if kind == "text":
        return np.array(["" if is_missing(v) else _plain_text(v) for v in values], dtype=np.str_)
    if kind == "number":
        quick = _all_numbers(values)
        if quick is not None:
            return quick
    parse = {"number": _number, "integer": _integer, "flag": _flag}[kind]
    default = {"number": math.nan, "integer": -1, "flag": _DEFAULT_FLAGS.get(name, False)}[kind]
    parsed = []
    for i, value in enumerate(values):
        try:
            parsed.append(default if is_missing(value) else parse(value))
        except (TypeError, ValueError, OverflowError):
            what = {"number": "a number", "integer": "a 64-bit integer", "flag": "true or false"}[kind]
            raise GnomonError(f"{where}: row {i + 1}, column {name} holds {value!r}; {what} is expected") from None
    return np.array(parsed, dtype={"number": np.float64, "integer": np.int64, "flag": np.bool_}[kind])


def _all_numbers(values: list[Any]) -> np.ndarray | None:
    """The values as floats at once, where every one is a number, a number's text or missing; else None."""
    if any(type(v) is bool for v in values):
        return None
    try:
        return np.array([math.nan if v is None or v == "" else v for v in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _integer(value: Any) -> int:
    number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else int(_number(value))
    if not -(2**63) <= number < 2**63:
        raise OverflowError(value)
    return number


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError(value)
    return text in _TRUE


def _plain_text(value: Any) -> str:
    """Text of a value; 3.0, as a CSV reader may have made of 3, is "3"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _all_missing(column: np.ndarray) -> bool:
    if column.dtype.kind == "f":
        return bool(np.isnan(column).all())
    return column.dtype.kind == "U" and not bool((column != "").any())


def _write_parquet(path: Path, table: RunTable) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(column.tolist()) for name, column in table.columns.items()}
    metadata = {"schema_version": str(TABLE_SCHEMA_VERSION)}
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)


def _write_csv(path: Path, table: RunTable) -> None:
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(table.columns)
        for row in table.rows():
            writer.writerow(["" if is_missing(v) else repr(v) if isinstance(v, float) else v for v in row.values()])
