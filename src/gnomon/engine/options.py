"""How a model is to be served, as a value. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.common.errors import GnomonError

KERNELS = ("auto", "native", "torch")
WEIGHTS = ("float32", "bfloat16", "int8")
SLOTS, CONTEXT = 8, 2048


@dataclass(frozen=True)
class EngineOptions:
    """How to serve a model.

    slots: rows under way at once. context: tokens a slot holds; 0 is the model's own, at most CONTEXT. weights:
    what they are kept in, float32, bfloat16 or int8. kernels: the compiled pass ("native"), "torch", or what is
    faster of those that can ("auto"). threads: of the compiled pass; torch has its own setting.
    """

    slots: int = SLOTS
    context: int = 0
    weights: str = "float32"
    kernels: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        for name, known in (("weights", WEIGHTS), ("kernels", KERNELS)):
            if getattr(self, name) not in known:
                raise GnomonError(f"engine: {name} is {getattr(self, name)!r}; it is one of {', '.join(known)}")
        if self.slots < 1 or self.threads < 1 or self.context < 0:
            raise GnomonError(
                f"engine: slots {self.slots}, threads {self.threads}, context {self.context}; "
                "slots and threads are at least 1, a context is 0 (the model's own) or more"
            )
