"""The learning curve of a run: one row per window of steps, in Parquet, in step with the checkpoints.

Rows wait in memory and are written with each checkpoint, the whole file at once (a run has some hundred rows). A
resumed run drops what lies beyond its checkpoint, so no step is ever there twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_bytes

METRICS_FILE = "metrics.parquet"
METRICS_SCHEMA = 1
COLUMNS = (
    "step", "tokens", "flops", "loss_nats", "bits_per_byte", "grad_norm", "rate", "seconds", "tokens_per_s",
    "flops_per_s", "skipped_steps", "alarms",
)  # fmt: skip


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file, in order. Raises GnomonError when it is unreadable or of another schema version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise GnomonError(
            f"{path}: not readable as Parquet ({error}); remove it to lose the curve and keep the run"
        ) from None
    version = (table.schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version not in (str(METRICS_SCHEMA), str(METRICS_SCHEMA - 1)):
        raise GnomonError(
            f"{path}: schema_version is {version}; this gnomon reads {METRICS_SCHEMA - 1}–{METRICS_SCHEMA}"
        )
    return table.to_pylist()


class Metrics:
    """Rows of one run. extra: columns of terms beyond the usual ones."""

    def __init__(self, run_dir: Path, extra: tuple[str, ...] = ()) -> None:
        self.path = run_dir / METRICS_FILE
        self.columns = (*COLUMNS, *extra)
        self.rows: list[dict[str, float]] = []

    def resume(self, step: int) -> None:
        """Take up the rows up to and including step; later ones belong to work that was lost."""
        self.rows = [row for row in read_metrics(self.path) if row["step"] <= step] if self.path.exists() else []

    def append(self, row: dict[str, float]) -> None:
        self.rows.append({name: row[name] for name in self.columns})

    def flush(self) -> None:
        """Write all rows. Raises JobFailed when the disk is full; the file is then as it was."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        whole = ("step", "tokens", "skipped_steps", "alarms")
        schema = pa.schema(
            [(name, pa.int64() if name in whole else pa.float64()) for name in self.columns],
            metadata={"schema_version": str(METRICS_SCHEMA)},
        )
        table = pa.Table.from_pylist(self.rows, schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_bytes(self.path, sink.getvalue().to_pybytes())
