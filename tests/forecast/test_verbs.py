"""The five verbs on the sample table, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gnomon.forecast as gf
from gnomon.common.errors import GnomonError
from gnomon.forecast import Target, fit, forecast, metric_of, read, sample, target_of

METRIC = "bits_per_byte_codebase"


@pytest.fixture(scope="module")
def table():
    return read(sample())


@pytest.fixture(scope="module")
def fitted(table):
    return fit(table, METRIC, draws=40)


def test_importing_the_room_loads_no_heavy_library() -> None:
    heavy = ["torch", "scipy", "pyarrow", "matplotlib", "pandas", "jinja2", "rich", "typer", "pydantic", "yaml"]
    code = f"import sys, gnomon.forecast; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_five_verbs_are_functions_whatever_was_imported_before() -> None:
    """compare is also the name of a page of the room; the function must win."""
    code = (
        "from gnomon.forecast.advice.compare import Comparison\nimport gnomon.forecast as f\n"
        "print([callable(getattr(f, v)) for v in ('read', 'fit', 'forecast', 'compare', 'next_rung')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, True, True, True]"
    assert all(name in gf.__all__ for name in ("read", "fit", "forecast", "compare", "next_rung", "sample"))


def test_the_sample_is_a_ladder_without_its_target(table) -> None:
    assert len(table) == 23 and table["flops"].max() < 1e12
    assert not table["registered"].any() and set(table["status"]) == {"done"}
    assert metric_of(table) == METRIC


def test_a_forecast_in_one_line_is_the_fit_s_answer(table) -> None:
    """Its target was trained: 1.8792 bits per byte (docs/log.md)."""
    answer = forecast(str(sample()), Target(2.5e13, 688128, 5.9e6), METRIC)
    assert answer.to_dict() == fit(table, METRIC).predict(Target(2.5e13, 688128, 5.9e6)).to_dict()
    assert answer.quantiles["0.05"] < 1.8792 < answer.quantiles["0.95"] < answer.last_point


def test_a_target_is_the_best_size_or_the_one_asked_for(fitted) -> None:
    best, half = target_of(fitted, 2.5e13), target_of(fitted, 2.5e13, 3e5)
    assert best.compute == half.compute == 2.5e13 and half.parameters == 3e5 and half.tokens > best.tokens
    assert target_of(fitted, 2.5e13, 3e5, 7e6) == Target(2.5e13, 3e5, 7e6)
    for wrong in ((0.0,), (-1e13,), (float("nan"),), (2.5e13, -3.0), (2.5e13, None, 7e6)):
        with pytest.raises(GnomonError, match="target"):
            target_of(fitted, *wrong)
