"""How fast is one core? A fifth of a second of numpy, enough for an estimate of minutes."""

from __future__ import annotations

import time

SIZE = 64  # small enough that no BLAS shares one product between threads


def core_flops_per_s(seconds: float = 0.15) -> float:
    """FLOP/s of one core on fp32 products of 64 x 64, the size of this house's rungs; best of many."""
    import numpy as np

    a, out = np.ones((SIZE, SIZE), np.float32), np.empty((SIZE, SIZE), np.float32)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(20):
            np.matmul(a, a, out=out)
        best = max(best, 20 * 2 * SIZE**3 / (time.perf_counter() - began))
    return best
