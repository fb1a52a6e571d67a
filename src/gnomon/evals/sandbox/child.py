"""The two processes of a job, after the fork: the candidate, which holds the program, and the judge, which holds tests.

They share a socket and nothing else. The candidate never sees a test, so there is nothing to forge: it can only answer
calls. Both have given their rights away before they read a byte of the job.
"""

from __future__ import annotations

import ast
import builtins
import os
import signal
import sys
from typing import Any, BinaryIO

from gnomon.evals.sandbox import kernel, wire

JOB, PEER = 3, 4  # descriptors: to the caller, to the other process
CANDIDATE_USER, JUDGE_USER = 61001, 61002
STRUCTURES = (list, dict, set, bytearray)
PRELOADED = (
    "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "encodings.idna", "enum", "fractions", "functools", "graphlib",
    "hashlib", "heapq", "html", "inspect", "io", "itertools", "keyword", "math", "multiprocessing", "numbers",
    "operator", "pprint", "queue", "random", "re", "secrets", "socket", "statistics", "string", "struct", "subprocess",
    "tempfile", "textwrap", "threading", "time", "timeit", "traceback", "types", "typing", "unicodedata",
    "urllib.parse", "uuid", "weakref", "zlib",
)  # fmt: skip


def settle(job: int, peer: int) -> None:
    """Only the two descriptors stay open, in their places; standard streams lead nowhere; it dies with its parent."""
    os.setsid()
    kernel.die_with_parent()
    high = [os.dup2(job, 200), os.dup2(peer, 201)]
    nowhere = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.dup2(high[0], JOB)
    os.dup2(high[1], PEER)
    os.closerange(5, 4096)
    os.environ.clear()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def confine(uid: int, cpu_s: float, memory_bytes: int, readable: list[str], layers: set[str]) -> None:
    """Give every right away that `layers` names. Raises kernel.Refused when one of them cannot be had after all."""
    if "user" in layers:
        kernel.drop_user(uid)
    kernel.limits(cpu_s, memory_bytes)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)  # ends it at a fraction of a second; the hard limit is behind it
    if "landlock" in layers:
        kernel.landlock(readable)
    if "seccomp" in layers:
        kernel.seccomp()


def lines(descriptor: int) -> BinaryIO:
    return os.fdopen(descriptor, "rb", closefd=False)


def send(descriptor: int, value: Any) -> None:
    data = wire.encode(value)
    while data:
        data = data[os.write(descriptor, data) :]


def candidate() -> None:
    """Run the program, then answer calls to its functions until the judge has none left."""
    program, names = wire.decode(lines(JOB).readline())
    space: dict[str, Any] = {"__name__": "candidate", "__builtins__": builtins}
    try:
        exec(compile(program, "<candidate>", "exec"), space)
        missing = [name for name in names if not callable(space.get(name))]
        send(PEER, ["error", "NameError", f"no function {missing[0]}"] if missing else ["ready"])
    except BaseException as error:
        send(PEER, ["error", type(error).__name__, str(error)[:200]])
        return
    for line in lines(PEER):
        name, args, keywords = wire.decode(line)
        before = [wire.encode(a) if isinstance(a, STRUCTURES) else b"" for a in args]
        try:
            value = space[name](*args, **keywords)
            changed = [
                [i, a] for i, a in enumerate(args) if before[i] and wire.encode(a) != before[i]
            ]  # a function may work on its arguments
            send(PEER, ["value", value, changed])
        except BaseException as error:
            send(PEER, ["error", type(error).__name__, str(error)[:200]])


class CandidateError(Exception):
    """The candidate raised, could not be asked, or answered with something that is no plain data."""


class Gone(BaseException):
    """The candidate is not there any more. No `except Exception` in a test can take it for an answer."""


