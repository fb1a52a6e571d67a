"""Outside witnesses: what a commit and a time stamp show, and that forged ones show nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.registry import Registry, attestation, self_attested, timestamp
from gnomon.registry.anchor import anchor_commit, anchor_stamp, ask_stamp, check_anchor, check_commit, check_stamp
from gnomon.registry.proof import export_proof

Body = Callable[..., dict[str, Any]]
Close = Callable[..., dict[str, Any]]
HEAD = "0123456789abcdef" * 4

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """git in tmp_path, a repository with a bare one beside it as its remote."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]

    def run(*arguments: str) -> str:
        command = ["git", *who, "-C", str(tmp_path), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, **settings}
        ).stdout.strip()

    run("init", "--quiet")
    run("init", "--quiet", "--bare", "elsewhere.git")
    run("remote", "add", "origin", str(tmp_path / "elsewhere.git"))
    return run


@needs_git
def test_a_commit_counts_once_it_was_pushed(registry: Registry, forecast: Body, git: Callable[..., str]) -> None:
    entry = registry.register(forecast(16))
    later = registry.register(forecast(32))
    git("add", "forecasts.jsonl")
    git("commit", "--quiet", "-m", "A sealed forecast")
    anchor = anchor_commit(registry)
    assert anchor.body["head"] == later.hash
    assert self_attested(registry, entry)
    assert "merely local" in attestation(registry, entry).label

    git("push", "--quiet", "origin", "main")
    commit = git("rev-parse", "HEAD")
    assert attestation(registry, entry).label == f"anchored: commit {commit[:10]} on origin/main"
    assert not self_attested(registry, entry)
    assert self_attested(registry, registry.register(forecast(48)))
    assert registry.verify() == []


@needs_git
def test_a_committed_proof_anchors_its_forecast(registry: Registry, forecast: Body, git: Callable[..., str]) -> None:
    entry = registry.register(forecast(16))
    registry.register(forecast(32))
    proof = export_proof(registry, entry.hash, registry.path.parent / "proofs" / "first.json")
    git("add", "proofs")
    git("commit", "--quiet", "-m", "A sealed forecast")
    git("push", "--quiet", "origin", "main")
    assert anchor_commit(registry, "main", proof).body["head"] == entry.hash
    assert not self_attested(registry, entry)


@needs_git
def test_a_commit_after_the_outcome_is_no_witness(
    registry: Registry, forecast: Body, close: Close, git: Callable[..., str]
) -> None:
    entry = registry.register(forecast())
    close(registry, entry)
    git("add", "forecasts.jsonl")
    git("commit", "--quiet", "-m", "Too late")
    git("push", "--quiet", "origin", "main")
    anchor_commit(registry)
    assert self_attested(registry, entry)
    assert attestation(registry, entry).label.endswith("but only after the outcome")


@needs_git
def test_a_commit_without_the_head_is_named(registry: Registry, forecast: Body, git: Callable[..., str]) -> None:
    registry.register(forecast(16))
    git("add", "forecasts.jsonl")
    git("commit", "--quiet", "-m", "A sealed forecast")
    head = registry.register(forecast(32)).hash
    check = check_commit(head, "HEAD", registry.path)
    assert (check.holds, check.outside) == (False, False)
    assert f"without head {head[:12]}" in check.text
    for commit, file in (
        ("f" * 40, registry.path),
        ("HEAD", registry.path.with_name("other")),
        ("--all", registry.path),
    ):
        assert not check_commit(head, commit, file).holds
        with pytest.raises(GnomonError, match="anchor:"):
            anchor_commit(registry, commit, file)


@needs_git
def test_outside_a_repository_no_commit_is_found(registry: Registry, forecast: Body) -> None:
    registry.register(forecast())
    with pytest.raises(GnomonError, match="anchor: git rev-parse"):
        anchor_commit(registry)


