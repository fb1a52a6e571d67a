"""The allocator keeps what a step frees: a large buffer that is taken again is not faulted in again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from gnomon.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    buffers = [np.ones(10_000_000, np.float32) for _ in range(4)]  # 160 MB, more than glibc keeps by itself
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator takes such wishes")
def test_pages_that_were_freed_are_not_faulted_in_again():
    faults = {
        wish: int(
            subprocess.run([sys.executable, "-c", FAULTS, wish], capture_output=True, check=True, text=True).stdout
        )
        for wish in ("leave", "keep")
    }
    assert faults["keep"] < faults["leave"] / 10
