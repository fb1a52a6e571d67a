"""Compile our C where a C compiler is, keep the result in the user's cache, and find an sgemm for the training step."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.common.compiler import c_compiler, switched_off
from gnomon.common.files import atomic_path

SOURCES = ("step.c", "kernels.h", "product.h", "attention.h")
# No -ffast-math: a number that is none must stay none, or a diverged run would not be seen. -fno-trapping-math changes
# no result; without it GCC 12 leaves every loop over exponential() unvectorised, and softmax takes seven times as long.
FLAGS = (
    "-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-std=gnu11"
)  # fmt: skip
WIDE_FLAG = "-mprefer-vector-width=512"  # where AVX-512 is, its whole registers: a tenth off a step
COMPILE_TIMEOUT_S = 120
CPU_FLAGS_LINE = "flags"


class Unavailable(Exception):
    """There is no compiled step here; the message says why and what would mend it."""


@dataclass(frozen=True)
class Library:
    """The compiled step and the matrix products it is to call. name: of all of them, for records.

    short_gemm: of bfloat16 factors with an fp32 sum; None where the BLAS has none.
    """

    handle: ctypes.CDLL
    sgemm: ctypes.c_void_p
    short_gemm: ctypes.c_void_p | None
    blas_threads: ctypes.c_void_p | None
    name: str


@functools.cache
def library() -> Library:
    """The compiled step, built now if need be. Raises Unavailable when there is no compiler, or it fails."""
    path = compiled(Path(__file__).parent, SOURCES)
    found = _mkl() or _openblas()
    name = f"native-{path.stem.rpartition('-')[2]}-{found.pop('name')}"
    return Library(handle=ctypes.CDLL(str(path)), name=name, **found)


def compiled(folder: Path, sources: tuple[str, ...]) -> Path:
    """The shared object of these sources, this compiler and this processor; sources[0] includes the others.

    Raises Unavailable when there is no compiler, it fails, or GNOMON_NATIVE=0 switches compiled code off.
    """
    if switched_off():
        raise Unavailable("switched off by GNOMON_NATIVE=0")
    compiler = c_compiler()
    if compiler is None:
        raise Unavailable("no C compiler found (cc, gcc or clang); install one, for example `apt-get install gcc`")
    flags = [*FLAGS, WIDE_FLAG] if "avx512f" in _processor() else [*FLAGS]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    digest = hashlib.sha256("\0".join([compiler, version, _processor(), *flags]).encode())
    for name in sources:
        digest.update((folder / name).read_bytes())
    path = cache_folder() / f"{Path(sources[0]).stem}-{digest.hexdigest()[:16]}.so"
    if not path.exists():
        with atomic_path(path) as temporary:
            done = subprocess.run(
                [compiler, *flags, "-o", str(temporary), str(folder / sources[0]), "-lm", "-lpthread"],
                capture_output=True, text=True, check=False, timeout=COMPILE_TIMEOUT_S,
            )  # fmt: skip
            if done.returncode:
                lines = done.stderr.strip().splitlines() or ["no message"]
                raise Unavailable(f"{compiler} could not compile {sources[0]}: {lines[0]}")
    return path


def cache_folder() -> Path:
    """A folder of this user's own: what is loaded from it runs with the user's rights."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnomon"
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        if base.stat().st_uid == os.getuid() and os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="gnomon-"))


def _processor() -> str:
    """What -march=native depends on."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next((line for line in lines if line.startswith(CPU_FLAGS_LINE)), platform.machine())
    except OSError:
        return platform.machine()


def _mkl() -> dict[str, Any]:
    """The products of the MKL inside torch, in Fortran's interface; {} when torch was built without it."""
    import torch

    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.so")):
        handle = ctypes.CDLL(str(path))
        if not (hasattr(handle, "SGEMM") and hasattr(handle, "MKL_Set_Num_Threads_Local")):
            continue
        found: dict[str, Any] = {"name": "mkl", "short_gemm": None}
        names = {"sgemm": "SGEMM", "short_gemm": "GEMM_BF16BF16F32", "blas_threads": "MKL_Set_Num_Threads_Local"}
        for key, symbol in names.items():
            if hasattr(handle, symbol):
                found[key] = ctypes.cast(getattr(handle, symbol), ctypes.c_void_p)
        return found
    return {}


def _openblas() -> dict[str, Any]:
    """The sgemm that scipy brings."""
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__["sgemm"]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    sgemm = ctypes.c_void_p(pointer_of(capsule, name_of(capsule)))
    return {"name": "openblas", "sgemm": sgemm, "short_gemm": None, "blas_threads": None}