class Judge:
    """Stands in for the candidate's functions in front of the tests."""

    def __init__(self) -> None:
        self.answers = lines(PEER)

    def answer(self) -> Any:
        line = self.answers.readline(wire.MOST_BYTES + 2)
        if not line.endswith(b"\n"):
            raise Gone("it ended" if not line else "its answer is too long")
        try:
            kind, *body = wire.decode(line)
            return kind, body
        except (wire.Unsendable, TypeError, ValueError):
            raise Gone("its answer is no value") from None

    def call(self, name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        try:
            send(PEER, [name, list(args), keywords])
        except wire.Unsendable as error:
            raise CandidateError(f"{name} was given {error}") from None
        except OSError:
            raise Gone("it ended") from None
        kind, body = self.answer()
        if kind != "value" or len(body) != 2:
            self.fail(kind, body)
        value, changed = body
        for place, new in changed:
            _overwrite(args[place], new)
        return value

    @staticmethod
    def fail(kind: str, body: list[Any]) -> None:
        if kind != "error" or len(body) != 2 or not all(isinstance(part, str) for part in body):
            raise Gone("its answer is no value")
        name, message = body
        known = getattr(builtins, name, None)
        if isinstance(known, type) and issubclass(known, Exception):
            raise known(message)
        raise CandidateError(f"{name}: {message}")

    def proxy(self, name: str) -> Any:
        def stand_in(*args: Any, **keywords: Any) -> Any:
            return self.call(name, args, keywords)

        stand_in.__name__ = name
        return stand_in


def _overwrite(old: Any, new: Any) -> None:
    """Make an argument what the candidate made of its copy."""
    if type(old) is not type(new):
        raise Gone("its answer is no value")
    if isinstance(old, list | bytearray):
        old[:] = new
    else:
        old.clear()
        old.update(new)


def judge() -> None:
    """Run the tests against the candidate's functions; say how it went in one line."""
    setup, tests, names = wire.decode(lines(JOB).readline())
    judge_ = Judge()
    kind, body = judge_.answer()
    if kind != "ready":
        name, message = (*body, "", "")[:2]
        result = "syntax" if name in ("SyntaxError", "IndentationError", "TabError") else "exception"
        send(JOB, ["memory" if name == "MemoryError" else result, f"{name}: {message}"])
        return
    try:
        space: dict[str, Any] = {"__name__": "judge"}
        exec(compile(setup, "<setup>", "exec"), space)
        space.update({name: judge_.proxy(name) for name in names})
        exec(compile(tests, "<tests>", "exec"), space)
        send(JOB, ["pass", ""])
    except AssertionError as error:
        send(JOB, ["fail", str(error)[:200]])
    except MemoryError:
        send(JOB, ["memory", ""])
    except Exception as error:
        send(JOB, ["exception", f"{type(error).__name__}: {str(error)[:200]}"])


def run(role: str, job: int, peer: int, order: dict[str, Any]) -> None:
    """Be one of the two. Never returns."""
    code = 1
    try:
        settle(job, peer)
        layers = set(order["layers"])
        if role == "candidate":
            confine(CANDIDATE_USER, order["cpu_s"], order["memory_bytes"], order["readable"], layers)
            candidate()
        else:
            confine(JUDGE_USER, order["judge_cpu_s"], order["memory_bytes"], order["readable"], layers)
            judge()
        code = 0
    except kernel.Refused as refusal:
        _last_word(role, ["refused", str(refusal)])
    except Gone:
        code = 2
    except BaseException as error:
        _last_word(role, ["refused", f"{role}: {type(error).__name__}: {error}"])
    finally:
        os._exit(code)


def _last_word(role: str, value: list[str]) -> None:
    """What went wrong before the job could begin. A candidate may say anything here, and it counts as not passed."""
    if role == "judge":
        send(JOB, value)


def preload() -> None:
    """Import what solutions import, once, before any fork."""
    for name in PRELOADED:
        __import__(name)
    ast.parse("x = 1")
    sys.setrecursionlimit(3000)
