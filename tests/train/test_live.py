"""What a watcher of one run sees, on a terminal and off it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from gnomon.recipe.flops import matmul_parameters
from gnomon.recipe.plan import Plan
from gnomon.train.live import Live, clock, words
from gnomon.train.peak import matmul_peak, matmul_shapes
from gnomon.train.trainer import train

ROW = {"tokens": 1000.0, "tokens_per_s": 100.0, "flops_per_s": 2e9, "bits_per_byte": 2.5}


def test_a_line_says_loss_speed_share_and_time_left() -> None:
    line = words(ROW, 10, 40, 8e9)
    assert line == "2.500 bits/byte · 100 tokens/s · 2.0 GFLOP/s (25% of peak) · 0:30 left"
    assert "peak" not in words(ROW, 10, 40, None)
    assert clock(3671) == "1:01:11"


def test_off_a_terminal_it_is_quiet_but_for_a_plain_line(
    corpus: Any, make_plan: Callable[..., Plan], run_dir: Path
) -> None:
    plan, out = make_plan(steps=20), io.StringIO()
    with Live(plan, console=Console(file=out, force_terminal=False)) as live:
        train(plan, corpus, run_dir, callbacks=[live])
    assert out.getvalue().count("\n") == 1 and "step 20/20" in out.getvalue() and "\x1b" not in out.getvalue()


def test_on_a_terminal_it_redraws_one_line(corpus: Any, make_plan: Callable[..., Plan], run_dir: Path) -> None:
    plan, out = make_plan(steps=20), io.StringIO()
    with Live(plan, peak=1e12, console=Console(file=out, force_terminal=True, width=160)) as live:
        train(plan, corpus, run_dir, callbacks=[live])
    assert "20/20" in out.getvalue() and "bits/byte" in out.getvalue() and "of peak" in out.getvalue()


def test_peak_counts_every_product_of_the_model(make_plan: Callable[..., Plan]) -> None:
    shape = make_plan().shape
    products = sum(number * inputs * outputs for (inputs, outputs), number in matmul_shapes(shape).items())
    assert products == matmul_parameters(shape)
    assert matmul_peak(shape, 256, "float32", 1) > 1e6
