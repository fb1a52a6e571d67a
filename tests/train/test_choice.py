"""The choice by measurement: what was measured is remembered and used, and rounding must be worth it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnomon.train import choice
from gnomon.train.choice import Way, best, fastest, measure, measured, possible, recalled, remember, shape_class
from gnomon.train.execution import AUTOGRAD, decide
from gnomon.workflow.bench_train import bench_plan

PLAN = bench_plan(32, depth=1, context=16, batch_tokens=64)
NATIVE, TORCH = Way("native", "float32"), Way("torch", "float32")
NATIVE_SHORT, TORCH_SHORT = Way("native", "bfloat16"), Way("torch", "bfloat16")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_every_possible_way_is_measured():
    seconds = measure(PLAN, threads=1, turns=1)
    assert list(seconds) == possible(PLAN) and all(value > 0 for value in seconds.values())
    assert {TORCH, TORCH_SHORT} <= set(seconds)


def test_a_class_is_measured_once_and_its_neighbours_share_it(monkeypatch):
    asked = []

    def pretend(plan, threads):
        asked.append((plan.shape.depth, plan.batch_tokens))
        return {NATIVE: 1.0, TORCH: 2.0}

    monkeypatch.setattr(choice, "measure", pretend)
    plan = bench_plan(32, depth=9, context=16, batch_tokens=64_000)
    assert measured(plan, 1) == measured(plan, 1) == {NATIVE: 1.0, TORCH: 2.0}
    assert asked == [(choice.MEASURED_DEPTH, choice.MEASURED_TOKENS)]
    near = replace(plan, shape=replace(plan.shape, vocab=1100, depth=3))
    assert shape_class(near) == shape_class(plan) and recalled(near, 1)
    assert not recalled(plan, 2) and not recalled(bench_plan(64, depth=1, context=16), 1)


def test_a_damaged_cache_stops_nothing_and_is_written_anew():
    remember(PLAN, 1, {TORCH: 1.0})
    choice._path().write_text('{"schema_version": 1, "choi')
    assert recalled(PLAN, 1) == {}
    remember(PLAN, 1, {TORCH: 1.0})
    assert recalled(PLAN, 1) == {TORCH: 1.0}


@pytest.mark.skipif(NATIVE not in possible(PLAN), reason="no compiled step here")
def test_an_execution_takes_the_kernels_that_were_measured_fastest_when_asked():
    assert decide(PLAN, by_measurement=True).kernels.startswith("native")  # nothing measured yet
    remember(PLAN, 1, {NATIVE: 2.0, TORCH: 1.0})
    assert decide(PLAN, by_measurement=True).kernels == AUTOGRAD
    assert decide(PLAN).kernels.startswith("native")


def test_bfloat16_is_chosen_only_where_it_gains_more_than_a_little():
    seconds = {NATIVE: 1.0, TORCH: 2.0, TORCH_SHORT: 0.95}
    assert fastest(seconds) == TORCH_SHORT and best(seconds) == NATIVE
    assert best({**seconds, TORCH_SHORT: 0.5}) == TORCH_SHORT
