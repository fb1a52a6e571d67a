"""The fast way to a gradient on a CPU: the whole forward and backward pass as one call into compiled C.

`step.c` is compiled once per machine with the C compiler that is there; without one the trainer takes autograd, the
slow twin, and `gnomon doctor` says so. Matrix products use the sgemm inside torch (MKL), else the one scipy brings.
"""

from gnomon.train.native.build import Unavailable, library
from gnomon.train.native.gradient import NativeGradient, obstacle, short_product

__all__ = ["NativeGradient", "Unavailable", "library", "obstacle", "short_product"]
