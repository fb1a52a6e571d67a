"""Run tables from anywhere: Parquet, CSV, JSON Lines, exports of Weights & Biases, folders of TensorBoard events.

`read` is the one verb. What a reader did on its own - a name it recognised, a count it filled in - stands in the
table's notes, one sentence each, and the doctor repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers import files, tensorboard, wandb
from gnomon.forecast.readers.checkpoints import mark_finals
from gnomon.forecast.readers.fill import fill_counts
from gnomon.forecast.readers.names import rename
from gnomon.forecast.readers.raw import Raw
from gnomon.forecast.readers.units import UNITS, add_units
from gnomon.forecast.table import RunTable, column_of

__all__ = ["UNITS", "Raw", "read"]


def read(path: Path | str, columns: Mapping[str, str] | None = None, unit: str | None = None) -> RunTable:
    """The run table in a file (.parquet, .csv, .csv.gz, .jsonl, .json) or a folder of runs.

    columns: gnomon's name -> the source's name, where they differ: {"flops": "compute_total"}; well-known names (N,
    tokens_D, train_flops, learning_rate, ...) are recognised without it. unit: of the losses whose name does not say:
    nats, bits (both per token), bits_per_byte or perplexity; a loss that is not in nats is added in nats as
    loss_nats_NAME.
    Raises GnomonError, in one line, when the source is missing, unreadable, newer than this gnomon, has text among
    numbers, or two columns that could be the same quantity.
    """
    path = Path(path)
    raw = _load(path)
    renamed = rename(raw, columns or {}, str(path))
    table = RunTable(
        {name: column_of(name, values, str(path)) for name, values in renamed.columns.items()},
        renamed.notes,
        renamed.history,
    )
    return add_units(fill_counts(mark_finals(table)), unit)


def _load(path: Path) -> Raw:
    if path.is_dir():
        for reader in (wandb, tensorboard):
            if reader.is_folder(path):
                return reader.read_folder(path)
        raise GnomonError(
            f"{path}: a folder without runs; a Weights & Biases folder holds run-*/files/config.yaml, a TensorBoard "
            "folder events.out.tfevents files"
        )
    raw = files.load(path)
    return wandb.tidy(raw) if wandb.is_export(raw) else raw
