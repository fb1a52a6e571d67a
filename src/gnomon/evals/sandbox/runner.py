"""The caller's side: hand a program and its tests to the fork server, get a verdict back.

    with Sandbox() as sandbox:
        verdict = sandbox.run(Job(program, tests, ("add",)))

Isolation of files needs Landlock or bubblewrap; where neither is there, nothing runs unless `unsafe` says so. A verdict
is kept under the normalised program: what differs in comments and blank lines only is run once.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGKILL, SIGPROF, SIGXCPU, Signals
from typing import Any, Literal

import gnomon
from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.hashing import content_hash
from gnomon.evals.sandbox import wire

Result = Literal["pass", "fail", "exception", "syntax", "timeout", "memory", "killed", "refused"]
BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from gnomon.evals.sandbox.zygote import main; main()"
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
FLOOR_CPU_S, CPU_FACTOR = 1.0, 10.0  # a reference solution in a millisecond says little about a fair limit
FLOOR_WALL_S = 4.0  # a busy machine may keep an innocent program waiting this long


@dataclass(frozen=True)
class Limits:
    """cpu_s: of the candidate and of the judge each. wall_s: of both together. memory_bytes: beyond what Python has."""

    cpu_s: float = 2.0
    wall_s: float = 10.0
    memory_bytes: int = 256 << 20

    @classmethod
    def from_reference(cls, cpu_s: float) -> Limits:
        """Fair limits for a problem whose reference solution took cpu_s seconds of CPU on this machine."""
        fair = max(FLOOR_CPU_S, CPU_FACTOR * cpu_s)
        return cls(fair, max(FLOOR_WALL_S, 4 * fair))


PATIENT = Limits(30.0, 60.0)  # for reference solutions


@dataclass(frozen=True)
class Job:
    """program: the candidate's source. tests: what the judge runs against its functions, by name. setup: helpers the
    tests need, run on the judge's side."""

    program: str
    tests: str
    names: tuple[str, ...]
    setup: str = ""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Verdict:
    """cpu_s: of the candidate."""

    result: Result
    message: str = ""
    cpu_s: float = 0.0

    @property
    def passed(self) -> bool:
        return self.result == "pass"


def normalised(program: str) -> str:
    """The program without comments, blank lines and spacing; itself when it does not parse."""
    try:
        return ast.dump(ast.parse(program))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program


def readable_folders() -> list[str]:
    """What a candidate may read: the standard library and the system's shared libraries."""
    return [os.path.dirname(os.__file__), *(p for p in LIBRARIES if os.path.isdir(p))]


