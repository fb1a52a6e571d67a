"""From a folder to a corpus: whole, the same every time, reused, and never half there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError, JobFailed
from gnomon.corpus import build as module
from gnomon.corpus.build import build_corpus
from gnomon.corpus.card import describe
from gnomon.corpus.shards import Corpus
from gnomon.recipe.values import CorpusRecipe, FolderSource, HeldOut, PythonSource, TasksSource

Recipe = Callable[..., CorpusRecipe]


def texts_of(corpus: Corpus, split: str) -> list[str]:
    """The documents of a split, decoded from its shard."""
    tokenizer, tokens = corpus.tokenizer(), corpus.tokens(split)
    ends = np.flatnonzero(tokens == tokenizer.end_id)
    starts = [0, *(ends[:-1] + 1)]
    return [tokenizer.decode(tokens[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]


def test_every_document_is_in_one_split_byte_for_byte(folder: Path, tmp_path: Path, recipe_of: Recipe) -> None:
    corpus = build_corpus(recipe_of(folder), tmp_path / "home")
    originals = sorted(p.read_text() for p in folder.iterdir())
    train, held = texts_of(corpus, "train"), texts_of(corpus, "documents")
    assert sorted(train + held) == originals and held and not set(train) & set(held)
    for split, entry in corpus.manifest["splits"].items():
        tokens = corpus.tokens(split)
        assert entry["bytes"] == int(corpus.token_bytes[tokens].sum(dtype=int)) == len(corpus.text(split))
        assert entry["documents"] == int((tokens == 0).sum()) and tokens.dtype == np.uint16
    assert corpus.vocab == len(corpus.token_bytes) == corpus.tokenizer().vocab
    assert not corpus.has("codebase") and corpus.manifest["metric_set"] == "documents"
    with pytest.raises(GnomonError, match="no split 'codebase'; it has train, documents"):
        corpus.tokens("codebase")


def test_two_homes_build_the_same_corpus_and_a_changed_byte_another(
    folder: Path, tmp_path: Path, recipe_of: Recipe
) -> None:
    first = build_corpus(recipe_of(folder), tmp_path / "a")
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "texts")
    second = build_corpus(recipe_of(moved), tmp_path / "b")
    assert first.hash == second.hash and first.folder.name == second.folder.name == first.hash[:16]
    for name in ("train.bin", "documents.bin", "tokenizer.json", "token_bytes.npy", "card.json", "lost.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    (moved / "07.txt").write_text((moved / "07.txt").read_text() + "One more.\n")
    assert build_corpus(recipe_of(moved), tmp_path / "b").hash != first.hash
    assert build_corpus(recipe_of(moved, vocabulary=280), tmp_path / "b").hash != first.hash


def test_a_second_call_reads_no_text(
    folder: Path, tmp_path: Path, recipe_of: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_corpus(recipe_of(folder), tmp_path)
    monkeypatch.setattr(module.pipeline, "run", None)
    stages: list[str] = []
    assert build_corpus(recipe_of(folder), tmp_path, lambda stage, _: stages.append(stage)).hash == first.hash
    assert stages == ["looking for the sources", "the corpus is there already"]


def test_progress_never_goes_back_and_ends_at_one(folder: Path, tmp_path: Path, recipe_of: Recipe) -> None:
    told: list[tuple[str, float]] = []
    build_corpus(recipe_of(folder), tmp_path, lambda stage, fraction: told.append((stage, fraction)))
    fractions = [f for _, f in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert {"reading texts", "looking for copies", "training the tokenizer"} <= {s for s, _ in told}


@pytest.mark.parametrize("name", ["train.bin", "documents.bin", "tokenizer.json", "token_bytes.npy", "lost.json"])
def test_a_damaged_file_is_named_and_the_next_build_mends_it(
    folder: Path, tmp_path: Path, recipe_of: Recipe, name: str
) -> None:
    corpus = build_corpus(recipe_of(folder), tmp_path)
    path = corpus.folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(GnomonError, match=f"{name}: its bytes do not have the SHA-256"):
        Corpus.open(corpus.folder, verify=True)
    path.write_bytes(whole[:-2])
    with pytest.raises(GnomonError, match=f"{name}: {len(whole) - 2} bytes, the manifest says {len(whole)}"):
        Corpus.open(corpus.folder)
    path.unlink()
    with pytest.raises(GnomonError, match=f"{name}: the file is missing"):
        Corpus.open(corpus.folder)
    again = build_corpus(recipe_of(folder), tmp_path)
    assert again.hash == corpus.hash and path.read_bytes() == whole


def test_an_edited_manifest_is_found(folder: Path, tmp_path: Path, recipe_of: Recipe) -> None:
    corpus = build_corpus(recipe_of(folder), tmp_path)
    path = corpus.folder / "manifest.json"
    body = json.loads(path.read_text())
    body["sources"][0]["licence"] = "another"
    path.write_text(json.dumps(body))
    with pytest.raises(GnomonError, match=r"manifest\.json: its content does not have the hash"):
        Corpus.open(corpus.folder)


KILLED = """
import sys
from pathlib import Path
from gnomon.corpus.build import build_corpus
from gnomon.recipe.values import CorpusRecipe, FolderSource
def say(stage, fraction):
    print(stage, flush=True)
    sys.stdin.readline()
