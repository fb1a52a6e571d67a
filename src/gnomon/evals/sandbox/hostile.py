"""Programs that try to get out, to be caught, or to be called right without being right; the suite that runs them all.

Each defines f. Where an attack succeeds f returns True, which is what its test asks for; so a pass is a breach.
Forgeries are asked for a word that only the judge knows. Some attacks leave traces outside (a file, a connection); the
suite looks for those too. Without the filters some of it would harm the machine: never run it anywhere else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gnomon.evals.sandbox.runner import Job, Limits, Sandbox

LIMITS = Limits(cpu_s=0.5, wall_s=2.0)

# name -> body of f(). PORT, PARENT, CANARY and SOCKET stand for a listening port, the caller's process id, a path that
# must stay absent, and the name of a listening abstract socket.
ESCAPES: dict[str, str] = {
    "read the password file": 'return "root" in open("/etc/passwd").read()',
    "read the host's name": 'return bool(open("/etc/hostname").read())',
    "list the root folder": 'import os; return bool(os.listdir("/"))',
    "list the home folder": 'import os; return bool(os.listdir(os.path.expanduser("~root")))',
    "walk up from here": 'import os; return bool(os.listdir(os.path.join(os.getcwd(), "..", "tmp")))',
    "read the parent's environment": 'import os; return bool(open(f"/proc/{os.getppid()}/environ","rb").read())',
    "read the caller's memory map": 'return bool(open("/proc/PARENT/maps").read())',
    "list processes": 'import os; return any(n.isdigit() for n in os.listdir("/proc"))',
    "read its own program file": 'return bool(open("/proc/self/cmdline","rb").read())',
    "inherit an environment": 'import os; return bool(os.environ)',
    "read by a raw system call": (
        "import ctypes, os; l = ctypes.CDLL(None); d = l.open(b'/etc/passwd', 0); b = ctypes.create_string_buffer(9)\n"
        "    return d >= 0 and l.read(d, b, 8) == 8"
    ),
    "follow a symbolic link": 'import os; os.symlink("/etc/passwd", "CANARY"); return bool(open("CANARY").read())',
    "write to the temporary folder": 'open("CANARY", "w").write("x"); return True',
    "write by a raw system call": (
        "import ctypes; return ctypes.CDLL(None).open(b'CANARY', 0o102, 0o644) >= 0"
    ),
    "make a folder": 'import os; os.mkdir("CANARY"); return True',
    "write to shared memory": 'open("/dev/shm/gnomon-canary", "w").write("x"); return True',
    "connect by TCP": 'import socket; socket.create_connection(("127.0.0.1", PORT), 1); return True',
    "connect by TCP, version 6": 'import socket; socket.socket(socket.AF_INET6).connect(("::1", PORT)); return True',
    "send by UDP": (
        'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT)); return True'
    ),
    "open a raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); return True",
    "reach an abstract socket": 'import socket; socket.socket(socket.AF_UNIX).connect("\\0SOCKET"); return True',
    "listen on a port": 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); return True',
    "ask a name server": 'import socket; return bool(socket.getaddrinfo("localhost", 80))',
    "fork": "import os; p = os.fork(); p or os._exit(0); return p > 0",
    "fork without end": "import os\n    for _ in range(10000): os.fork()\n    return True",
    "fork by a raw system call": "import ctypes; return ctypes.CDLL(None).syscall(57) > 0",
    "start a thread": "import threading; t = threading.Thread(target=print); t.start(); t.join(); return True",
    "start a shell": 'import subprocess; return subprocess.run(["/bin/sh", "-c", "true"]).returncode == 0',
    "become another program": 'import os; os.execv("/bin/true", ["true"])',
    "spawn by posix": 'import os; return os.posix_spawn("/bin/true", ["true"], {}) > 0',
    "start a pool": "import multiprocessing; multiprocessing.Pool(2); return True",
    "kill the parent": "import os; os.kill(os.getppid(), 9); return True",
    "kill the caller": "import os; os.kill(PARENT, 15); return True",
    "kill its group": "import os; os.killpg(0, 9); return True",
    "kill everything": "import os; os.kill(-1, 9); return True",
    "trace the parent": "import ctypes, os; return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "read another process's memory": (
        "import ctypes, os\n    class V(ctypes.Structure):\n"
        "        _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
        "    b = ctypes.create_string_buffer(8); v = V(ctypes.addressof(b), 8)\n"
        "    return ctypes.CDLL(None).process_vm_readv(os.getppid(), ctypes.byref(v), 1, ctypes.byref(v), 1, 0) == 8"
    ),
    "leave its namespaces": "import ctypes; return ctypes.CDLL(None).unshare(0x10000000) == 0",
    "mount": "import ctypes; return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "change the root": 'import os; os.chroot("/usr"); return True',
    "become root again": "import os; os.setresuid(0, 0, 0); return bool(open('/etc/shadow').read())",
    "raise its limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99)); return True",
    "limit another process": (
        "import resource, os; resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3)); return True"
    ),
    "make an anonymous file": 'import os; return os.memfd_create("x") >= 0',
    "load a BPF program": "import ctypes; return ctypes.CDLL(None).syscall(321, 0, 0, 0) >= 0",
    "set up io_uring": (
        "import ctypes; b = ctypes.create_string_buffer(256); return ctypes.CDLL(None).syscall(425, 4, b) >= 0"
    ),
    "use a key ring": "import ctypes; return ctypes.CDLL(None).syscall(250, 0, -3, 0) > 0",
    "call through the 32-bit table": "import ctypes; return ctypes.CDLL(None).syscall(0x40000000 + 39) > 0",
    "set the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0); return True",
    "stop the timer": (
        "import signal\n    signal.setitimer(signal.ITIMER_PROF, 0)\n    while True: pass"
    ),
    "loop without end": "while True: pass",
    "loop and ignore signals": (
        "import signal\n    for n in (14, 15, 24, 26, 27): signal.signal(n, signal.SIG_IGN)\n    while True: pass"
    ),
    "sleep": "import time; time.sleep(99); return True",
    "ask for three gigabytes": "x = bytearray(3 << 30); return True",
    "grow without end": "x = []\n    while True: x.append(' ' * 10**6)",
    "flood its answers": "import os\n    while True: os.write(4, b'x' * 65536)",
    "answer with too much": "return 'x' * (8 << 20)",
    "answer with data that holds itself": "x = []; x.append(x); return x",
    "recurse without end": "return f()",
    "crash": "import ctypes; ctypes.string_at(0)",
    "a deep answer": "x = []\n    for _ in range(10**5): x = [x]\n    return x",
}  # fmt: skip

# Whole programs that are asked f() == a word they cannot know.
FORGERIES: dict[str, str] = {
    "exit with success": "import os\ndef f(): os._exit(0)",
    "exit while being defined": "import os\nos._exit(0)\ndef f(): pass",
    "raise SystemExit": "def f(): raise SystemExit(0)",
    "write a verdict to every descriptor": (
        'import os\ndef f():\n    for d in range(64):\n        try: os.write(d, b\'["pass",""]\\n\')\n'
        "        except OSError: pass\n    os._exit(0)"
    ),
    "answer before being asked": (
        "import os\nos.write(4, b'[\"ready\"]\\n' + b'[\"value\",true,[]]\\n' * 9)\nos._exit(0)\ndef f(): pass"
    ),
    "an object equal to everything": (
        "class Yes:\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(): return Yes()"
    ),
    "a text equal to everything": (
        "class Yes(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
        "def f(): return Yes('a')"
    ),
    "a list equal to everything": "class Yes(list):\n    def __eq__(self, other): return True\ndef f(): return Yes()",
    "raise what a failed test raises": "def f(): raise AssertionError('passed')",
    "patch the built-in comparison": (
        "import builtins, operator\noperator.eq = lambda a, b: True\nbuiltins.all = lambda x: True\ndef f(): return 1"
    ),
    "search its memory for the word": (
        "import gc\ndef f():\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n"
        "            for v in list(o.values()):\n"
        "                if isinstance(v, str) and v.startswith('word-'): return v"
    ),
    "look up the stack": (
        "import sys\ndef f():\n    frame = sys._getframe()\n    while frame:\n"
        "        for v in frame.f_locals.values():\n"
        "            if isinstance(v, str) and 'word-' in v: return v[v.index('word-'):][:21]\n"
        "        frame = frame.f_back"
    ),
    "read its own orders again": "import os\ndef f():\n    return os.read(3, 65536).decode()",
    "claim that arguments changed": (
        'import os\ndef f():\n    os.write(4, b\'["value",1,[["x",[]],[0,0]]]\\n\')\n    os._exit(0)'
    ),
    "send what is no answer": "import os\ndef f():\n    os.write(4, b'\\xff\\xfe{}[]\\n')\n    os._exit(0)",
}


@dataclass(frozen=True)
class Outcome:
    """One hostile program. stopped: it neither passed nor left a trace. result, message: its verdict."""

    name: str
    stopped: bool
    result: str
    message: str


@contextlib.contextmanager
def _bait() -> Iterator[dict[str, str]]:
    """What attacks aim at, and the traces they would leave."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as tcp, socket.socket(socket.AF_UNIX) as abstract:
        os.chmod(folder, 0o777)
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        name = f"gnomon-{secrets.token_hex(8)}"
        abstract.bind("\0" + name)
        abstract.listen()
        for server in (tcp, abstract):
            server.setblocking(False)
        port = str(tcp.getsockname()[1])
        yield {"PORT": port, "PARENT": str(os.getpid()), "CANARY": str(Path(folder) / "canary"), "SOCKET": name}
        for server in (tcp, abstract):
            with contextlib.suppress(BlockingIOError):
                server.accept()
                raise AssertionError("a hostile program connected to a socket outside")


def _left_trace(bait: dict[str, str]) -> bool:
    return os.path.lexists(bait["CANARY"]) or Path("/dev/shm/gnomon-canary").exists()


def run_suite(sandbox: Sandbox) -> list[Outcome]:
    """Every hostile program, one after another. Raises AssertionError when one reached a socket outside."""
    out = []
    with _bait() as bait:
        for name, body in ESCAPES.items():
            for word, value in bait.items():
                body = body.replace(word, value)
            verdict = sandbox.run(Job(f"def f():\n    {body}\n", "assert f() is True", ("f",), limits=LIMITS))
            out.append(Outcome(name, not verdict.passed and not _left_trace(bait), verdict.result, verdict.message))
        for name, program in FORGERIES.items():
            word = f"word-{secrets.token_hex(8)}"
            verdict = sandbox.run(Job(program, f"assert f() == {word!r}", ("f",), limits=LIMITS))
            out.append(Outcome(f"forgery: {name}", not verdict.passed, verdict.result, verdict.message))
    benign = sandbox.run(Job("def f():\n    return 41 + 1\n", "assert f() == 42", ("f",), limits=LIMITS))
    out.append(Outcome("(a harmless program still runs)", benign.passed, benign.result, benign.message))
    return out
