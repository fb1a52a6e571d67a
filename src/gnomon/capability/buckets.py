"""Difficulty buckets, made from small runs alone and then frozen.

As in arXiv:2303.08774 §3.2: problems that no run ever solves are left out, the hardest of the rest too, what remains
is cut into equal buckets by mean -log pass rate. Only the sorting half of the draws is looked at; to sort and to fit by
the same luck would make every bucket look flatter than it is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from gnomon.capability.outcomes import Table
from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash

COUNT = 6
HARDEST_LEFT_OUT = 15 / 164  # the share of its problems that the report dropped as hardest
LEAST = 5  # problems in a bucket


@dataclass(frozen=True)
class Buckets:
    """members: problems of each bucket, the easiest bucket first. left_out: problem -> why it is in none."""

    members: tuple[tuple[str, ...], ...]
    left_out: dict[str, str]

    @property
    def hash(self) -> str:
        """Of the assignment: what a registration seals."""
        return content_hash([self.members, self.left_out])


def freeze(table: Table, count: int = COUNT) -> Buckets:
    """Buckets from every run of a table of small runs. Raises GnomonError when too few problems are ever solved."""
    ever = [bool(column.any()) for column in table.solved.T]
    left_out = {p: "no run solved it" for p, solved in zip(table.problems, ever, strict=True) if not solved}
    hardness = table.difficulty.mean(axis=0)
    order = sorted((float(hardness[i]), p) for i, p in enumerate(table.problems) if ever[i])
    kept = len(order) - round(HARDEST_LEFT_OUT * len(order))
    left_out |= {p: "among the hardest" for _, p in order[kept:]}
    if kept < count * LEAST:
        raise GnomonError(
            f"capability: {kept} problems are ever solved by the small runs; {count} buckets need {count * LEAST}; "
            "take larger rungs, more draws or fewer buckets"
        )
    edges = [round(i * kept / count) for i in range(count + 1)]
    names = [p for _, p in order[:kept]]
    return Buckets(tuple(tuple(names[a:b]) for a, b in itertools.pairwise(edges)), left_out)
