"""The run table: the same values from any format, and one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import RunTable, read


@pytest.fixture
def table(make_ladder) -> RunTable:
    rows = make_ladder(budgets=(1e11, 3e11)).rows()
    rows[0].update(seed=2**62 + 1, numerics="1", code="0123", budget=None, device='a "b", c')
    return RunTable.from_rows(rows)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_survives_writing_and_reading(table, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    table.write(path)
    again = read(path)
    assert again.hash == table.hash
    assert set(again.columns) == set(table.columns)
    for name in table.columns:
        np.testing.assert_array_equal(again[name], table[name])
    assert again.row(0)["seed"] == 2**62 + 1 and again.row(0)["numerics"] == "1"


def test_json_lines_give_the_same_table(table, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    rows = [{k: None if v != v else v for k, v in row.items()} for row in table.rows()]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read(path).hash == table.hash


def test_the_hash_knows_values_not_order(table) -> None:
    shuffled = table.select(np.random.default_rng(0).permutation(len(table)))
    reordered = RunTable({name: shuffled.columns[name] for name in sorted(shuffled.columns)})
    assert reordered.hash == table.hash
    changed = dict(table.columns)
    changed["flops"] = changed["flops"] * (1 + 1e-15)
    assert RunTable(changed).hash != table.hash


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("name,N,C,loss,flops\nx,10,60,2.5,-1\n")
    table = read(path, {"run_id": "name", "parameters_total": "N", "flops": "C"})
    assert table["flops"].tolist() == [60.0] and table["parameters_total"].tolist() == [10.0]
    assert table["loss"].tolist() == [2.5] and table.ids() == ("x",)


def test_missing_cells_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("run_id,flops,annealed,seed,status\na,,,,\n")
    row = read(path).row(0)
    assert np.isnan(row["flops"]) and row["annealed"] is True and row["seed"] == -1 and row["status"] == ""


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.csv", "flops,tokens\n1e9,many\n", "row 1, column tokens holds 'many'"),
        ("t.csv", "flops,tokens\n1e9\n", "row 1 has 1 fields"),
        ("t.csv", "annealed\nperhaps\n", "true or false"),
        ("t.jsonl", '{"flops": 1}\n[2]\n', "line 2"),
        ("t.jsonl", "{flops", "not readable as jsonl"),
        ("t.parquet", "no parquet", "not readable as parquet"),
        ("t.xls", "", "is .parquet, .csv or .jsonl"),
    ],
)
def test_unreadable_files_get_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(GnomonError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_table_of_the_version_before_is_read_and_a_newer_one_refused(table, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "table.parquet"
    table.write(path)
    raw = pq.read_table(path)
    for version, readable in ((0, True), (1, True), (2, False)):
        pq.write_table(raw.replace_schema_metadata({"schema_version": str(version)}), path)
        if readable:
            assert read(path).hash == table.hash
        else:
            with pytest.raises(GnomonError, match="schema_version is 2"):
                read(path)


def test_missing_file_and_missing_column(table, tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(GnomonError, match="no column 'bits_per_byte_other'"):
        table["bits_per_byte_other"]
    assert np.isnan(table["rate"]).all()
    with pytest.raises(GnomonError, match="no run 'zzz'"):
        table.value("zzz", "flops")
