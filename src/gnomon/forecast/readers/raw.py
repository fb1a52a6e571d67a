"""What a reader hands on before names are settled: columns of plain values, notes, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gnomon.forecast.table import History


@dataclass(frozen=True)
class Raw:
    """columns: the source's name -> one value a row, None where missing. notes, history: as in RunTable."""

    columns: dict[str, list[Any]]
    notes: list[str] = field(default_factory=list)
    history: History = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @classmethod
    def from_rows(
        cls, rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = (), history: History | None = None
    ) -> Raw:
        """Columns in the order in which the rows first name them."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: [row.get(name) for row in rows] for name in names}, list(notes), history or {})


def flat(value: Mapping[str, Any], joint: str = ".", before: str = "") -> dict[str, Any]:
    """Nested mappings as one: {"optimizer": {"lr": 1}} is {"optimizer.lr": 1}; lists and other objects are left out."""
    result: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{before}{joint}{key}" if before else str(key)
        if isinstance(inner, Mapping):
            result |= flat(inner, joint, name)
        elif inner is None or isinstance(inner, str | int | float | bool):
            result[name] = inner
    return result
