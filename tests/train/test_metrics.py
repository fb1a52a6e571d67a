"""The learning curve's file: schema, resume, damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.train.metrics import COLUMNS, METRICS_FILE, Metrics, read_metrics


def row(step: int) -> dict[str, float]:
    return {name: step if name in ("step", "tokens") else step / 2 for name in (*COLUMNS, "mine")}


def test_rows_beyond_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, ("mine",))
    for step in (1, 2, 3):
        metrics.append(row(step))
    metrics.flush()
    again = Metrics(tmp_path, ("mine",))
    again.resume(2)
    for step in (3, 4):
        again.append(row(step))
    again.flush()
    found = read_metrics(tmp_path / METRICS_FILE)
    assert [r["step"] for r in found] == [1, 2, 3, 4]
    assert found[3] == row(4) and isinstance(found[3]["step"], int)


def test_another_schema_version_and_damage_are_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / METRICS_FILE
    pq.write_table(pa.table({"step": [1]}, metadata=None), path)
    with pytest.raises(GnomonError, match="schema_version is none"):
        read_metrics(path)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(GnomonError, match=r"metrics\.parquet: not readable as Parquet"):
        read_metrics(path)
