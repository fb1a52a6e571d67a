"""What is held out, and that it is said."""

import hashlib
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Document, Spool
from gnomon.corpus.heldout import Choice, hold_out
from gnomon.recipe.values import HeldOut


def choose(
    tmp_path: Path, texts: dict[str, str], how: HeldOut, modified: dict[str, float] | None = None
) -> tuple[Choice, Spool, list[str]]:
    spool = Spool(tmp_path / "spool.bin")
    for name, text in texts.items():
        spool.add(0, Document.of(text, name, "s", "", (modified or {}).get(name, 0.0)))
    choice = hold_out(spool, list(spool.entries), how)
    return choice, spool, [e.name for e in spool.entries if e.split == "documents"]


def bucket(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest(), 16) % 10_000


def test_many_documents_follow_their_hash_alone(tmp_path: Path) -> None:
    texts = {f"d{i}": f"document {i} " * 20 for i in range(2000)}
    choice, spool, held = choose(tmp_path, texts, HeldOut(fraction=0.03))
    expected = [e.name for e in spool.entries if int(e.sha, 16) % 10_000 < 300]
    assert held == expected and 30 < len(held) < 90
    assert f"{len(held)} of 2000 documents" in choice.words and "SHA-1" in choice.words


def test_adding_documents_changes_nothing_for_the_others(tmp_path: Path) -> None:
    texts = {f"d{i}": f"document {i} " * 20 for i in range(1500)}
    _, _, before = choose(tmp_path, dict(list(texts.items())[:1000]), HeldOut(fraction=0.05))
    _, _, after = choose(tmp_path, texts, HeldOut(fraction=0.05))
    assert [name for name in after if int(name[1:]) < 1000] == before


def test_a_small_folder_gives_whole_files_of_two_to_five_percent(tmp_path: Path, write_prose) -> None:
    texts = {f"d{i}": write_prose(i, 300) for i in range(60)}
    choice, spool, held = choose(tmp_path, texts, HeldOut(fraction=0.001))
    total = sum(e.bytes for e in spool.entries)
    size = sum(e.bytes for e in spool.entries if e.split == "documents")
    assert held and 0.02 * total <= size <= 0.05 * total
    assert "were added because a score needs" in choice.words


def test_a_document_too_large_to_give_away_stays(tmp_path: Path, write_prose) -> None:
    texts = {f"d{i}": write_prose(i, 300) for i in range(60)} | {"big": write_prose(99, 20_000)}
    versions = (f"{texts['big']}{seed}" for seed in range(1000))
    texts["big"] = next(text for text in versions if bucket(text) < 300)
    choice, _, held = choose(tmp_path, texts, HeldOut(fraction=0.03))
    assert "big" not in held
    assert "1 stayed in training although" in choice.words


def test_a_single_file_gives_its_last_part_in_one_piece(tmp_path: Path, write_prose) -> None:
    text = write_prose(0, 40_000)
    choice, spool, held = choose(tmp_path, {"book.txt": text}, HeldOut())
    first, second = spool.entries
    assert (first.split, second.split) == (None, "documents") and len(held) == 1
    assert spool.read(first) + spool.read(second) == text.encode()
    assert spool.read(first).endswith(b"\n")
    assert 0.02 <= second.bytes / len(text) < 0.022
    assert "The text is one file" in choice.words and "book.txt" in choice.words


def test_text_without_lines_is_cut_between_characters(tmp_path: Path) -> None:
    _, spool, _ = choose(tmp_path, {"one.txt": "日本" * 5000}, HeldOut())
    assert "".join(spool.read(e).decode() for e in spool.entries) == "日本" * 5000


def test_by_folder_takes_what_the_recipe_names_or_the_one_of_fitting_size(tmp_path: Path, write_prose) -> None:
    sizes = {"a": 3000, "b": 200, "c": 1500}
    texts = {f"{f}/{i}.txt": write_prose(i * 7 + ord(f), n) for f, n in sizes.items() for i in range(3)}
    _, _, held = choose(tmp_path, texts, HeldOut(by="folder", folders=("c",)))
    assert held == [n for n in texts if n.startswith("c/")]
    choice, _, held = choose(tmp_path, texts, HeldOut(by="folder"))
    assert held == [n for n in texts if n.startswith("b/")] and "Everything in b is held out" in choice.words
    with pytest.raises(GnomonError, match="'d' holds no documents"):
        choose(tmp_path, texts, HeldOut(by="folder", folders=("d",)))
    with pytest.raises(GnomonError, match="none is left to train on"):
        choose(tmp_path, texts, HeldOut(by="folder", folders=("a", "b", "c")))
    with pytest.raises(GnomonError, match="use by: document"):
        choose(tmp_path, {"x.txt": "text"}, HeldOut(by="folder"))


def test_by_date_takes_the_newest_files_with_all_their_rows(tmp_path: Path, write_prose) -> None:
    texts = {f"{day:02}.jsonl:{row}": write_prose(day * 10 + row, 100) for day in range(30) for row in range(3)}
    dates = {name: float(name[:2]) for name in texts}
    choice, _, held = choose(tmp_path, texts, HeldOut(by="date", fraction=0.06), dates)
    assert held == [f"{day}.jsonl:{row}" for day in (28, 29) for row in range(3)]
    assert "2 newest of 30 files" in choice.words
    with pytest.raises(GnomonError, match="same date"):
        choose(tmp_path, texts, HeldOut(by="date"))


def test_no_text_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(GnomonError, match="no documents to hold out from"):
        choose(tmp_path, {}, HeldOut())
    with pytest.raises(GnomonError, match="too few to hold any out"):
        choose(tmp_path, {"a": "x"}, HeldOut())