class Sandbox:
    """A fork server and the verdicts it gave. Safe to call from several threads; close it, or use it in a `with`.

    layers: what is active here: user, limits, landlock_abi, landlock, seccomp, network, bubblewrap.
    """

    def __init__(self, unsafe: bool = False, without: Sequence[str] = ()) -> None:
        """without: layers to leave out, to see that the others are not all there is.

        Raises GnomonError where files cannot be hidden from a candidate and `unsafe` is False.
        """
        if not sys.platform.startswith("linux"):
            raise GnomonError(f"sandbox: {sys.platform} has none of the filters that it needs; run this on Linux")
        self._lock, self._cache = threading.Lock(), {}  # type: tuple[threading.Lock, dict[str, Verdict]]
        self.executed = 0
        wanted = {
            "user": os.getuid() == 0, "landlock": True, "seccomp": True, "network": True,
            "bubblewrap": shutil.which("bwrap") is not None,
        }  # fmt: skip
        self._start({name: want and name not in without for name, want in wanted.items()})
        if not unsafe and not (self.layers["landlock"] or self.layers["bubblewrap"]):
            self.close()
            raise GnomonError(
                "sandbox: neither Landlock (Linux 5.13) nor bubblewrap is here, so model-written code could read your "
                "files; install bubblewrap, or pass --unsafe if the machine holds nothing worth reading"
            )
        if not unsafe and not self.layers["seccomp"]:
            self.close()
            raise GnomonError(
                "sandbox: this kernel takes no seccomp filter, so model-written code could start processes; "
                "run it elsewhere, or pass --unsafe if the machine holds nothing worth protecting"
            )

    def _start(self, layers: dict[str, bool]) -> None:
        for shell in [True, False] if layers["bubblewrap"] else [False]:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._readable = readable_folders()
            order = {"layers": layers, "readable": self._readable, "control": theirs.fileno()}
            package = str(Path(gnomon.__file__).parent.parent)
            command = [sys.executable, "-I", "-S", "-c", BOOT, package, json.dumps(order)]
            self._process = subprocess.Popen(
                [*(_bubblewrap(package) if shell else []), *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()], env={}, cwd="/",
            )  # fmt: skip
            theirs.close()
            greeting = ours.recv(65536)
            if greeting:
                self._control = ours
                self.layers: dict[str, Any] = {**json.loads(greeting), "bubblewrap": shell}
                return
            ours.close()
            message = self._end()
        raise JobFailed(f"sandbox: the fork server did not start: {message}")

    def _end(self) -> str:
        """The fork server's last words, once it is gone."""
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        self._process.stderr.close()
        self._process.wait()
        return said[-1] if said else f"code {self._process.returncode}"

    def close(self) -> None:
        self._control.close()
        self._end()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Verdict:
        """The verdict on one job, from memory when the same program met the same tests before.

        Raises JobFailed when the fork server is gone.
        """
        key = _key(job)
        with self._lock:
            known = self._cache.get(key)
        if known is None:
            known = self._execute(job)
            with self._lock:
                self._cache[key] = known
                self.executed += 1
        return known

    def run_all(self, jobs: Sequence[Job], at_once: int | None = None) -> list[Verdict]:
        """The verdicts on many jobs, in order; equal ones are executed once."""
        keys = [_key(job) for job in jobs]
        unique = dict(zip(keys, jobs, strict=True))
        with ThreadPoolExecutor(at_once or len(os.sched_getaffinity(0))) as pool:
            verdicts = dict(zip(unique, pool.map(self.run, unique.values()), strict=True))
        return [verdicts[key] for key in keys]

    def limits_for(self, reference: Job) -> Limits:
        """Fair limits for a problem, from one run of its reference solution here."""
        return Limits.from_reference(self.run(replace(reference, limits=PATIENT)).cpu_s)

    def _execute(self, job: Job) -> Verdict:
        limits = job.limits
        names = ("user", "landlock", "seccomp")
        order = {
            "cpu_s": limits.cpu_s, "judge_cpu_s": limits.cpu_s + FLOOR_CPU_S, "wall_s": limits.wall_s,
            "memory_bytes": limits.memory_bytes, "readable": self._readable,
            "layers": [name for name in names if self.layers[name]],
        }  # fmt: skip
        report, candidate, judge, peer = (socket.socketpair() for _ in range(4))
        theirs = [report[1], candidate[1], judge[1], *peer]
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(order).encode()], [s.fileno() for s in theirs])
            for ours in theirs:
                ours.close()
            _tell(candidate[0], [job.program, list(job.names)])
            _tell(judge[0], [job.setup, job.tests, list(job.names)])
            said = report[0].recv(65536)
            if not said:
                raise JobFailed("sandbox: the fork server ended; start the evaluation again")
            return _verdict(json.loads(said), _read_all(judge[0]), limits)
        except BrokenPipeError:
            raise JobFailed("sandbox: the fork server ended; start the evaluation again") from None
        finally:
            for ours in (report[0], candidate[0], judge[0], *theirs):
                ours.close()


def _key(job: Job) -> str:
    return content_hash([normalised(job.program), job.tests, job.setup, job.names, job.limits])


def _bubblewrap(package: str) -> list[str]:
    """bubblewrap as an outer shell: processes, network and host name of its own; libraries to read, nothing else."""
    places = dict.fromkeys([*readable_folders(), sys.prefix, sys.base_prefix, package])
    bound = [word for place in places for word in ("--ro-bind-try", place, place)]
    spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    return ["bwrap", *spaces, "--die-with-parent", "--dev", "/dev", "--proc", "/proc", *bound]


def _tell(to: socket.socket, value: list[Any]) -> None:
    try:
        line = wire.encode(value)
    except wire.Unsendable as error:
        raise GnomonError(f"sandbox: a program or its tests: {error}") from None
    with contextlib.suppress(OSError):  # it is gone already; the report says how
        to.sendall(line)


def _read_all(judge: socket.socket) -> bytes:
    """What a judge that has ended said."""
    judge.shutdown(socket.SHUT_WR)
    said = b""
    while part := judge.recv(65536):
        said += part
    return said


def _verdict(report: dict[str, Any], said: bytes, limits: Limits) -> Verdict:
    """The judge's word where there is one; else how its candidate ended."""
    cpu_s = report["cpu_s"]
    if cpu_s > limits.cpu_s or report["late"]:
        spent = f"{cpu_s:.2f} s of CPU" if cpu_s > limits.cpu_s else f"{limits.wall_s:.0f} s by the clock"
        return Verdict("timeout", f"over {spent}", cpu_s)
    if said:
        result, message = wire.decode(said)
        return Verdict(result, message, cpu_s)
    for who, status in (("its tests", report["judge_status"]), ("it", report["status"])):
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (SIGPROF, SIGXCPU):
            return Verdict("timeout", f"{who} ran over {limits.cpu_s:.2f} s of CPU", cpu_s)
    status = report["status"]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == SIGKILL and cpu_s > math.floor(limits.cpu_s):
            return Verdict("timeout", f"over {cpu_s:.2f} s of CPU", cpu_s)
        return Verdict("killed", f"it ended by {Signals(number).name}", cpu_s)
    return Verdict("killed", f"it ended with code {os.WEXITSTATUS(status)} before its tests did", cpu_s)
