"""The corpus card as tables: what a reader should know of the text, from whatever the card says of it.

Known parts (sources, splits, drops, overlap) become tables; every other plain value a line; the rest stays in the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnomon.figures.numbers import byte_size, count

SOURCE_COLUMNS = ("name", "kind", "version", "licence", "documents", "bytes")
SPLIT_COLUMNS = ("name", "documents", "bytes", "tokens")
TITLES = {"name": "", "kind": "kind", "version": "version", "licence": "licence"}
NUMBERS = ("documents", "bytes", "tokens")


@dataclass(frozen=True)
class CardTable:
    """A table of texts. numeric: columns set flush right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


@dataclass(frozen=True)
class CorpusView:
    tables: tuple[CardTable, ...]
    facts: tuple[tuple[str, str], ...]


def corpus_view(card: Mapping[str, Any]) -> CorpusView:
    """card.json as tables and facts."""
    tables = [
        _table("Sources", SOURCE_COLUMNS, _records(card.get("sources"))),
        _table("Splits", SPLIT_COLUMNS, _records(card.get("splits"))),
        _table("Left out", ("name", "documents", "bytes"), _records(card.get("drops"), "documents")),
    ]
    known = {"sources", "splits", "drops", "schema_version"}
    facts = [(_title(k), _value(k, v)) for k, v in card.items() if k not in known and isinstance(v, str | int | float)]
    for key, value in card.items():
        if key not in known and isinstance(value, Mapping):
            plain = ((k, v) for k, v in value.items() if isinstance(v, str | int | float))
            facts += [(f"{_title(key)}: {_title(k)}", _value(k, v)) for k, v in plain]
    return CorpusView(tuple(t for t in tables if t is not None), tuple(facts))


def _records(value: Any, number_is: str = "documents") -> list[dict[str, Any]]:
    """A list of records, a mapping name -> record, or a mapping name -> number, as records with a name."""
    if isinstance(value, Mapping):
        return [{"name": k, **(v if isinstance(v, Mapping) else {number_is: v})} for k, v in value.items()]
    return [dict(v) for v in value if isinstance(v, Mapping)] if isinstance(value, list | tuple) else []


def _table(title: str, columns: tuple[str, ...], records: list[dict[str, Any]]) -> CardTable | None:
    used = tuple(c for c in columns if any(r.get(c) not in (None, "") for r in records))
    if not used:
        return None
    rows = tuple(tuple(_value(c, r.get(c)) for c in used) for r in records)
    return CardTable(title, tuple(TITLES.get(c, c) for c in used), rows, tuple(c in NUMBERS for c in used))


def _title(key: str) -> str:
    return key.replace("_", " ")


def _value(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if key.endswith("bytes"):
            return byte_size(value)
        if key in NUMBERS or key.endswith("tokens"):
            return count(value) if abs(value) >= 100_000 else f"{value:,.0f}".replace(",", "\u2009")
        return f"{value:,}".replace(",", "\u2009") if isinstance(value, int) else f"{value:.4g}"
    return str(value)
