"""The run table says what the runs did, in the units it names."""

from __future__ import annotations

import math

import pytest

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json
from gnomon.forecast import read
from gnomon.forecast.table import COLUMNS
from gnomon.ladder.table import read_result, row, run_table
from gnomon.recipe.flops import matmul_parameters, train_flops


def test_a_row_holds_plan_result_and_losses(tmp_path, plan_of, run_in):
    plan = plan_of(7)
    run_in(tmp_path, plan, registry_head="f" * 64)
    table = run_table(tmp_path, [(plan, {"study": "s", "budget": 1e9})])
    found = table.row(0)
    assert set(COLUMNS) <= set(found)
    assert found["parameters_matmul"] == matmul_parameters(plan.shape) == 2 * (4 * 32**2 + 3 * 32 * 96) + 300 * 32
    assert found["parameters_total"] - found["parameters_no_embedding"] == 300 * 32
    assert found["flops"] == pytest.approx(train_flops(plan))
    assert (found["tokens"], found["batch_tokens"]) == (100 * 4 * 32, 4 * 32)
    assert (found["study"], found["budget"], found["seed"]) == ("s", 1e9, 7)
    assert (found["annealed"], found["registered"], found["trunk"], found["status"]) == (True, True, False, "done")
    assert found["last_rate"] == 0 and "decay" in found["schedule"]
    assert (found["bits_per_byte_documents"], found["loss_nats_documents"], found["stderr_documents"]) == (
        1.5,
        3.0,
        0.01,
    )


def test_unfinished_runs_are_left_out_and_diverged_ones_have_no_loss(tmp_path, plan_of, run_in):
    run_in(tmp_path, plan_of(0))
    run_in(tmp_path, plan_of(1), status="diverged", steps=3)
    run_in(tmp_path, plan_of(2), status=None)
    table = run_table(tmp_path, [(plan_of(i), {}) for i in range(4)])
    assert table["run_id"].tolist() == [plan_of(0).run_id, plan_of(1).run_id]
    assert table["status"].tolist() == ["done", "diverged"]
    assert math.isnan(table["bits_per_byte_documents"][1])
    assert table["annealed"].tolist() == [True, False]


def test_the_corpus_tells_how_many_tokens_were_new(tmp_path, plan_of, run_in):
    few, many = plan_of(0, corpus="a" * 64), plan_of(0, corpus="b" * 64)
    for plan, tokens in ((few, 5000), (many, 10**9)):
        run_in(tmp_path, plan)
        folder = tmp_path / "corpora" / plan.corpus[:16]
        write_json(folder / "manifest.json", {"splits": {"train": {"tokens": tokens}}}, 1)
        (folder / "tokenizer.json").write_text("{}")
    table = run_table(tmp_path, [(few, {}), (many, {})])
    assert table["unique_tokens"].tolist() == [5000, many.tokens]
    assert len(table["tokenizer"][0]) == 64


def test_the_table_survives_the_disk(tmp_path, plan_of, run_in):
    plan = plan_of(2**62 + 1)  # a target's seed uses all bits
    run_in(tmp_path, plan)
    table = run_table(tmp_path, [(plan, {"study": "s"})])
    for name in ("table.parquet", "table.csv"):
        table.write(tmp_path / name)
        again = read(tmp_path / name)
        assert again.hash == table.hash
        assert again["seed"].tolist() == [2**62 + 1]


def test_a_branch_is_marked_as_trunk_and_a_missing_budget_is_nan(plan_of):
    result = {
        "status": "done", "tokens": 1, "flops": 1.0, "steps": 1, "registry_head": "", "seconds": 1.0, "device": "",
        "evaluations": {},
    }  # fmt: skip
    found = row(plan_of(0, parent="abc@10"), result)
    assert found["trunk"] is True and math.isnan(found["budget"])


def test_a_damaged_result_is_named(tmp_path, plan_of, run_in):
    run_in(tmp_path, plan_of(0))
    path = tmp_path / "runs" / plan_of(0).run_id / "result.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(GnomonError, match=r"result\.json: not readable as JSON"):
        read_result(path.parent)
