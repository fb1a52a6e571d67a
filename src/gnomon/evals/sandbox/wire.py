"""Values that may cross from a candidate to its judge: plain data as JSON, nothing that could run.

A judge compares what comes back, so types count: a tuple stays a tuple, 1.0 is not 1, True is not 1. Subclasses arrive
as what they are made of, since their own __eq__ must not decide anything; other things as true or false, equal to
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

MOST_BYTES = 1 << 20  # of one line
MOST_ITEMS = 100_000  # that an iterator may give
EXACT = 1 << 53


class Unsendable(Exception):
    """Data that cannot be written down, or too much of it."""


class Thing:
    """What is no plain data (a match, a function), on the other side: only whether it counts as true is known."""

    def __init__(self, truth: bool) -> None:
        self._truth = truth

    def __bool__(self) -> bool:
        return self._truth


def _tagged(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value if value is None else bool(value)
    if isinstance(value, int):
        return int(value) if -EXACT < value < EXACT else {"int": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [_tagged(v) for v in list.__iter__(value)]
    if isinstance(value, dict):
        return {"dict": [[_tagged(k), _tagged(v)] for k, v in dict.items(value)]}
    kinds: tuple[Any, ...] = (tuple, set, frozenset)
    for kind in kinds:
        if isinstance(value, kind):
            return {kind.__name__: [_tagged(v) for v in kind.__iter__(value)]}
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__ if type(value) is bytearray else "bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, Iterator):
        return {"iterator": [_tagged(v) for _, v in zip(range(MOST_ITEMS), value, strict=False)]}
    return {"thing": bool(value)}


def encode(value: Any) -> bytes:
    """One line. Raises Unsendable for data that holds itself, and for more than MOST_BYTES."""
    try:
        line = json.dumps(_tagged(value), separators=(",", ":")).encode()
    except (RecursionError, ValueError) as error:
        raise Unsendable(f"data that cannot be written down ({type(error).__name__})") from None
    if len(line) > MOST_BYTES:
        raise Unsendable(f"{len(line)} bytes; at most {MOST_BYTES}")
    return line + b"\n"


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "thing": lambda v: Thing(v is True),
    "int": lambda v: int(v, 16),
    "dict": lambda v: {_value(k): _value(w) for k, w in v},
    "tuple": lambda v: tuple(_value(w) for w in v),
    "set": lambda v: {_value(w) for w in v},
    "frozenset": lambda v: frozenset(_value(w) for w in v),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda v: complex(*v),
    "range": lambda v: range(*v),
    "iterator": lambda v: iter([_value(w) for w in v]),
}


def _value(tagged: Any) -> Any:
    if isinstance(tagged, list):
        return [_value(v) for v in tagged]
    if isinstance(tagged, dict):
        ((kind, body),) = tagged.items()
        return _MAKERS[kind](body)
    return tagged


def decode(line: bytes) -> Any:
    """What encode wrote. Raises Unsendable for any other bytes: a candidate may send what it likes."""
    try:
        return _value(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise Unsendable(f"not a value ({type(error).__name__})") from None
