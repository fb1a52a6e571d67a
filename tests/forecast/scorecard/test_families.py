"""A folder of run tables becomes families, sources and curves by its columns alone."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast.scorecard.families import read_collection


def write(path: Path, rows: list[dict[str, object]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = "\n".join([",".join(names), *(",".join(str(row.get(n, "")) for n in names) for row in rows)]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def loss(n: float, d: float) -> float:
    return 1.7 + 400 * n**-0.34 + 400 * d**-0.28


def sweep(family: str, budgets: int = 5, smallest: float = 3e7, **more: object) -> list[dict[str, object]]:
    """An isoFLOP sweep of seven sizes a budget."""
    rows: list[dict[str, object]] = []
    for b in range(budgets):
        compute = 6 * 16 * 40 * smallest**2 * 4**b
        for i in range(7):
            n = smallest * 2**b * 1.6**i
            d = compute / 6 / n
            row = {"family": family, "run_id": f"{b}.{i}", "params_N": n, "tokens_D": d, "loss": loss(n, d)}
            rows.append(row | {"flops_budget": compute, "is_final": 1} | more)
    return rows


def test_an_unseen_folder_needs_no_code(tmp_path: Path) -> None:
    write(tmp_path / "mylab2031_runs.csv", sweep("a"))
    write(tmp_path / "other.csv.gz", sweep("b", smallest=4e7))
    found = read_collection(tmp_path)
    assert found.sources == ["mylab", "other"]
    assert all(f.uses == {"rolling_origin", "isoflop"} and f.clean and f.annealed for f in found.families)
    assert len(np.unique(found.families[0].budget)) == 5


def test_a_source_column_wins_over_the_file_name(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", sweep("a", source="one paper"))
    write(tmp_path / "y.csv", sweep("b", source="one paper", smallest=4e7))
    assert read_collection(tmp_path).sources == ["one paper"]


def test_the_two_tables_of_one_figure_are_one_source(tmp_path: Path) -> None:
    write(tmp_path / "chinchilla_epoch.csv", sweep("fig4"))
    collected = sweep("ml", source="ml_scalefit", dataset="massivetext", model="chinchilla", smallest=4e7)
    write(tmp_path / "chinchilla_mlscalefit_isoflop.csv", collected)
    found = read_collection(tmp_path)
    assert found.sources == ["chinchilla"]
    assert [f.name for f in found.using("rolling_origin")] == ["fig4"]
    assert [f.name for f in found.using("isoflop")] == ["ml"]


def test_runs_that_two_files_of_a_source_share_are_scored_once(tmp_path: Path) -> None:
    write(tmp_path / "lab_all.csv", sweep("a"))
    write(tmp_path / "lab_isoflop.csv", sweep("b"))
    scored = read_collection(tmp_path).using("rolling_origin")
    assert [f.name for f in scored] == ["a"]


def test_an_overflowed_count_is_replaced_by_6nd(tmp_path: Path) -> None:
    rows = sweep("a")
    rows[-1]["flops_C"] = -4.2e18
    rows[0]["flops_C"] = 6 * float(str(rows[0]["params_N"])) * float(str(rows[0]["tokens_D"]))
    write(tmp_path / "a.csv", rows)
    family = read_collection(tmp_path).families[0]
    np.testing.assert_allclose(family.flops_C, 6 * family.params_N * family.tokens_D)


def trajectories(lengths: int) -> list[dict[str, object]]:
    """Ten sizes trained to `lengths` different lengths, ten checkpoints each."""
    rows: list[dict[str, object]] = []
    for i in range(10):
        for step in range(1, 11):
            n, d = 5e7 * 1.5**i, 2e9 * (1 + i % lengths) * step
            row = {"family": "t", "run_id": f"r{i}", "params_N": n, "tokens_D": d, "loss": loss(n, d)}
            rows.append(row | {"is_final": int(step == 10)})
    return rows


def test_only_ends_of_runs_count_where_they_show_a_surface(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", trajectories(5))
    family = read_collection(tmp_path).families[0]
    assert family.annealed
    assert len(family) == 10


def test_checkpoints_stand_in_where_every_run_has_one_length(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", trajectories(1))
    family = read_collection(tmp_path).families[0]
    assert not family.annealed
    assert len(family) == 100
    assert not family.clean


def test_outliers_of_the_source_leave_but_those_of_a_parabola_stay(tmp_path: Path) -> None:
    rows = sweep("a", outlier="False", reason="none")
    rows[0] |= {"outlier": "True", "reason": "spline_outlier"}
    rows[1] |= {"outlier": "True", "reason": "off_center"}
    write(tmp_path / "a.csv", rows)
    assert len(read_collection(tmp_path).families[0]) == len(rows) - 1


def test_a_sweep_of_tiny_or_interpolated_models_is_not_clean(tmp_path: Path) -> None:
    write(tmp_path / "tiny.csv", sweep("a", smallest=4e5))
    write(tmp_path / "drawn.csv", sweep("b", notes="interpolated on isoFLOP"))
    families = read_collection(tmp_path).families
    assert [f.clean for f in families] == [False, False]
    assert all("isoflop" in f.uses for f in families)


def test_a_search_over_rates_counts_its_best_runs(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for row in sweep("a", budgets=3):
        best = float(str(row["loss"]))
        rows += [row | {"run_id": f"{row['run_id']}.{i}", "loss": best * (1 + 0.01 * i)} for i in range(25)]
    write(tmp_path / "a.csv", rows)
    family = read_collection(tmp_path).families[0]
    kept = family.rolling()
    np.testing.assert_allclose(kept.loss, [loss(n, d) for n, d in zip(kept.params_N, kept.tokens_D, strict=True)])
    assert len(np.unique(kept.params_N)) == len(kept)


def test_mostly_repeated_data_is_left_out_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", sweep("a", unique_tokens=1e6))
    family = read_collection(tmp_path).families[0]
    assert not family.uses
    assert "repeat" in family.note


def test_one_metric_of_a_file_is_scored(tmp_path: Path) -> None:
    rows = [
        row | {"metric_name": name, "metric_value": value * float(str(row["loss"]))}
        for row in sweep("a")
        for name, value in (("train/loss", 0.9), ("val/loss", 1.0), ("val/perplexity", 3.0))
    ]
    for row in rows:
        del row["loss"]
    write(tmp_path / "a.csv", rows)
    found = read_collection(tmp_path)
    assert [f.metric for f in found.families] == ["val/loss"]
    assert len(found.families[0]) == 35


def test_learning_curves_and_tasks(tmp_path: Path) -> None:
    curve = [{"family": "c", "curve_id": "one", "seen_examples": 10**i, "loss": 2.0 / i} for i in range(1, 7)]
    write(tmp_path / "curves.csv", [row | {"is_train": int(i < 4)} for i, row in enumerate(curve)])
    tasks = [
        {"family": "a", "run_id": f"{b}.{i}", "params_N": 1e8, "tokens_D": 1e9, "metric_name": t, "metric_value": 0.5}
        for b in range(2)
        for i in range(7)
        for t in ("arc", "copa")
    ]
    write(tmp_path / "lab_tasks.csv", tasks)
    write(tmp_path / "lab_loss.csv", sweep("a"))
    found = read_collection(tmp_path)
    assert [(len(c.x), int(c.is_train.sum())) for c in found.curves] == [(6, 4)]
    assert found.downstream[0].values.shape == (14, 2)
    assert bool(np.isfinite(found.downstream[0].loss).all())


def test_losses_and_accuracies_may_stand_in_one_file(tmp_path: Path) -> None:
    rows = [
        row | {"metric_name": name, "metric_value": value}
        for row in sweep("a")
        for name, value in (("c4/CrossEntropyLoss", row["loss"]), ("arc/acc", 0.5), ("c4/perplexity", 9.0))
    ]
    for row in rows:
        del row["loss"]
    write(tmp_path / "lab.csv", rows)
    found = read_collection(tmp_path)
    assert [f.metric for f in found.families] == ["c4/CrossEntropyLoss"]
    assert found.downstream[0].tasks == ("arc/acc",)
    assert bool(np.isfinite(found.downstream[0].loss).all())


def test_bad_folders_say_so_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match=r"no \.csv"):
        read_collection(tmp_path)
    write(tmp_path / "a.csv", [row | {"loss": "fine"} for row in sweep("a")])
    with pytest.raises(GnomonError, match="row 1, column loss holds 'fine'"):
        read_collection(tmp_path)
    (tmp_path / "a.csv").write_text("family,params_N,tokens_D,loss\na,1\n")
    with pytest.raises(GnomonError, match="row 1 has 2 fields, the header 4"):
        read_collection(tmp_path)
