"""TensorBoard event files, written here byte by byte: numbers, settings, restarts, cut-off tails, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import read
from gnomon.forecast.readers.events import masked_crc, read_events


def varint(value: int) -> bytes:
    out = b""
    value &= 2**64 - 1
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | int | float, double: bool = False) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | (1 if double else 5)) + struct.pack("<d" if double else "<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def framed(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


def scalar(tag: str, step: int, value: float, tensor: bool = False) -> bytes:
    body = field(8, field(1, 1) + field(4, struct.pack("<f", value))) if tensor else field(2, value)
    return framed(field(1, 1.7e9, True) + field(2, step) + field(5, field(1, field(1, tag.encode()) + body)))


def hparams(name: str, value: float) -> bytes:
    entry = field(1, field(1, name.encode()) + field(2, field(2, value, True)))
    metadata = field(1, field(1, b"hparams") + field(2, field(3, entry)))
    return framed(field(5, field(1, field(1, b"_hparams_/session_start_info") + field(9, metadata))))


def write(folder: Path, *records: bytes, number: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.17000000{number:02d}.host"
    path.write_bytes(framed(field(3, b"brain.Event:2")) + b"".join(records))
    return path


def test_the_checksum_is_castagnolis() -> None:
    crc = 0xE3069283  # of "123456789", RFC 3720's check value
    assert masked_crc(b"123456789") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_folder_of_runs(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        run = tmp_path / name
        points = [scalar("eval/loss", s, 4.0 - s / 100, tensor=bool(i)) for s in (10, 30, 20)]
        rates = [scalar("lr", s, r) for s, r in ((10, 1e-3), (30, 1e-5))]
        write(run, *points, *rates)
        (run / "hparams.yaml").write_text(f"n_params: {10 ** (6 + i)}\ntrain_tokens: 20000000\nmodel:\n  d_model: 64\n")
    table = read(tmp_path)
    assert table.ids() == ("a", "b") and table["parameters_total"].tolist() == [1e6, 1e7]
    assert table["eval/loss"].tolist() == pytest.approx([3.7, 3.7]) and table["steps"].tolist() == [30.0, 30.0]
    assert table["rate"].tolist() == pytest.approx([1e-3] * 2)
    assert table["last_rate"].tolist() == pytest.approx([1e-5] * 2)
    assert table["width"].tolist() == [64.0, 64.0] and table["flops"].tolist() == [6 * 1e6 * 2e7, 6 * 1e7 * 2e7]
    assert table.history["b"]["eval/loss"][0].tolist() == [10.0, 20.0, 30.0]


def test_settings_of_the_hparams_plugin(tmp_path: Path) -> None:
    write(tmp_path / "x", hparams("N", 5e6), hparams("D", 1e8), scalar("loss", 1, 2.5))
    table = read(tmp_path)
    assert table["parameters_total"].tolist() == [5e6] and table["tokens"].tolist() == [1e8]


def test_settings_in_a_session_folder_belong_to_the_run_above(tmp_path: Path) -> None:
    """SummaryWriter.add_hparams opens a folder of its own, named by the time."""
    write(tmp_path / "x", scalar("eval/loss", 1, 2.5))
    write(tmp_path / "x" / "1795327632.75", hparams("N", 5e6), scalar("eval/loss", 0, 9.0))
    table = read(tmp_path)
    assert table.ids() == ("x",) and table["parameters_total"].tolist() == [5e6]
    assert table["eval/loss"].tolist() == [2.5]


def test_a_restart_overwrites_what_lies_beyond_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, scalar("loss", 1, 5.0), scalar("loss", 2, 4.0), scalar("loss", 3, 9.0), number=1)
    write(tmp_path, scalar("loss", 2, 3.5), number=2)
    assert read(tmp_path)["loss"].tolist() == [3.5]
    steps, values = next(iter(read(tmp_path).history.values()))["loss"]
    assert steps.tolist() == [1.0, 2.0] and values.tolist() == [5.0, 3.5]


def test_a_cut_off_tail_is_dropped_and_damage_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, scalar("loss", 1, 5.0), scalar("loss", 2, 4.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert [s.value for s in read_events(path)[0]] == [5.0]
    broken = bytearray(whole)
    broken[-10] ^= 1
    path.write_bytes(bytes(broken))
    with pytest.raises(GnomonError, match="fails its checksum"):
        read(tmp_path)
    path.write_bytes(b"not an event file at all")
    with pytest.raises(GnomonError, match="no record of TensorBoard events"):
        read(tmp_path)


def test_event_files_without_numbers_get_one_line(tmp_path: Path) -> None:
    write(tmp_path / "x")
    with pytest.raises(GnomonError, match="hold no logged numbers"):
        read(tmp_path)
