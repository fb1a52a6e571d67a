"""Memory that a training step gives back stays with the process, so that the next step need not fault it in again.

An eager step allocates and frees the same buffers each time; glibc hands the large ones back to the system, which
clears every page anew. `gnomon bench cpu` shows a step with and without. Linux with glibc only; elsewhere nothing
happens. The compiled step keeps its buffers and does not care.
"""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEPT_BYTES = 2**31 - 1  # of freed memory at the heap's end, the most that mallopt can be told
GROWTH_BYTES = 256 << 20  # by which the heap grows; pages that nobody touched cost nothing


def keep_freed_memory() -> bool:
    """Ask the allocator to keep what is freed, for as long as this process lives. False where it takes no wishes."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*wish) for wish in ((TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, GROWTH_BYTES), (MMAP_MAX, 0)))
