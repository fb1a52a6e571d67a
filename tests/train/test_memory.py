"""The planner of memory and disk: what it counts, and what it says when there is too little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.common.errors import JobFailed
from gnomon.ladder.store import disk_use
from gnomon.recipe.flops import total_parameters
from gnomon.recipe.plan import Plan
from gnomon.train.execution import decide
from gnomon.train.memory import available_bytes, needs, off, require_room, verdict
from gnomon.train.trainer import train

MakePlan = Callable[..., Plan]


def test_buffers_are_counted_to_the_byte(make_plan: MakePlan) -> None:
    plan = make_plan()
    n = total_parameters(plan.shape)
    need = needs(plan, decide(plan), 40_000, libraries=0)
    assert (need.memory["weights"], need.memory["gradient"], need.memory["optimiser states"]) == (4 * n, 4 * n, 8 * n)
    half = needs(make_plan(dtype="bfloat16"), decide(plan), 40_000)
    assert half.memory["weights"] == 6 * n and half.memory["gradient"] == 6 * n
    assert need.memory["corpus pages"] == 40_000


def test_what_stays_on_disk_is_known_before(corpus: Any, make_plan: MakePlan, run_dir: Path) -> None:
    plan = make_plan(width=64, depth=2, steps=200)
    result = train(plan, corpus, run_dir, execution=decide(plan, keep_steps=(100,)))
    assert result.planned["disk_bytes"] == pytest.approx(disk_use(run_dir), rel=0.15)
    assert result.planned["memory_bytes"] > result.planned["disk_bytes"]


def test_fewer_rows_at_once_are_offered_then_a_narrower_model(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(width=512, depth=4, context=256, batch_rows=16)
    execution = replace(decide(plan), micro_rows=16, kernels="torch")
    need = needs(plan, execution, 0.0, libraries=3e8)
    assert verdict(plan, execution, need, need.memory_bytes, need.disk_most) == ""
    fewer = verdict(plan, execution, need, 0.8 * need.memory_bytes, 1e12)
    assert "are free; with --micro-rows 1" in fewer
    states = sum(need.memory[part] for part in ("weights", "gradient", "optimiser states"))
    assert "fits, one row at a time, is --width" in verdict(plan, execution, need, 3.6e8 + 0.8 * states, 1e12)
    assert "no width of its depth fits" in verdict(plan, execution, need, 1e8, 1e12)
    assert "of disk and 1.0 MB are free" in verdict(plan, execution, need, 1e12, 1e6)
    with pytest.raises(JobFailed, match=r"run \w+: needs .* of memory and .* are free"):
        require_room(plan, execution, replace(need, memory={**need.memory, "weights": 1e18}), tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_control_group_limits_what_is_free(tmp_path: Path, version: int) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:  8000000 kB\n")
    assert available_bytes(tmp_path) == 8_000_000 * 1024
    if version == 2:
        (tmp_path / "proc/self/cgroup").write_text("0::/jobs/mine\n")
        group, names = tmp_path / "sys/fs/cgroup/jobs", ("memory.max", "memory.current")
        (group / "mine").mkdir(parents=True)
        (group / "mine/memory.max").write_text("max\n")
    else:
        group, names = tmp_path / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        group.mkdir(parents=True)
    for name, value in zip(names, ("2000000000", "500000000"), strict=True):
        (group / name).write_text(value + "\n")
    assert available_bytes(tmp_path) == 1.5e9


def test_how_far_it_was_off_is_said() -> None:
    assert off(110e6, 100e6) == "planned 110.0 MB, took 100.0 MB (10% off)"
