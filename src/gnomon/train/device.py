"""The one place that knows what a device needs: whether it is there, its name, its clock, its settings.

A run on a GPU is the same plan, the same rows and the same checkpoint as one on a processor; tensors lie elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gnomon.common.errors import GnomonError

DEVICES = ("cpu", "cuda")


def require(device: str) -> None:
    """Raises GnomonError when there is no such device, or none here."""
    if device not in DEVICES:
        raise GnomonError(f"device is {device!r}; it is one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise GnomonError(
            f"device is cuda, and torch {torch.__version__} sees no GPU here; --device cpu trains anywhere"
        )


def gpu_facts() -> tuple[str, str]:
    """The GPU's name, and what decides its kernels: CUDA's version and the GPU's generation."""
    major, minor = torch.cuda.get_device_capability()
    return torch.cuda.get_device_name(), f"CUDA {torch.version.cuda} sm_{major}{minor}"


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given: before a clock is read."""
    if device == "cuda":
        torch.cuda.synchronize()


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """tensor on a device; to a GPU it goes while the processor does other things."""
    if device.type == "cpu":
        return tensor
    held = tensor.pin_memory() if torch.cuda.is_available() else tensor
    return held.to(device, non_blocking=True)


def fetched(tensor: Tensor) -> Tensor:
    """tensor on the processor; from a GPU it comes when all before it is done."""
    return tensor.cpu()


@contextmanager
def exact(device: str) -> Iterator[None]:
    """A device that gives the same bits twice, and fp32 that is fp32; put back afterwards.

    On a GPU: attention by flash or by plain products (the memory-efficient kernel's way back adds in any order), no
    TF32, cuBLAS with a fixed workspace. Nothing to do on a processor.
    """
    if device == "cpu":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    settings = torch.backends.cuda
    before = (settings.matmul.allow_tf32, settings.mem_efficient_sdp_enabled(), settings.cudnn_sdp_enabled())
    settings.matmul.allow_tf32 = False
    settings.enable_mem_efficient_sdp(False)
    settings.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        settings.matmul.allow_tf32 = before[0]
        settings.enable_mem_efficient_sdp(before[1])
        settings.enable_cudnn_sdp(before[2])
