"""Every kind of source, on packages made here: no network is used."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus.documents import Document, Report
from gnomon.corpus.sources import npm
from gnomon.corpus.sources.find import find
from gnomon.corpus.sources.formats import EXTRACTORS
from gnomon.corpus.sources.source import Found, Unreachable, glob_pattern, walk
from gnomon.recipe.values import DebianSource, FolderSource, HubSource, NpmSource, PythonSource


def read(found: Found) -> tuple[list[Document], Report]:
    report = Report(found.kind, found.name, found.version, found.licence)
    return list(found.documents(report)), report


@pytest.mark.parametrize(
    ("include", "yes", "no"),
    [
        ("**/*.txt", ["a.txt", "b/c/d.txt"], ["a.txt.gz", "b/txt"]),
        ("**/_sources/**/*.txt", ["usr/_sources/x.txt", "_sources/a/b.txt"], ["usr/sources/x.txt"]),
        ("*.md", ["a.md"], ["b/a.md"]),
        ("**/man*/*", ["usr/man1/ls.1.gz", "man3/x"], ["man3/x/y", "woman/x"]),
        ("**/*.md*", ["x.md", "y/x.md.gz"], ["x.txt"]),
        ("**/[!a]?.txt", ["bb.txt", "q/cc.txt"], ["ab.txt", "b.txt"]),
        ("**/*", ["a", "b/c"], []),
    ],
)
def test_globs_mean_what_they_say(include: str, yes: list[str], no: list[str]) -> None:
    pattern = glob_pattern(include)
    assert all(pattern.fullmatch(name) for name in yes) and not any(pattern.fullmatch(name) for name in no)


def test_a_walk_skips_hidden_files_and_does_not_follow_folders(tmp_path: Path) -> None:
    for name in ("a.txt", "b/c.txt", ".git/x.txt", "b/.hidden", "node_modules/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "dead.txt").symlink_to(tmp_path / "nowhere")
    assert [f.name for f in walk(tmp_path)] == ["a.txt", "b/c.txt"]
    assert [f.name for f in walk(tmp_path, follow_links=True)] == ["a.txt", "b/c.txt", "link.txt"]


def test_a_python_package_is_found_without_importing_it_and_without_its_tests() -> None:
    found = find(PythonSource(kind="python", package="networkx"), Path())
    names = [f.name for f in found.files]
    assert "classes/graph.py" in names and not any("tests/" in n or not n.endswith(".py") for n in names)
    assert found.version[0].isdigit() and "BSD" in found.licence
    standard = find(PythonSource(kind="python", package="stdlib"), Path())
    names = [f.name for f in standard.files]
    assert "json/decoder.py" in names and not any(n.startswith(("test/", "site-packages/")) for n in names)
    assert standard.licence == "PSF-2.0"
    module = find(PythonSource(kind="python", package="typing_extensions", licence="mine"), Path())
    assert [f.name for f in module.files] == ["typing_extensions.py"] and module.licence == "mine"


@pytest.mark.parametrize("package", ["no_such_package", "os.path; import evil", "..", "networkx.classes"])
def test_a_package_that_is_not_there_is_named(package: str) -> None:
    with pytest.raises(Unreachable, match=r"source python .*no package of this import name"):
        find(PythonSource(kind="python", package=package), Path())


def test_a_folder_that_is_missing_empty_or_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="nowhere: no such folder; give a folder of txt"):
        find(FolderSource(kind="folder", path=str(tmp_path / "nowhere")), tmp_path)
    with pytest.raises(GnomonError, match="it holds no files"):
        find(FolderSource(kind="folder", path=str(tmp_path)), tmp_path)
    (tmp_path / "f.txt").write_text("x")
    with pytest.raises(GnomonError, match="this is a file; give the folder"):
        find(FolderSource(kind="folder", path=str(tmp_path / "f.txt")), tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small .deb with a page of each kind."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not on this machine")
    root = tmp_path / "tree"
    files = {
        "DEBIAN/control": b"Package: tiny\nVersion: 1.2-3\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n",
        "usr/share/doc/tiny/copyright": b"Format: x\n\nFiles: *\nLicense: MIT\n\nFiles: b\nLicense: GPL-2+\n",
        "usr/share/doc/tiny/a.txt": b"plain words",
        "usr/share/doc/tiny/b.txt": b"other words",
        "usr/share/man/man1/tiny.1.gz": gzip.compress(b".TH T 1\n.SH NAME\ntiny \\- small\n"),
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "usr/share/doc/tiny/secret.txt").symlink_to("/etc/hostname")
    path = tmp_path / "tiny_1.2-3_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(root), str(path)], check=True, capture_output=True)
    return path


def test_a_debian_package_is_unpacked_and_read(archive: Path, tmp_path: Path) -> None:
    source = DebianSource(kind="debian", package=str(archive), include="**/*.txt")
    found = find(source, tmp_path / "cache")
    documents, report = read(found)
    assert [(d.name, d.text) for d in documents] == [
        ("usr/share/doc/tiny/a.txt", "plain words"),
        ("usr/share/doc/tiny/b.txt", "other words"),
    ]
    assert (found.name, found.version, found.licence) == ("tiny", "1.2-3", "MIT, GPL-2+")
    assert (report.files, report.bytes, documents[0].licence) == (2, 22, "MIT, GPL-2+")
    pages = find(
        DebianSource(kind="debian", package=str(archive), format="man", include="**/man*/*"), tmp_path / "cache"
    )
    assert [d.text for d in read(pages)[0]] == ["NAME\n\ntiny - small"]
    with pytest.raises(GnomonError, match=r"no file in it matches include '\*\*/\*\.pdf'"):
        find(DebianSource(kind="debian", package=str(archive), include="**/*.pdf"), tmp_path / "cache")


def test_a_debian_package_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match=r"gone\.deb: no such file"):
        find(DebianSource(kind="debian", package=str(tmp_path / "gone.deb")), tmp_path)
    with pytest.raises(GnomonError, match="no name of a Debian package"):
        find(DebianSource(kind="debian", package="--option"), tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text(
        "#!/bin/sh\necho 'W: hm' >&2\necho 'E: Unable to locate package nix' >&2\nexit 100\n"
    )
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin")
    with pytest.raises(Unreachable, match=r"debian nix: `apt-get download` failed \(E: Unable to locate package nix\)"):
        find(DebianSource(kind="debian", package="nix"), tmp_path)
    assert not (tmp_path / "debian" / "archives" / "nix").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="apt-get is not on this machine"):
        find(DebianSource(kind="debian", package="nix"), tmp_path)


def extract(tmp_path: Path, kind: str, name: str, data: bytes) -> list[str]:
    path = tmp_path / name
    path.write_bytes(data)
    return [piece.text for piece in EXTRACTORS[kind](path)]


def test_fortunes_are_split_at_their_marks(tmp_path: Path) -> None:
    data = b"first\nsaying\n%\nsecond 100%\n\t-- me\n%\n\n%\nthird\n%\n"
    assert extract(tmp_path, "fortune", "wit", data) == ["first\nsaying", "second 100%\n\t-- me", "third"]


def test_dictionaries_are_split_by_their_index(tmp_path: Path) -> None:
    entries = [b"00-database-info\nx\n", b"cat\n  an animal\n", b"dog\n  another\n"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at, lines = 0, []
    for entry in entries:
        word = entry.split(b"\n")[0].decode()
        for name in (word, word.upper()):
            lines.append(f"{name}\t{digits[at // 64]}{digits[at % 64]}\t{digits[len(entry)]}\n")
        at += len(entry)
    (tmp_path / "d.index").write_text("".join(lines))
    packed = gzip.compress(b"".join(entries))
    assert extract(tmp_path, "dict", "d.dict.dz", packed) == ["cat\n  an animal", "dog\n  another"]
    assert extract(tmp_path, "dict", "alone.dict", b"whole text") == ["whole text"]


def r_string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">ii", 9 | 1 << 18, len(data)) + data


def r_vector(texts: list[str]) -> bytes:
    return struct.pack(">ii", 16, len(texts)) + b"".join(map(r_string, texts))


def test_r_databases_give_their_character_vectors(tmp_path: Path) -> None:
    """A data frame of two columns with names, and an object that is a function."""
    lines = ["It was the best of times", "", "it was the worst of times,"] * 5
    names = struct.pack(">i", 2 | 0x400) + struct.pack(">i", 1) + r_string("names") + r_vector(["line", "n"] * 40)
    numbers = struct.pack(">ii", 13, 2) + struct.pack(">ii", 7, 8)
    frame = (
        struct.pack(">ii", 19 | 0x200, 3)
        + r_vector(lines)
        + r_vector(["short"])
        + numbers
        + names
        + struct.pack(">i", 254)
    )
    header = b"X\n" + struct.pack(">iii", 3, 0x040000, 0x030500) + struct.pack(">i", 5) + b"UTF-8"
    function = header + struct.pack(">i", 3) + struct.pack(">i", 4)
    data = b""
    for block in (header + frame, function):
        data += struct.pack(">I", len(block)) + zlib.compress(block)
    assert extract(tmp_path, "rdata", "x.rdb", data) == ["\n".join(lines)]
    path = tmp_path / "cut.rdb"
    path.write_bytes(data[:-3])
    (lost,) = EXTRACTORS["rdata"](path)
    assert "no R database" in lost.reason


def test_a_local_npm_package_is_packed_and_read(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not on this machine")
    root = tmp_path / "speeches"
    (root / "data").mkdir(parents=True)
    about = {"name": "@me/speeches", "version": "0.1.0", "license": "CC0-1.0", "scripts": {"prepack": "touch ran"}}
    (root / "package.json").write_text(json.dumps(about))
    (root / "data" / "one.txt").write_text("Fellow citizens")
    found = find(NpmSource(kind="npm", package=str(root), version="0.1.0"), tmp_path / "cache")
    documents, _ = read(found)
    assert [(d.name, d.text, d.licence) for d in documents] == [("data/one.txt", "Fellow citizens", "CC0-1.0")]
    assert found.name == "@me/speeches" and not (root / "ran").exists()
    with pytest.raises(GnomonError, match=r"version 0\.1\.0 was found, the recipe names 2\.0\.0"):
        find(NpmSource(kind="npm", package=str(root), version="2.0.0"), tmp_path / "cache")


@pytest.mark.parametrize("name", ["../../evil.txt", "/tmp/evil.txt", "package/../../evil.txt", "evil.txt"])
def test_an_archive_whose_names_lead_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(GnomonError, match="leads out of it"):
        npm.unpack("source npm x", path, tmp_path / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_an_archive_are_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("package/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(member)
        member = tarfile.TarInfo("package/a.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"text"))
    npm.unpack("source npm x", path, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out" / "package").iterdir()] == ["a.txt"]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(GnomonError, match="its archive is broken"):
        npm.unpack("source npm x", path, tmp_path / "out2")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set in the hub's layout: two Parquet files of the train split, one of the test split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path / "web" / "data"
    root.mkdir(parents=True)
    rows = {
        "train-00000-of-00002": ["one", "", None],
        "train-00001-of-00002": ["two"],
        "test-00000-of-00001": ["three"],
    }
    for name, texts in rows.items():
        table = pa.table({"text": pa.array(texts, pa.string()), "id": list(range(len(texts)))})
        pq.write_table(table, root / f"{name}.parquet")
    return root.parent


def test_a_local_hub_data_set_is_read_split_by_split(dataset: Path) -> None:
    documents, report = read(find(HubSource(kind="hub", dataset=str(dataset)), Path()))
    assert [(d.text, d.name) for d in documents] == [
        ("one", "data/train-00000-of-00002.parquet:0"),
        ("two", "data/train-00001-of-00002.parquet:0"),
    ]
    assert [reason for _, _, reason in report.lost] == ["row 1 holds no text", "row 2 holds no text"]
    test, _ = read(find(HubSource(kind="hub", dataset=str(dataset), split="test"), Path()))
    assert [d.text for d in test] == ["three"]
    with pytest.raises(GnomonError, match="no column 'body'; it has text, id: set text_column"):
        read(find(HubSource(kind="hub", dataset=str(dataset), text_column="body"), Path()))
    with pytest.raises(GnomonError, match="of split 'dev' in it"):
        find(HubSource(kind="hub", dataset=str(dataset), split="dev"), Path())


def test_a_hub_data_set_of_json_lines_is_read_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "one", "url": "u"}\n{"text": "two"}\n')
    documents, _ = read(find(HubSource(kind="hub", dataset=str(tmp_path)), Path()))
    assert [d.text for d in documents] == ["one", "two"]


def test_a_broken_parquet_file_is_lost_and_named(dataset: Path) -> None:
    path = dataset / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    documents, report = read(find(HubSource(kind="hub", dataset=str(dataset)), Path()))
    assert [d.text for d in documents] == ["one"] and "no Parquet" in report.lost[-1][2]


def test_streamed_rows_stop_at_the_limit_and_go_through_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from gnomon.corpus.sources import hub

    rows = ({"text": f"row {i}" if i != 1 else None, "id": i} for i in range(1000))
    monkeypatch.setattr(hub, "open_stream", lambda source: rows)
    documents, report = read(find(HubSource(kind="hub", dataset="owner/name", subset="small"), Path(), limit_bytes=20))
    assert [d.text for d in documents] == ["row 0", "row 2", "row 3", "row 4"]
    assert documents[0].name == "owner/name/small:0" and report.lost == [("owner/name/small", 0, "row 1 holds no text")]


def test_the_hub_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Unreachable, match=r"pip install 'gnomon\[hub\]'"):
        find(HubSource(kind="hub", dataset="owner/name"), Path())
