"""How fast is one core? A quarter of a second of numpy, enough for an estimate of minutes."""

from __future__ import annotations

import time


def peak_flops_per_s(size: int = 384, seconds: float = 0.2) -> float:
    """FLOP/s that matmuls of size × size in fp32 reach on the threads numpy uses here; best of many."""
    import numpy as np

    a = np.ones((size, size), np.float32)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        a @ a
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
