"""TensorBoard event files, without TensorFlow: the TFRecord framing, masked CRC-32C, and the few protobuf fields used.

Field numbers are those of tensorflow/core/util/event.proto, framework/summary.proto and framework/tensor.proto
(Apache-2.0); the checksum is RFC 3720's Castagnoli polynomial, masked as in tensorflow/core/lib/hash/crc32c.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError

# Longer records are pictures and histograms; their bytes are not summed one by one in Python.
LONGEST_CHECKED = 4096
# TensorProto: dtype -> (field of the unpacked values, how one is packed)
_TENSOR_TYPES = {1: (5, "<f"), 2: (6, "<d"), 3: (7, ""), 9: (10, "")}


@dataclass(frozen=True)
class Scalar:
    """One logged number."""

    tag: str
    step: int
    value: float


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def masked_crc(data: bytes) -> int:
    """CRC-32C of data, rotated and shifted so that a checksum of checksums is not degenerate."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file; a last one that a killed run left half written is dropped.

    Raises GnomonError when a checksum does not hold.
    """
    data = path.read_bytes()
    at = 0
    while at + 12 <= len(data):
        length, check = struct.unpack_from("<QI", data, at)
        if masked_crc(data[at : at + 8]) != check:
            raise GnomonError(f"{path}: byte {at} is no record of TensorBoard events; the file is damaged")
        if at + 12 + length + 4 > len(data):
            return
        record = data[at + 12 : at + 12 + length]
        (check,) = struct.unpack_from("<I", data, at + 12 + length)
        if length <= LONGEST_CHECKED and masked_crc(record) != check:
            raise GnomonError(f"{path}: the record at byte {at} fails its checksum; the file is damaged")
        yield record
        at += 16 + length


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a protobuf message: int for varints, bytes for the others."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value: Any
            value, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def read_events(path: Path) -> tuple[list[Scalar], dict[str, Any]]:
    """Every scalar of an event file, and the settings that its hparams plugin kept ({} where it was not used)."""
    scalars: list[Scalar] = []
    settings: dict[str, Any] = {}
    for record in records(path):
        try:
            event = list(fields(record))
            step = next((v for n, v in event if n == 2), 0)
            step -= (step >> 63) << 64
            for summary in (v for n, v in event if n == 5):
                for value in (v for n, v in fields(summary) if n == 1):
                    _read_value(dict(fields(value)), step, scalars, settings)
        except (IndexError, ValueError, struct.error, UnicodeDecodeError, TypeError, AttributeError):
            raise GnomonError(f"{path}: a record is no TensorBoard event; the file is damaged") from None
    return scalars, settings


def _read_value(value: dict[int, Any], step: int, scalars: list[Scalar], settings: dict[str, Any]) -> None:
    tag = value.get(1, b"").decode()
    if 2 in value:
        scalars.append(Scalar(tag, step, struct.unpack("<f", value[2])[0]))
    elif 8 in value:
        number = _tensor_scalar(value[8])
        if number is not None:
            scalars.append(Scalar(tag, step, number))
    if 9 in value and tag.startswith("_hparams_"):
        settings.update(_hparams(value[9]))


def _tensor_scalar(data: bytes) -> float | None:
    """The only number of a tensor of floats or integers; None for other tensors."""
    tensor = list(fields(data))
    kind = next((v for n, v in tensor if n == 1), 0)
    shape = next((v for n, v in tensor if n == 2), b"")
    for dimension in (v for n, v in fields(shape) if n == 2):
        if next((v for n, v in fields(dimension) if n == 1), 1) != 1:
            return None
    if kind not in _TENSOR_TYPES:
        return None
    field, packing = _TENSOR_TYPES[kind]
    for number, value in tensor:
        if number == field and packing:
            return float(struct.unpack(packing, value[: struct.calcsize(packing)])[0])
        if number == field:
            return float(value if isinstance(value, int) else _varint(value, 0)[0])
        if number == 4 and value:
            content = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}[kind]
            return float(struct.unpack(content, value[: struct.calcsize(content)])[0])
    return 0.0


def _hparams(metadata: bytes) -> dict[str, Any]:
    """Settings of a session: plugin data (tensorboard/plugins/hparams/plugin_data.proto), start of the session."""
    plugin = next((v for n, v in fields(metadata) if n == 1), b"")
    content = next((v for n, v in fields(plugin) if n == 2), b"")
    start = next((v for n, v in fields(content) if n == 3), b"")
    settings: dict[str, Any] = {}
    for entry in (v for n, v in fields(start) if n == 1):
        pair = dict(fields(entry))
        for number, value in fields(pair.get(2, b"")):
            name = pair.get(1, b"").decode()
            if number == 2:
                settings[name] = struct.unpack("<d", value)[0]
            elif number == 3:
                settings[name] = value.decode()
            elif number == 4:
                settings[name] = bool(value)
    return settings
