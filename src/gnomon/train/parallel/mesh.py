"""The mesh of a run: how its processes share rows and weights. Torch-free: the command line and recipes read it.

replicate: whole copies of the weights. data: shards of them (FSDP); replicate times data is into how many shares a
step's rows are cut. tensor: how many processes work on the same rows with a part of the heads and of the MLP each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan


@dataclass(frozen=True)
class Mesh:
    """replicate * data * tensor processes, neighbours in rank along tensor, then data, then replicate."""

    replicate: int = 1
    data: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if size < 1:
                raise GnomonError(f"mesh: {name} is {size}; each dimension is at least 1")

    @classmethod
    def parse(cls, text: str) -> Mesh:
        """ "data=2,tensor=1" -> Mesh. Raises GnomonError when it is not of that form."""
        names = [field.name for field in fields(cls)]
        sizes: dict[str, int] = {}
        for part in text.split(","):
            name, _, size = part.strip().partition("=")
            if name not in names or name in sizes or not size.isdigit():
                known = ", ".join(f"{n}=NUMBER" for n in names)
                raise GnomonError(f"mesh {text!r}: {part.strip()!r} is not one of {known}, each at most once")
            sizes[name] = int(size)
        return cls(**sizes)

    def __str__(self) -> str:
        """What parse reads: the dimensions above 1, "data=1" when there are none."""
        return ",".join(f"{name}={size}" for name, size in asdict(self).items() if size > 1) or "data=1"

    @property
    def size(self) -> int:
        """Processes."""
        return self.replicate * self.data * self.tensor

    @property
    def shares(self) -> int:
        """Into how many parts the rows of a step are cut."""
        return self.replicate * self.data

    def share_of(self, rank: int) -> int:
        """Which of the shares a process reads; those along tensor read the same one."""
        return rank // self.tensor

    def require_world(self, processes: int) -> None:
        """Raises GnomonError when there are more or fewer processes than places."""
        if self.size != processes:
            raise GnomonError(
                f"mesh {self}: it has places for {self.size} process{'es' * (self.size > 1)} and {processes} "
                f"{'were' if processes > 1 else 'was'} started; start {self.size} "
                f"(torchrun --nproc-per-node), or give a mesh of {processes}"
            )

    def require_plan(self, plan: Plan) -> None:
        """Raises GnomonError when a plan cannot be cut so: fewer rows than shares, heads not divided by tensor."""
        if self.shares > plan.batch_rows:
            raise GnomonError(
                f"mesh {self}: {self.shares} shares of a step of {plan.batch_rows} row{'s' * (plan.batch_rows > 1)}; "
                f"each takes at least one row: start at most {plan.batch_rows * self.tensor}"
            )
        if plan.optimisation.optimiser != "adamw":
            raise GnomonError(
                f"mesh {self}: {plan.optimisation.optimiser} needs whole matrices, and a mesh holds parts of them; "
                "train with adamw, or in one process"
            )
        shape = plan.shape
        parts = {"heads": shape.heads, "heads of keys": shape.key_heads, "columns of the MLP": shape.mlp_width}
        for what, count in parts.items():
            if count % self.tensor:
                fits = [n for n in range(1, shape.key_heads + 1) if not any(c % n for c in parts.values())]
                raise GnomonError(
                    f"mesh {self}: tensor={self.tensor} does not divide the model's {count} {what}; "
                    f"it is one of {', '.join(map(str, fits))}"
                )


def bounds(count: int, parts: int, part: int) -> tuple[int, int]:
    """The half-open range of the part-th of `parts` contiguous shares of `count`; sizes differ by at most one."""
    return part * count // parts, (part + 1) * count // parts
