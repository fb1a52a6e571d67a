"""Tables with other people's names: recognised, shown, refused where two could be meant; counts filled in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import read
from gnomon.forecast.metrics import choose_metric


def write(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("size", "kind"),
    [("params_N", "parameters_total"), ("N", "parameters_total"), ("n_params", "parameters_total"),
     ("numParams", "parameters_total"), ("config.model.n_params", "parameters_total"),
     ("non_embedding_params", "parameters_no_embedding"), ("params_no_embed", "parameters_no_embedding")],
)  # fmt: skip
@pytest.mark.parametrize("tokens", ["tokens_D", "D", "train_tokens", "Tokens Trained", "throughput/total_tokens"])
def test_well_known_names_are_recognised_and_shown(tmp_path: Path, size: str, kind: str, tokens: str) -> None:
    table = read(write(tmp_path, f"name,{size},{tokens},loss\na,1e6,2e7,3.5\nb,2e6,2e7,3.3\n"))
    assert table[kind].tolist() == [1e6, 2e6] and table["tokens"].tolist() == [2e7, 2e7]
    assert table.ids() == ("a", "b")
    assert f"{size} as {kind}" in table.notes[0] and f"{tokens} as tokens" in table.notes[0]


def test_missing_flops_are_counted_in_floating_point(tmp_path: Path) -> None:
    table = read(write(tmp_path, "N,D,loss\n1000000000000,10000000000000,1.7\n"))
    assert table["flops"].tolist() == [6e25]
    assert any("flops = 6" in note for note in table.notes)


def test_two_columns_that_could_be_tokens_are_not_guessed_between(tmp_path: Path) -> None:
    path = write(tmp_path, "N,tokens_D,train_tokens,loss\n1e6,1e7,2e7,3\n1e6,2e7,2e7,2.9\n")
    with pytest.raises(GnomonError, match="tokens could be 'tokens_D' or 'train_tokens'") as caught:
        read(path)
    assert "--column tokens=tokens_D" in str(caught.value) and "\n" not in str(caught.value)
    assert read(path, {"tokens": "tokens_D"})["tokens"].tolist() == [1e7, 2e7]


def test_columns_that_agree_are_no_ambiguity_and_rates_that_differ_are_a_note(tmp_path: Path) -> None:
    table = read(write(tmp_path, "N,n_params,D,lr,max_lr,loss\n5,5.0,7,1e-3,2e-3,2\n"))
    assert table["parameters_total"].tolist() == [5.0] and "rate" not in table
    assert any("rate could be 'lr' or 'max_lr'" in note for note in table.notes)


def test_gnomons_own_names_win_and_leave_no_note(make_ladder, tmp_path: Path) -> None:
    table = make_ladder().table()
    table.write(tmp_path / "t.parquet")
    again = read(tmp_path / "t.parquet")
    assert again.hash == table.hash and again.notes == ()


def test_gzip_and_json_lists_are_read(tmp_path: Path) -> None:
    text = "N,D,C,val_loss\n1e6,1e7,6e13,3.1\n"
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    rows = [{"N": 1e6, "D": 1e7, "C": 6e13, "val_loss": 3.1}]
    assert read(path).hash == read(write(tmp_path, json.dumps(rows), "t.json")).hash
    (tmp_path / "bad.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(GnomonError, match=r"bad.csv.gz: not readable as csv"):
        read(tmp_path / "bad.csv.gz")


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match="'loss' twice"):
        read(write(tmp_path, "N,loss,loss\n1,2,3\n"))


def test_checkpoints_before_the_last_of_a_run_are_not_final(tmp_path: Path) -> None:
    table = read(write(tmp_path, "run,N,D,loss\na,10,1,5\na,10,2,4\nb,20,1,4.5\na,10,3,3.5\n"))
    assert table["annealed"].tolist() == [False, False, True, True]
    assert any("2 rows are checkpoints" in note for note in table.notes)


def test_a_perplexity_is_forecast_as_its_logarithm(tmp_path: Path) -> None:
    table = read(write(tmp_path, "N,D,val_perplexity\n1e6,1e7,20.0\n"))
    assert table["loss_nats_val_perplexity"].tolist() == [np.log(20.0)]
    assert choose_metric(table)[0] == "loss_nats_val_perplexity"
    assert any("ln(val_perplexity)" in note for note in table.notes)


@pytest.mark.parametrize(
    ("unit", "name", "value"),
    [("nats", "loss_nats_loss", 2.0), ("bits", "loss_nats_loss", 2 * np.log(2)),
     ("bits_per_byte", "bits_per_byte_loss", 2.0), ("perplexity", "loss_nats_loss", np.log(2.0))],
)  # fmt: skip
def test_a_unit_that_the_name_does_not_say_is_told(tmp_path: Path, unit: str, name: str, value: float) -> None:
    table = read(write(tmp_path, "N,D,loss\n1e6,1e7,2.0\n"), unit=unit)
    assert table[name].tolist() == pytest.approx([value]) and choose_metric(table)[0] == name
    with pytest.raises(GnomonError, match="nats, bits, bits_per_byte, perplexity"):
        read(write(tmp_path, "N,loss\n1,2\n"), unit="joule")


def test_the_likeliest_loss_is_chosen_and_said(tmp_path: Path) -> None:
    table = read(write(tmp_path, "N,D,train/loss,eval/loss,loss_scale\n1e6,1e7,2.0,2.1,65536\n"))
    name, said = choose_metric(table)
    assert name == "eval/loss" and "train/loss" in said
    assert choose_metric(table, "train/loss") == ("train/loss", "")
    with pytest.raises(GnomonError, match="--metric"):
        choose_metric(read(write(tmp_path, "N,D,accuracy\n1,2,3\n")))
