"""Weights & Biases: the runs page's CSV, the API's JSON, folders on disk, all without its package."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import read
from gnomon.forecast.metrics import choose_metric

EXPORT = """"Name","State","Notes","User","Created","Runtime","Sweep","lr","model.n_params","train_tokens","eval/loss"
"small","finished","-","me","2026-01-01T00:00:00.000Z","3600","","0.003","1000000","20000000","3.51"
"big","crashed","-","me","2026-01-02T00:00:00.000Z","7200","","0.002","4000000","80000000","3.20"
"big","finished","-","me","2026-01-02T00:00:00.000Z","7300","","0.002","4000000","80000000",""
"""


def test_the_runs_pages_export(tmp_path: Path) -> None:
    path = tmp_path / "wandb_export.csv"
    path.write_text(EXPORT)
    table = read(path)
    assert table.ids() == ("small-1", "big-2", "big-3")
    assert table["status"].tolist() == ["done", "unfinished", "done"]
    assert table["parameters_total"].tolist() == [1e6, 4e6, 4e6] and table["rate"].tolist() == [0.003, 0.002, 0.002]
    assert table["seconds"].tolist() == [3600.0, 7200.0, 7300.0] and np.isnan(table["eval/loss"][2])
    assert choose_metric(table)[0] == "eval/loss" and "Created" not in table


def record(name: str, size: float, wrapped: bool) -> dict:
    config = {"n_params": size, "optimizer": {"lr": 1e-3}, "betas": [0.9, 0.95], "train_tokens": 20 * size}
    return {
        "id": f"id-{name}",
        "name": name,
        "state": "finished",
        "config": {k: {"value": v, "desc": None} for k, v in config.items()} | {"_wandb": {}} if wrapped else config,
        "summary": {"val/loss": {"last": 3.0, "min": 2.9}, "lr": 1e-5, "_runtime": 12, "_timestamp": 1.7e9},
        "history": [{"_step": 20, "train/loss": 3.1}, {"_step": 10, "train/loss": 4.0, "note": "x"}],
    }


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_the_apis_records(tmp_path: Path, suffix: str) -> None:
    rows = [record("a", 1e6, True), record("b", 2e6, False), record("c", 4e6, True)]
    rows[2]["config"] = json.dumps({"N": 4e6})
    path = tmp_path / f"runs{suffix}"
    path.write_text(json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows)))
    table = read(path, {"parameters_total": "n_params"})
    assert table.ids() == ("a", "b", "c") and table["val/loss"].tolist() == [3.0, 3.0, 3.0]
    assert table["rate"].tolist()[:2] == [1e-3, 1e-3] and table["last_rate"].tolist() == [1e-5] * 3
    assert table["train/loss"].tolist() == [3.1, 3.1, 3.1]
    steps, values = table.history["a"]["train/loss"]
    assert steps.tolist() == [10.0, 20.0] and values.tolist() == [4.0, 3.1]


def test_a_rate_that_never_fell_is_no_final_point(tmp_path: Path) -> None:
    rows = [record("a", 1e6, False), {**record("b", 2e6, False), "summary": {"val/loss": 3.0, "lr": 1e-3}}]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(rows))
    table = read(path)
    assert table["annealed"].tolist() == [True, False] and any("half of their peak" in n for n in table.notes)


def test_folders_on_disk(tmp_path: Path) -> None:
    for i, kind in enumerate(("run", "offline-run")):
        files = tmp_path / "wandb" / f"{kind}-20260101_00000{i}-abc{i}" / "files"
        files.mkdir(parents=True)
        (files / "config.yaml").write_text(
            "wandb_version: 1\n_wandb:\n  value:\n    cli_version: 0.18\n"
            f"n_params:\n  value: {10 ** (6 + i)}\nlr:\n  desc: null\n  value: 0.001\n"
            "train_tokens:\n  value: 20000000\n"
        )
        (files / "wandb-summary.json").write_text('{"eval/loss": 3.25, "_wandb": {"runtime": 3}, "bad": NaN}')
    (tmp_path / "wandb" / "latest-run").symlink_to(tmp_path / "wandb" / "run-20260101_000000-abc0")
    for place in (tmp_path, tmp_path / "wandb"):
        table = read(place)
        assert sorted(table.ids()) == ["abc0", "abc1"] and sorted(table["parameters_total"]) == [1e6, 1e7]
        assert table["eval/loss"].tolist() == [3.25, 3.25]
    assert len(read(tmp_path / "wandb" / "offline-run-20260101_000001-abc1")) == 1


def test_a_folder_without_runs_and_a_broken_summary_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match="a folder without runs"):
        read(tmp_path)
    files = tmp_path / "run-20260101_000000-x" / "files"
    files.mkdir(parents=True)
    (files / "wandb-summary.json").write_text("{")
    with pytest.raises(GnomonError, match=r"wandb-summary.json: not readable as JSON"):
        read(tmp_path)


def message(*parts: tuple[int, bytes]) -> bytes:
    """Protobuf fields of bytes, each shorter than 16 KiB."""
    out = b""
    for number, value in parts:
        key = number << 3 | 2
        head = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
        size = len(value)
        out += head + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + value
    return out


def items(values: dict) -> bytes:
    return message(*((1, message((2, k.encode()), (16, json.dumps(v).encode()))) for k, v in values.items()))


def offline_log(records: list[bytes]) -> bytes:
    """LevelDB's log: a record that does not fit its block goes on in the next."""
    out = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in records:
        first = True
        while True:
            room = 32768 - len(out) % 32768
            if room < 7:
                out += bytes(room)
                continue
            piece, record = record[: room - 7], record[room - 7 :]
            kind = (1 if not record else 2) if first else (4 if not record else 3)
            out += struct.pack("<IHB", 0, len(piece), kind) + piece
            first = False
            if not record:
                break
    return out


def test_the_log_of_an_offline_run(tmp_path: Path) -> None:
    folder = tmp_path / "wandb" / "offline-run-20260101_000000-xyz"
    folder.mkdir(parents=True)
    points = [{"_step": s, "eval/loss": 4 - s / 1000, "lr": 1e-3 * (1 - s / 1000)} for s in range(999)]
    curve = [message((2, items(point))) for point in points]
    config = message((17, message((4, items({"n_params": 1e6, "train_tokens": 2e7, "opt": {"lr": 1e-3}})))))
    end = message((3, items({"eval/loss": 3.0})))
    log = offline_log([config, *curve, end, message((18, b""))])
    (folder / "run-xyz.wandb").write_bytes(log)
    table = read(tmp_path)
    assert table.row(0)["eval/loss"] == 3.0 and table["parameters_total"].tolist() == [1e6]
    assert table["status"].tolist() == ["done"] and table["rate"].tolist() == [1e-3]
    assert len(table.history["xyz"]["eval/loss"][0]) == 999
    (folder / "run-xyz.wandb").write_bytes(log[: len(log) // 2])
    assert read(tmp_path)["status"].tolist() == ["unfinished"]
    (folder / "run-xyz.wandb").write_bytes(b"something else")
    with pytest.raises(GnomonError, match="no log of Weights & Biases"):
        read(tmp_path)
