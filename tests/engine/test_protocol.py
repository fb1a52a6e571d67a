"""Requests that make no sense are refused where they are made."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gnomon.common.errors import GnomonError
from gnomon.engine.protocol import SamplingOptions, ScoreRequest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"stop": ("",)}, "empty text"),
    ],
)
def test_sampling_options_say_what_would_be_right(options, message):
    with pytest.raises(GnomonError, match=message):
        SamplingOptions(**options)


@pytest.mark.parametrize("start", [0, 4, -1])
def test_nothing_stands_before_the_first_token(start):
    with pytest.raises(GnomonError, match="start is"):
        ScoreRequest((1, 2, 3), start)


def test_the_protocol_loads_without_torch():
    code = "import sys, gnomon.engine.protocol, gnomon.engine.text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
