"""The training bench: the rivals do the same products, and the object it writes is whole."""

from __future__ import annotations

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.recipe.flops import matmul_parameters
from gnomon.workflow.bench_train import bench_lines, bench_plan, bench_train, plain_model


@pytest.mark.parametrize("fused", [False, True])
def test_the_plain_model_has_the_same_matmul_parameters(fused: bool) -> None:
    shape = bench_plan(64, depth=2, context=32).shape
    model = plain_model(shape, fused)
    matrices = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(m.weight.numel() for m in matrices) == matmul_parameters(shape)


def test_both_plain_models_compute_the_same() -> None:
    shape = bench_plan(32, depth=1, context=16).shape
    plain, fused = plain_model(shape, False), plain_model(shape, True)
    fused.load_state_dict(plain.state_dict())
    tokens = torch.randint(0, shape.vocab, (2, 16))
    torch.testing.assert_close(plain(tokens), fused(tokens), rtol=1e-4, atol=1e-5)


def test_the_bench_reports_every_width() -> None:
    found = bench_train(widths=(32,), turns=1, dtype="float32")
    width = found["widths"]["32"]
    for name in ("tokens_per_s", "ratio_to_plain_fp32", "fraction_of_matmul_peak"):
        assert width[name] > 0
    assert width["ratio_to"]["fused_sdpa"] > 0 and width["dtype"] == "float32"
    assert any("fused_sdpa" in line for line in bench_lines(found))


def test_an_unknown_dtype_is_named() -> None:
    with pytest.raises(GnomonError, match="dtype is 'int8'; it is one of auto, float32, bfloat16"):
        bench_train(dtype="int8")
