"""Outside witnesses of a chain head: a git commit that somebody else has, or a time stamp that somebody else signed.

Whoever owns the registry file can write all of it anew. They cannot do that to a commit that a host received, or to
an authority's signature; what each of the two shows, and what it leaves open, is in docs/registry.md.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.registry import timestamp
from gnomon.registry.chain import Entry

if TYPE_CHECKING:
    from gnomon.registry.registry import Registry


@dataclass(frozen=True)
class AnchorCheck:
    """What a witness is worth. holds: it does contain the head. outside: somebody else vouches for it."""

    holds: bool
    outside: bool
    text: str


def check_commit(head: str, commit: str, file: Path) -> AnchorCheck:
    """Whether file, as it stands in this commit of the git repository around it, contains head.

    outside is True when a remote-tracking branch holds the commit: then it was pushed, or fetched.
    """
    try:
        full, content = _committed(commit, file)
    except GnomonError as error:
        return AnchorCheck(False, False, str(error))
    name = f"commit {full[:10]}"
    if head.encode() not in content:
        return AnchorCheck(False, False, f"{name} holds {file.name} without head {head[:12]}")
    listed = _git(file.parent, "for-each-ref", "--contains", full, "--format=%(refname:short)", "refs/remotes")
    branches = [branch for branch in listed.decode().split() if not branch.endswith("/HEAD")]
    if not branches:
        return AnchorCheck(True, False, f"{name} is merely local: no remote-tracking branch holds it; push it")
    return AnchorCheck(True, True, f"{name} on {branches[0]}")


def check_stamp(head: str, response: bytes, ca_file: Path | None = None) -> AnchorCheck:
    """Whether a time stamp response (.tsr) is about head, and whether its signature leads to a trusted authority."""
    try:
        stamp = timestamp.read_stamp(response)
    except GnomonError as error:
        return AnchorCheck(False, False, str(error))
    if stamp.imprint != head:
        return AnchorCheck(False, False, f"the time stamp is about {stamp.imprint[:12]}, not about head {head[:12]}")
    fault = timestamp.check_signature(response, head, ca_file)
    if fault:
        return AnchorCheck(True, False, f"time stamp of {stamp.time}: {fault}")
    return AnchorCheck(
        True, True, f"time stamp of {stamp.time} by {timestamp.signer(response) or 'an unnamed authority'}"
    )


def check_anchor(anchor: Entry, folder: Path, ca_file: Path | None = None) -> AnchorCheck:
    """Check an anchor entry again. folder: the registry's own; a commit's file is found relative to it."""
    head, reference = anchor.body["head"], anchor.body["reference"]
    if anchor.body["anchor"] == "git-commit":
        return check_commit(head, str(reference.get("commit")), Path(folder, str(reference.get("file"))))
    try:
        response = base64.b64decode(str(reference.get("response")), validate=True)
    except ValueError:
        return AnchorCheck(False, False, f"the time stamp in entry {anchor.index} is not readable")
    return check_stamp(head, response, ca_file)


def anchor_commit(
    registry: Registry, commit: str = "HEAD", file: Path | None = None, about: Entry | None = None
) -> Entry:
    """Note in the registry that a commit holds its newest head that is found there.

    file: what was committed, such as an exported proof; default: the registry itself. about: the entry that needs a
    witness. Raises GnomonError when the commit or the file in it cannot be read, holds no head of this registry, or
    none from `about` on.
    """
    file = file if file is not None else registry.path
    full, content = _committed(commit, file)
    held = [entry for entry in registry.entries() if entry.hash.encode() in content]
    if not held:
        raise GnomonError(
            f"anchor: {file.name} in commit {full[:10]} holds no entry of {registry.path}; commit it first"
        )
    if about is not None and held[-1].index < about.index:
        raise GnomonError(
            f"anchor: {file.name} in commit {full[:10]} ends with entry {held[-1].index}, before {about.hash[:12]} "
            f"(entry {about.index}); commit it as it is now"
        )
    relative = os.path.relpath(file.resolve(), registry.path.parent.resolve())
    return registry.anchor("git-commit", {"commit": full, "file": relative}, held[-1].hash)


def anchor_stamp(registry: Registry, response_file: Path, about: Entry | None = None) -> Entry:
    """Keep a time stamp response (.tsr) in the registry, as an anchor of the head that it is about.

    about: the entry that needs a witness. Raises GnomonError when the file is no response, or is about no head of this
    registry, or about one before `about`.
    """
    try:
        response = response_file.read_bytes()
    except OSError as error:
        raise GnomonError(f"anchor: {response_file}: {error.strerror}") from None
    return _keep_stamp(registry, response, str(response_file), about)


def ask_stamp(registry: Registry, url: str, about: Entry) -> Entry:
    """Ask a time stamp authority to stamp this entry's hash, and keep its response.

    Raises GnomonError when the authority cannot be reached, refuses, or answers about something else.
    """
    return _keep_stamp(registry, timestamp.ask(url, about.hash), url, about)


def _keep_stamp(registry: Registry, response: bytes, source: str, about: Entry | None) -> Entry:
    head = timestamp.read_stamp(response).imprint
    places = {entry.hash: entry.index for entry in registry.entries()}
    if head not in places:
        raise GnomonError(f"anchor: {source} is about {head[:12]}, the hash of no entry of {registry.path}")
    if about is not None and places[head] < about.index:
        raise GnomonError(
            f"anchor: {source} is about entry {places[head]}, before {about.hash[:12]}; ask for a new one"
        )
    return registry.anchor("rfc3161", {"response": base64.b64encode(response).decode()}, head)


def _committed(commit: str, file: Path) -> tuple[str, bytes]:
    """Full name of a commit, and the bytes of file in it."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./~^-]{0,199}", commit):
        raise GnomonError(f"anchor: {commit!r} names no commit")
    folder = file.parent if str(file.parent) else Path(".")
    full = _git(folder, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").decode().strip()
    return full, _git(folder, "show", f"{full}:./{file.name}")


def _git(folder: Path, *arguments: str) -> bytes:
    if shutil.which("git") is None:
        raise GnomonError("anchor: git is not installed, so the commit was not looked at")
    if not folder.is_dir():
        raise GnomonError(f"anchor: {folder} is no folder, so no commit of it can be looked at")
    command = ["git", "--no-pager", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode != 0:
        detail = done.stderr.decode(errors="replace").strip().splitlines()
        raise GnomonError(f"anchor: git {arguments[0]} in {folder}: {detail[0] if detail else 'no such commit'}")
    return done.stdout