@dataclass(frozen=True)
class Authority:
    """A time stamp authority of our own."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def stamp(self, request: bytes) -> bytes:
        (self.folder / "request.tsq").write_bytes(request)
        openssl(self.folder, "ts -reply -queryfile request.tsq -config ts.conf -out response.tsr")
        return (self.folder / "response.tsr").read_bytes()


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, check=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    (folder / "ts.conf").write_text(
        "[req]\ndistinguished_name = name\n[name]\n"
        "[ca]\nbasicConstraints = critical,CA:true\n"
        "[stamping]\nextendedKeyUsage = critical,timeStamping\n"
        "[tsa]\ndefault_tsa = own\n[own]\nserial = serial\nsigner_cert = tsa.pem\nsigner_key = tsa.key\n"
        "signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256\naccuracy = secs:1\nordering = yes\n"
    )
    (folder / "serial").write_text("01\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config ts.conf"
    openssl(folder, f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=Own-Root -extensions ca -days 2")
    openssl(folder, f"req -new {key} -keyout tsa.key -out tsa.csr -subj /CN=Own-Authority")
    signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile ts.conf -extensions stamping -days 2"
    openssl(folder, f"x509 -req -in tsa.csr {signed} -out tsa.pem")
    return Authority(folder)


@needs_openssl
def test_our_request_is_openssl_s_request(tmp_path: Path) -> None:
    openssl(tmp_path, f"ts -query -digest {HEAD} -sha256 -cert -no_nonce -out theirs.tsq")
    assert (tmp_path / "theirs.tsq").read_bytes() == timestamp.request(HEAD)


@needs_openssl
@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 2**63, 2**64 - 1])
def test_a_nonce_is_read_back_as_it_was(tmp_path: Path, nonce: int) -> None:
    (tmp_path / "ours.tsq").write_bytes(timestamp.request(HEAD, nonce))
    command = ["openssl", "ts", "-query", "-in", str(tmp_path / "ours.tsq"), "-text"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = text.partition("Nonce: ")[2].splitlines()[0]
    assert int(shown, 16) == nonce
    assert "Hash Algorithm: sha256" in text


@needs_openssl
def test_a_stamp_is_read_and_its_signature_checked(authority: Authority) -> None:
    response = authority.stamp(timestamp.request(HEAD))
    stamp = timestamp.read_stamp(response)
    assert stamp.imprint == HEAD
    assert stamp.time.endswith("Z")
    check = check_stamp(HEAD, response, authority.ca)
    assert (check.holds, check.outside) == (True, True)
    assert "Own-Authority" in check.text


@needs_openssl
def test_a_stamp_of_an_unknown_authority_is_not_outside(authority: Authority) -> None:
    check = check_stamp(HEAD, authority.stamp(timestamp.request(HEAD)))
    assert (check.holds, check.outside) == (True, False)
    assert "does not accept the signature" in check.text


@needs_openssl
def test_a_stamp_of_something_else_is_named(authority: Authority) -> None:
    check = check_stamp("9" * 64, authority.stamp(timestamp.request(HEAD)), authority.ca)
    assert (check.holds, check.outside) == (False, False)
    assert f"is about {HEAD[:12]}" in check.text


@needs_openssl
def test_a_stamp_whose_time_was_changed_is_not_outside(authority: Authority) -> None:
    response = authority.stamp(timestamp.request(HEAD))
    at = response.index(timestamp.read_stamp(response).time[:4].encode() + b"", response.index(bytes.fromhex(HEAD)))
    earlier = response[:at] + b"2001" + response[at + 4 :]
    assert timestamp.read_stamp(earlier).time.startswith("2001")
    assert not check_stamp(HEAD, earlier, authority.ca).outside


@needs_openssl
def test_no_cut_or_changed_response_is_a_traceback(authority: Authority) -> None:
    response = authority.stamp(timestamp.request(HEAD))
    for at in range(len(response)):
        for damaged in (response[:at], response[:at] + bytes([response[at] ^ 0x81]) + response[at + 1 :]):
            try:
                timestamp.read_stamp(damaged)
            except GnomonError as error:
                assert str(error).startswith("time stamp: ")


@settings(deadline=None)
@given(raw=st.binary(max_size=60))
def test_no_bytes_are_taken_for_a_stamp(raw: bytes) -> None:
    with pytest.raises(GnomonError, match="time stamp: "):
        timestamp.read_stamp(raw)


def test_a_refusal_is_named() -> None:
    with pytest.raises(GnomonError, match="refused with status 2"):
        timestamp.read_stamp(bytes.fromhex("30053003020102"))


@needs_openssl
def test_a_stamped_registry_is_anchored(
    registry: Registry, forecast: Body, authority: Authority, tmp_path: Path
) -> None:
    entry = registry.register(forecast(16))
    path = tmp_path / "response.tsr"
    path.write_bytes(authority.stamp(timestamp.request(registry.head)))
    anchor = anchor_stamp(registry, path)
    path.unlink()
    assert anchor.body["head"] == entry.hash
    assert check_anchor(anchor, tmp_path, authority.ca).outside
    assert not self_attested(registry, entry, authority.ca)
    assert attestation(registry, entry, authority.ca).label.startswith("anchored: time stamp of ")
    assert self_attested(registry, entry)
    assert registry.verify() == []


@needs_openssl
def test_a_stamp_of_another_registry_is_refused(registry: Registry, authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "response.tsr"
    path.write_bytes(authority.stamp(timestamp.request(HEAD)))
    with pytest.raises(GnomonError, match="the hash of no entry"):
        anchor_stamp(registry, path)
    with pytest.raises(GnomonError, match="No such file"):
        anchor_stamp(registry, tmp_path / "absent.tsr")


def test_without_openssl_the_reader_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "openssl is not installed" in timestamp.check_signature(b"", HEAD)


def test_an_anchor_that_cannot_be_read_is_no_witness(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    registry.anchor("rfc3161", {"response": "?"})
    registry.anchor("git-commit", {})
    assert self_attested(registry, entry)


@pytest.fixture
def served(authority: Authority) -> Iterator[str]:
    """The authority's address on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = b"no" if self.path == "/broken" else authority.stamp(body)
            self.send_response(500 if self.path == "/down" else 200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@needs_openssl
def test_an_authority_is_asked_and_its_stamp_kept(
    registry: Registry, forecast: Body, authority: Authority, served: str
) -> None:
    entry = registry.register(forecast(16))
    assert ask_stamp(registry, served, entry).body["head"] == entry.hash
    assert attestation(registry, entry, authority.ca).label.endswith("Own-Authority")
    assert self_attested(registry, entry), "an authority of one's own is no witness without its certificate"
    later = registry.register(forecast(32))
    assert self_attested(registry, later, authority.ca)


@needs_openssl
def test_an_authority_that_fails_leaves_the_registry_as_it_was(registry: Registry, forecast: Body, served: str) -> None:
    entry = registry.register(forecast(16))
    before = registry.path.read_bytes()
    for url, message in (
        (f"{served}/down", "no stamp was made"),
        (f"{served}/broken", "time stamp"),
        ("ftp://x", "http"),
    ):
        with pytest.raises(GnomonError, match=message):
            ask_stamp(registry, url, entry)
    assert registry.path.read_bytes() == before


@needs_git
def test_a_commit_from_before_the_entry_is_refused(registry: Registry, forecast: Body, git: Callable[..., str]) -> None:
    registry.register(forecast(16))
    git("add", "forecasts.jsonl")
    git("commit", "--quiet", "-m", "One sealed forecast")
    second = registry.register(forecast(32))
    with pytest.raises(GnomonError, match="ends with entry 0, before"):
        anchor_commit(registry, "HEAD", about=second)
