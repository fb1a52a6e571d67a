"""The bench of this machine: its object is whole, it says why, and `family.dtype: auto` follows it."""

from __future__ import annotations

import pytest

from gnomon.recipe.load import load_recipe
from gnomon.train.choice import Way, remember
from gnomon.workflow import bench_cpu
from gnomon.workflow.bench_cpu import cpu_lines, plans_of, probe, resolved
from gnomon.workflow.bench_train import bench_plan

SETTINGS = ("as it comes", "keeping")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_bench_measures_and_says_what_it_chose(monkeypatch):
    # In this very process, not in one of its own each: torch takes seconds to load.
    monkeypatch.setattr(bench_cpu, "_allocator", lambda plan: {n: probe("as it comes", plan) for n in SETTINGS})
    plan = bench_plan(32, depth=1, context=16, batch_tokens=64)
    found = bench_cpu.bench_cpu([plan], 1)
    (row,) = found["shapes"]
    assert row["matmul_peak_flops_per_s"]["float32"][1] > 1e6
    assert f"{row['chosen']['kernels']} {row['chosen']['dtype']}" in row["seconds"][1]
    assert row["pinned"] > 0
    text = "\n".join(cpu_lines(found))
    assert "chosen: " in text and "x as long" in text and "allocator: " in text


@pytest.mark.slow
def test_each_allocator_setting_is_measured_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(bench_cpu, "PROBE_ROUNDS", 1)
    found = bench_cpu._allocator(bench_plan(32, depth=1, context=16, batch_tokens=64))
    assert set(found) == set(SETTINGS) and min(found.values()) > 0


def test_the_shapes_of_a_recipe_are_its_target_and_the_widths_of_its_ladder():
    recipe = load_recipe("ladder-code", ())
    plans = plans_of((), "ladder-code")
    assert {plan.shape.width for plan in plans} >= {recipe.target.width}
    assert len({plan.shape.width for plan in plans}) == len(plans)
    assert [plan.shape.width for plan in plans_of((64, 32), "")] == [64, 32]


@pytest.mark.parametrize(("seconds", "dtype"), [(0.5, "bfloat16"), (2.0, "float32")])
def test_a_recipe_that_leaves_the_dtype_open_gets_the_fastest_here(seconds, dtype):
    recipe = load_recipe("ladder-code", ["family.dtype=auto"])
    (target,) = plans_of((recipe.target.width,), "ladder-code")
    remember(target, 1, {Way("torch", "float32"): 1.0, Way("torch", "bfloat16"): seconds})
    assert resolved(recipe).family.dtype == dtype
    settled = load_recipe("ladder-code", ())
    assert resolved(settled) is settled and settled.family.dtype == "float32"