recipe = CorpusRecipe(sources=(FolderSource(kind="folder", path=sys.argv[1]),), vocabulary=300)
build_corpus(recipe, Path(sys.argv[2]), say)
"""


@pytest.mark.parametrize("stage", ["looking for copies", "training the tokenizer", "comparing held-out text"])
def test_a_killed_build_leaves_no_half_corpus(folder: Path, tmp_path: Path, recipe_of: Recipe, stage: str) -> None:
    home = tmp_path / "home"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    for line in child.stdout:
        if line.startswith(stage):
            os.kill(child.pid, signal.SIGKILL)
            break
        child.stdin.write("\n")
        child.stdin.flush()
    assert child.wait() == -signal.SIGKILL
    left = [p.name for p in (home / "corpora").iterdir() if p.name != ".lock"]
    assert len(left) == 1 and left[0].startswith(".building-")
    corpus = build_corpus(recipe_of(folder), home)
    assert Corpus.open(corpus.folder, verify=True).hash == corpus.hash
    assert sorted(p.name for p in (home / "corpora").iterdir()) == sorted([".lock", "by-input", corpus.folder.name])


def test_a_full_disk_is_said_and_leaves_nothing(
    folder: Path, tmp_path: Path, recipe_of: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.pipeline, "encode", full)
    with pytest.raises(JobFailed, match="the disk is full"):
        build_corpus(recipe_of(folder), tmp_path)
    assert [p.name for p in (tmp_path / "corpora").iterdir()] == [".lock"]


def test_lost_files_are_counted_listed_and_refused_beyond_the_limit(
    folder: Path, tmp_path: Path, recipe_of: Recipe
) -> None:
    (folder / "zeros.txt").write_bytes(b"\0" * 3000)
    (folder / "rows.jsonl").write_text('{"text": "good"}\n{bad\n{worse\n')
    (folder / "photo.png").write_bytes(b"\x89PNG" * 50_000)
    (folder / "empty.txt").write_bytes(b"")
    corpus = build_corpus(recipe_of(folder), tmp_path)
    (source,) = json.loads((corpus.folder / "lost.json").read_text())["sources"]
    assert source["lost"] == [
        {"file": "rows.jsonl", "bytes": 12, "reason": "line 2 is no JSON and 1 more"},
        {"file": "zeros.txt", "bytes": 3000, "reason": "binary: it holds zero bytes"},
    ]
    assert [(e["file"], e["reason"]) for e in source["passed_over"]] == [
        ("empty.txt", "empty"), ("photo.png", "a .png file"),
    ]  # fmt: skip
    (folder / "noise.txt").write_bytes(bytes(range(160, 256)) * 60)
    with pytest.raises(
        GnomonError, match=r"cannot be read, 5% may be; worst: noise\.txt \(no UTF-8 at byte 0\); zeros"
    ):
        build_corpus(recipe_of(folder), tmp_path)
    assert build_corpus(recipe_of(folder, lost_bytes_allowed=0.2), tmp_path).has("train")


def test_a_folder_that_gives_no_text_is_named(tmp_path: Path, recipe_of: Recipe) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"\0\0")
    with pytest.raises(GnomonError, match=r"none of its 1 files gives text: a\.txt \(binary"):
        build_corpus(recipe_of(folder), tmp_path)
    (folder / "a.txt").rename(folder / "a.png")
    with pytest.raises(GnomonError, match=r"none of its 1 files gives text: a\.png \(a \.png file\)"):
        build_corpus(recipe_of(folder), tmp_path)
    (folder / "b.txt").write_text("Only a few words.\n" * 5)
    with pytest.raises(GnomonError, match="bytes of training text are left"):
        build_corpus(recipe_of(folder), tmp_path)


def test_copies_of_held_out_text_leave_training_and_are_explained(
    folder: Path, tmp_path: Path, recipe_of: Recipe
) -> None:
    before = build_corpus(recipe_of(folder), tmp_path / "home")
    held = json.loads((before.folder / "held_out.json").read_text())["documents"]["documents"]
    text = (folder / held[0]).read_text()
    (folder / "near.txt").write_text(text + "And one more line.\n")
    (folder / "same.txt").write_text((folder / "00.txt").read_text().replace("\n", "\n\n"))
    corpus = build_corpus(recipe_of(folder), tmp_path / "home")
    assert json.loads((corpus.folder / "held_out.json").read_text())["documents"]["documents"] == held
    drops = corpus.manifest["drops"]
    assert drops["near copy of held-out text"]["examples"] == [{"document": "near.txt", "copy_of": held[0]}]
    assert drops["exact copy"]["examples"] == [{"document": "same.txt", "copy_of": "00.txt"}]
    assert corpus.manifest["overlap"]["documents"]["share"] == 0.0
    kept = build_corpus(recipe_of(folder, near_duplicate_threshold=1), tmp_path / "home")
    assert kept.manifest["overlap"]["documents"]["share"] > 0.3


def test_sources_that_are_held_out_whole_have_their_own_splits(folder: Path, tmp_path: Path, recipe_of: Recipe) -> None:
    held = HeldOut(
        codebase=PythonSource(kind="python", package="iniconfig"),
        development=PythonSource(kind="python", package="hypothesis", limit_mb=0.05),
    )
    corpus = build_corpus(recipe_of(folder, held_out=held, vocabulary=400), tmp_path)
    assert corpus.manifest["metric_set"] == "codebase"
    assert any("class IniConfig" in text for text in texts_of(corpus, "codebase"))
    assert 20_000 < corpus.manifest["splits"]["development"]["bytes"] <= 50_000
    assert set(corpus.manifest["overlap"]) == {"documents", "codebase", "development"}


def test_an_optional_source_that_is_missing_is_skipped_by_name(folder: Path, tmp_path: Path, recipe_of: Recipe) -> None:
    plain = recipe_of(folder)
    for optional in (False, True):
        gone = PythonSource(kind="python", package="no_such_thing", optional=optional)
        recipe = plain.model_copy(update={"sources": (*plain.sources, gone)})
        if not optional:
            with pytest.raises(GnomonError, match="source python no_such_thing: no package of this import name"):
                build_corpus(recipe, tmp_path)
            continue
        corpus = build_corpus(recipe, tmp_path)
        assert corpus.manifest["skipped"] == ["python no_such_thing"]
        lines = describe(json.loads((corpus.folder / "card.json").read_text()))
        assert "skipped (optional, could not be reached): python no_such_thing" in lines
    only = CorpusRecipe(sources=(PythonSource(kind="python", package="no_such_thing", optional=True),))
    with pytest.raises(GnomonError, match="none of its sources can be reached"):
        build_corpus(only, tmp_path)


def test_a_limit_keeps_the_share_of_every_source(
    folder: Path, tmp_path: Path, recipe_of: Recipe, write_prose: Callable[..., str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for i in range(20):
        (other / f"{i}.md").write_text(write_prose(1000 + i))
    plain = recipe_of(folder, limit_mb=0.06, near_duplicate_threshold=1)
    recipe = plain.model_copy(update={"sources": (*plain.sources, FolderSource(kind="folder", path=str(other)))})
    sources = build_corpus(recipe, tmp_path).manifest["sources"]
    read, kept = ([s[key] for s in sources] for key in ("bytes_read", "bytes"))
    assert 50_000 < sum(kept) <= 60_000
    assert kept[0] / kept[1] == pytest.approx(read[0] / read[1], rel=0.25)


def test_a_single_large_file_is_cut_to_the_limit_and_held_out_in_part(
    tmp_path: Path, recipe_of: Recipe, write_prose
) -> None:
    folder = tmp_path / "book"
    folder.mkdir()
    text = write_prose(3, 30_000)
    (folder / "book.txt").write_text(text)
    corpus = build_corpus(recipe_of(folder, limit_mb=0.1), tmp_path)
    (train,), (held,) = texts_of(corpus, "train"), texts_of(corpus, "documents")
    assert text.startswith(train + held) and 95_000 < len(train + held) <= 100_000
    assert 0.019 < len(held) / len(train + held) < 0.023
    card = json.loads((corpus.folder / "card.json").read_text())
    assert "The text is one file, so the last part of book.txt" in card["held_out"]["words"]
    assert "forecasts are scored on these documents" in card["held_out"]["words"]
    assert any(line.startswith("left out, beyond the limit: 1 documents") for line in describe(card))


def test_a_vocabulary_too_large_for_the_text_is_shrunk_and_said(
    folder: Path, tmp_path: Path, recipe_of: Recipe
) -> None:
    corpus = build_corpus(recipe_of(folder, vocabulary=50_000), tmp_path)
    assert 260 < corpus.vocab < 2000
    card = json.loads((corpus.folder / "card.json").read_text())
    assert f"The vocabulary is {corpus.vocab} instead of the 50000 wished for" in describe(card)[-1]


def test_the_card_says_what_a_reader_asks_for(folder: Path, tmp_path: Path, recipe_of: Recipe) -> None:
    lines = describe(json.loads((build_corpus(recipe_of(folder), tmp_path).folder / "card.json").read_text()))
    text = "\n".join(lines)
    for words in (
        "source folder texts: 40 documents",
        "licence: the user's own",
        "bytes each)",
        "held out:",
        "13-gram check, documents: 0.00%",
        "byte-level BPE, GPT-2's split pattern",
    ):
        assert words in text
    assert str(tmp_path) not in (tmp_path / "corpora").joinpath(lines[0].split()[1], "card.json").read_text()


def test_graded_tasks_are_trained_on_whole_and_no_score_text_holds_them(
    folder: Path, tmp_path: Path, recipe_of: Recipe
) -> None:
    plain = recipe_of(folder)
    tasks = TasksSource(kind="tasks", limit_mb=0.02, seed=3)
    mixed = plain.model_copy(update={"sources": (*plain.sources, tasks)})
    corpus = build_corpus(mixed, tmp_path / "home")
    train = "".join(texts_of(corpus, "train"))
    assert 130 < train.count('"""') / 2 < 200  # problems in 20 kB
    assert "def " not in "".join(texts_of(corpus, "documents"))
    alone = build_corpus(plain, tmp_path / "other")
    assert texts_of(corpus, "documents") == texts_of(alone, "documents")
