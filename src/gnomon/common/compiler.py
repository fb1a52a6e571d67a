"""Which C compiler there is for code of our own, and whether such code is wanted. Asks the system only."""

from __future__ import annotations

import os
import shutil


def c_compiler() -> str | None:
    """The program of CC, cc, gcc or clang that is there first; None when there is none."""
    return next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), None)


def switched_off() -> bool:
    """GNOMON_NATIVE=0: everything in torch."""
    return os.environ.get("GNOMON_NATIVE", "1") == "0"
