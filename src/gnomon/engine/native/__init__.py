"""The forward pass as one call into C: compiled where a compiler is, bit for bit independent of its batch."""

from gnomon.engine.native.model import Logits, NativeModel, NativeRoom, library, obstacle
from gnomon.engine.native.reader import NativeReader
from gnomon.train.native.build import Unavailable

__all__ = ["Logits", "NativeModel", "NativeReader", "NativeRoom", "Unavailable", "library", "obstacle"]
