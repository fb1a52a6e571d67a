"""Each fault that ruins a forecast, injected into a sound ladder: found, with its rows named and its effect told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gnomon.forecast import Finding, RunTable, doctor

Columns = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def sound() -> Columns:
    """A grid of seven sizes and five lengths, about 1e18 to 1e21 FLOPs, rates that fall with size, noise of 0.2 %."""
    rng = np.random.default_rng(3)
    size = np.round(np.repeat(np.geomspace(1e7, 1e9, 7), 5))
    tokens = np.round(np.tile(np.geomspace(1e9, 2e11, 5), 7))
    loss = (1.8 + 0.9 * (1e8 / size) ** 0.34 + 0.8 * (2e9 / tokens) ** 0.3) * np.exp(0.002 * rng.standard_normal(35))
    return {
        "run_id": np.array([f"r{i}" for i in range(35)]),
        "parameters_total": size,
        "tokens": tokens,
        "flops": 6.0 * size * tokens,
        "rate": 3e-3 * (1e8 / size) ** 0.3 * np.exp(0.03 * rng.standard_normal(35)),
        "loss": loss,
    }


def found(columns: Columns, code: str) -> Finding | None:
    return next((f for f in doctor(RunTable(columns), "loss") if f.code == code), None)


def scaled(columns: Columns, rows: list[int], factor: float, name: str = "loss") -> Columns:
    values = columns[name].copy()
    values[rows] *= factor
    return {**columns, name: values}


def test_a_sound_grid_has_only_the_note_on_seeds(sound: Columns) -> None:
    assert [f.code for f in doctor(RunTable(sound), "loss")] == ["no_seeds"]


def wrapped(columns: Columns) -> Columns:
    flops = columns["flops"].copy()
    for i in (27, 33, 34):
        count = 6 * int(columns["parameters_total"][i]) * int(columns["tokens"][i])
        flops[i] = (count + 2**63) % 2**64 - 2**63
    return {**columns, "flops": flops}


def off_rates(columns: Columns) -> Columns:
    return scaled(scaled(columns, [3, 12, 21, 30], 6.0, "rate"), [3, 12, 21, 30], 1.03)


def crossed(columns: Columns) -> Columns:
    loss = columns["loss"].copy()
    loss[31:35] = loss[26:30] * 1.03  # the largest size, worse than the next smaller at the same tokens
    return {**columns, "loss": loss}


def perplexities(columns: Columns) -> Columns:
    loss = columns["loss"].copy()
    loss[[4, 20]] = np.exp(loss[[4, 20]])
    return {**columns, "loss": loss}


def checkpoints(columns: Columns) -> Columns:
    """Half-way points of five runs of the largest sizes, 5 % above what a finished run of that length reaches."""
    rows = [14, 19, 24, 29, 34]
    more = {name: values[rows].copy() for name, values in columns.items()}
    more["run_id"] = np.array([f"c{i}" for i in rows])
    more["tokens"], more["flops"] = more["tokens"] / 2, more["flops"] / 2
    n, d = more["parameters_total"], more["tokens"]
    more["loss"] = 1.05 * (1.8 + 0.9 * (1e8 / n) ** 0.34 + 0.8 * (2e9 / d) ** 0.3)
    return {name: np.concatenate([values, more[name]]) for name, values in columns.items()}


FAULTS: list[tuple[str, Callable[[Columns], Columns], set[str]]] = [
    ("flops_overflow", wrapped, {"r27", "r33", "r34"}),
    ("flops_inconsistent", lambda c: scaled(c, [7, 8], 1 / 3, "flops"), {"r7", "r8"}),
    ("stray", lambda c: scaled(c, [16], 1.25), {"r16"}),
    ("mixed_units", lambda c: scaled(c, [5, 6, 7], 1 / np.log(2)), {"r5", "r6", "r7"}),
    ("mixed_units", perplexities, {"r4", "r20"}),
    ("untuned", off_rates, {"r3", "r12", "r21", "r30"}),
    ("crossing", crossed, {"r31", "r32", "r33", "r34"}),
    ("looks_unannealed", checkpoints, {"c14", "c19", "c24", "c29", "c34"}),
]


@pytest.mark.parametrize(("code", "inject", "rows"), FAULTS, ids=[f"{c}-{i}" for i, (c, _, _) in enumerate(FAULTS)])
def test_a_fault_is_found_with_its_rows_and_its_effect(
    sound: Columns, code: str, inject: Callable[[Columns], Columns], rows: set[str]
) -> None:
    finding = found(inject(sound), code)
    assert finding is not None and finding.severity == "warning"
    assert set(finding.rows) >= rows and len(set(finding.rows) - rows) <= 1
    assert len(finding.effect) > 20 and "\n" not in finding.message + finding.effect


def test_embedding_heavy_sizes_are_found_only_where_the_embedding_is_counted(sound: Columns) -> None:
    bare = sound["parameters_total"]
    total = bare + 1.5e7
    both = {**sound, "parameters_total": total, "parameters_no_embedding": bare}
    assert found(both, "embedding_heavy") is None  # sizes without it are used
    lacking = bare.copy()
    lacking[-1] = np.nan
    counted = {**both, "parameters_no_embedding": lacking, "flops": 6 * total * sound["tokens"]}
    finding = found(counted, "embedding_heavy")
    assert finding is not None and "r0" in finding.rows and "r34" not in finding.rows


def test_repeated_data_are_a_note_up_to_four_times_and_a_warning_beyond(sound: Columns) -> None:
    for times, severity in ((2.0, "note"), (20.0, "warning")):
        finding = found({**sound, "unique_tokens": np.full(35, 2e11 / times)}, "repeated_data")
        assert finding is not None and finding.severity == severity and "r34" in finding.rows


def test_one_rate_for_every_size_is_found(sound: Columns) -> None:
    assert found({**sound, "rate": np.full(35, 1e-3)}, "one_rate") is not None


def test_a_perplexity_column_and_a_table_without_signal_are_found(sound: Columns) -> None:
    assert found({**sound, "loss": np.exp(sound["loss"] + 1.5)}, "perplexity") is not None
    noise = 3 * np.exp(0.01 * np.random.default_rng(0).standard_normal(35))
    assert found({**sound, "loss": noise}, "no_signal") is not None
    assert found({**sound, "loss": 6 - sound["loss"]}, "rising_loss") is not None


def test_what_a_reader_did_on_its_own_is_repeated(sound: Columns) -> None:
    findings = doctor(RunTable(sound, notes=["flops = 6 · parameters_total · tokens"]), "loss")
    assert [f.message for f in findings if f.code == "reader"] == ["flops = 6 · parameters_total · tokens"]


def test_a_checkpoint_of_a_run_is_no_duplicate_of_its_end(sound: Columns) -> None:
    annealed = np.ones(35, dtype=bool)
    annealed[[5, 6]] = False
    ids = sound["run_id"].copy()
    ids[[5, 6, 7]] = "one"
    table = RunTable({**sound, "run_id": ids, "annealed": annealed})
    codes = {f.code for f in doctor(table, "loss")}
    assert "unannealed" in codes and "duplicate" not in codes
