"""What the Linux kernel offers a process that wants to give its rights away: Landlock, seccomp, limits, another user.

Standard library only: all of this runs in the fork server, which must stay small. Landlock as in landlock(7), seccomp
as in seccomp(2). The filter is a list of what is allowed; whatever Linux grows later is refused.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Sequence

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SIGKILL = 1, 22, 38, 9
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute (shared objects are mapped so), read a file, list a folder
FILE_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}  # how many bits of handled_access_fs exist; 16 from ABI 5 on
CLONE_NEWNET, CLONE_NEWIPC = 0x40000000, 0x08000000
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # seccomp's return values; refusing is EPERM
X32_BIT = 0x40000000

# System calls that a single-threaded Python needs to compute, with their numbers on x86-64 and arm64 (-1: not there).
# No socket, no process creation, no exec, no signal to others, no limits, no namespaces, no memory of other processes.
CALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "open": (2, -1), "close": (3, 57), "stat": (4, -1), "fstat": (5, 80),
    "lstat": (6, -1), "poll": (7, -1), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66), "access": (21, -1), "select": (23, -1),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "nanosleep": (35, 101), "getpid": (39, 172),
    "exit": (60, 93), "uname": (63, 160), "fcntl": (72, 25), "getdents": (78, -1),
    "getcwd": (79, 17), "readlink": (89, -1), "gettimeofday": (96, 169), "getrlimit": (97, 163),
    "getrusage": (98, 165), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175),
    "getegid": (108, 177), "getppid": (110, 173), "sigaltstack": (131, 132), "gettid": (186, 178),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "getdents64": (217, 61), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "openat": (257, 56),
    "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72),
    "ppoll": (271, 73), "set_robust_list": (273, 99), "getrandom": (318, 278), "statx": (332, 291),
    "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of CALLS, AUDIT_ARCH


class Refused(Exception):
    """The kernel does not grant a layer; the message says which and why."""


def _check(result: int, what: str) -> int:
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def no_new_rights() -> None:
    """From here on nothing this process starts can gain rights (needed before Landlock and seccomp)."""
    _check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def landlock_abi() -> int:
    """Landlock's version here; 0 when there is none."""
    return max(0, LIBC.syscall(LANDLOCK_CREATE, None, 0, 1))


def landlock(readable: Sequence[str]) -> None:
    """Only `readable` folders can be read, nothing can be written; no TCP and no signals out where the ABI knows them.

    Raises Refused where Landlock is not there.
    """
    abi = landlock_abi()
    if not abi:
        raise Refused("landlock: this kernel has none")
    files = (1 << FILE_RIGHTS_OF_ABI.get(abi, 16)) - 1
    fields = [files] + [3] * (abi >= 4) + [3] * (abi >= 6)  # file rights, TCP bind and connect, signals and sockets
    attribute = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _check(LIBC.syscall(LANDLOCK_CREATE, attribute, len(attribute), 0), "landlock")
    for path in readable:
        try:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a list of places where libraries may be: not every machine has all
        rule = struct.pack("=Qi", LANDLOCK_READ, folder)
        _check(LIBC.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0), f"landlock {path}")
        os.close(folder)
    no_new_rights()
    _check(LIBC.syscall(LANDLOCK_RESTRICT, ruleset, 0), "landlock")
    os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def filter_program(machine: str) -> bytes:
    """The seccomp filter as classic BPF. Raises Refused for a processor whose call numbers are not listed."""
    if machine not in MACHINES:
        raise Refused(f"seccomp: no list of system calls for {machine}; there is one for {', '.join(MACHINES)}")
    column, architecture = MACHINES[machine]
    numbers = sorted(n for numbers in CALLS.values() if (n := numbers[column]) >= 0)

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, least, give = 0x20, 0x15, 0x35, 0x06
    program = [step(load, 0, 0, 4), step(equal, 1, 0, architecture), step(give, 0, 0, KILL), step(load, 0, 0, 0)]
    program += [step(least, 0, 1, X32_BIT), step(give, 0, 0, REFUSE)]
    for number in numbers:
        program += [step(equal, 0, 1, number), step(give, 0, 0, ALLOW)]
    program.append(step(give, 0, 0, REFUSE))
    return b"".join(program)


def seccomp() -> None:
    """Only the calls in CALLS from here on; every other one fails with EPERM. Raises Refused without seccomp."""
    program = filter_program(platform.machine())
    buffer = ctypes.create_string_buffer(program, len(program))
    value = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    no_new_rights()
    _check(LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(value), 0, 0), "seccomp")


def drop_user(uid: int) -> None:
    """Become a user that owns nothing. For root only: limits on processes do not bind root."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def empty_network() -> None:
    """A network without interfaces and an own room for shared memory. Raises Refused without the right to it."""
    _check(LIBC.unshare(CLONE_NEWNET | CLONE_NEWIPC), "network namespace")


def limits(cpu_s: float, memory_bytes: int) -> None:
    """Hard limits of this process: CPU (a second of grace above cpu_s), memory beyond what it has, no files, forks."""
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[0])
    room = pages * resource.getpagesize() + memory_bytes
    for kind, value in (
        (resource.RLIMIT_CPU, int(cpu_s) + 1),
        (resource.RLIMIT_AS, room),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_STACK, 8 << 20),
    ):
        resource.setrlimit(kind, (value, value))
