"""Model-written code: what it may do, what it may not, and that nobody but the judge decides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import gnomon
from gnomon.common.errors import GnomonError, JobFailed
from gnomon.evals.sandbox import wire
from gnomon.evals.sandbox.hostile import run_suite
from gnomon.evals.sandbox.runner import Job, Limits, Sandbox, normalised

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")
ADD = "def add(a, b):\n    return a + b\n"
SUITE = """
import json, sys
from gnomon.evals.sandbox.hostile import run_suite
from gnomon.evals.sandbox.runner import Sandbox
with Sandbox() as sandbox:
    print(json.dumps([o.name for o in run_suite(sandbox) if not o.stopped]))
"""


@pytest.fixture(scope="module")
def sandbox():
    try:
        made = Sandbox()
    except GnomonError as error:
        pytest.skip(str(error))
    with made:
        yield made


def verdict(sandbox, program, tests, *names, **more):
    return sandbox.run(Job(program, tests, names, **more))


def test_every_hostile_program_is_stopped(sandbox):
    outcomes = run_suite(sandbox)
    assert [o.name for o in outcomes if not o.stopped] == []
    assert len(outcomes) >= 70


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become an ordinary user")
def test_every_hostile_program_is_stopped_for_an_ordinary_user():
    python = next((p for p in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3") if _usable(p)), None)
    if python is None:
        pytest.skip("no Python here that an ordinary user may start")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chmod(folder, 0o755)
        source = Path(folder) / "src"
        shutil.copytree(Path(gnomon.__file__).parent, source / "gnomon", ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run(
            [python, "-c", SUITE], user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
            env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}, cwd="/", check=False,
        )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def _usable(python):
    """Whether an ordinary user may start this Python, and it knows what gnomon's files say."""
    probe = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, user=65534, group=65534, extra_groups=[], capture_output=True).returncode == 0
    except OSError:
        return False


def test_results_have_their_names(sandbox):
    short = {"limits": Limits(cpu_s=0.2, wall_s=2.0)}
    assert verdict(sandbox, ADD, "assert add(1, 2) == 3", "add").result == "pass"
    assert verdict(sandbox, ADD, "assert add(1, 2) == 4", "add").result == "fail"
    assert verdict(sandbox, "def add(a, b):\n    return a.b", "add(1, 2)", "add").result == "exception"
    assert verdict(sandbox, "def add(a, b:", "add(1, 2)", "add").result == "syntax"
    assert verdict(sandbox, "def other(): pass", "add(1, 2)", "add").message == "NameError: no function add"
    assert verdict(sandbox, "def f():\n    while 1: pass", "f()", "f", **short).result == "timeout"
    assert verdict(sandbox, "def f():\n    return [0] * 10**10", "f()", "f").result == "memory"
    assert verdict(sandbox, "import os\ndef f():\n    os._exit(3)", "f()", "f").result == "killed"


def test_a_program_that_survives_its_limit_has_not_passed(sandbox):
    ignoring = (
        "import signal, time\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\n"
        "def f():\n    while time.process_time() < 0.4: pass\n    return 1\n"
    )
    assert verdict(sandbox, ignoring, "assert f() == 1", "f", limits=Limits(cpu_s=0.2, wall_s=5)).result == "timeout"
    assert verdict(sandbox, ignoring, "assert f() == 1", "f", limits=Limits(cpu_s=0.9, wall_s=9)).result == "pass"


def test_types_survive_the_way_back(sandbox):
    program = "def f(k):\n    return eval(k)\n"
    for text in ["(1, [2.0, True], {'a': None})", "{1, 2}", "frozenset({3})", "b'x'", "1j", "2**200", "float('inf')"]:
        assert verdict(sandbox, program, f"r = f({text!r}); assert r == {text} and type(r) is type({text})", "f").passed
    assert verdict(sandbox, program, "assert type(f('1')) is int and type(f('1.0')) is float", "f").passed
    assert verdict(sandbox, program, "assert list(f('map(str, range(3))')) == ['0', '1', '2']", "f").passed


def test_a_function_may_work_on_its_arguments(sandbox):
    program = "def f(xs):\n    xs.sort()\n"
    assert verdict(sandbox, program, "xs = [3, 1, 2]\nf(xs)\nassert xs == [1, 2, 3]", "f").passed


def test_expected_exceptions_arrive(sandbox):
    program = "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x\n"
    tests = "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert 'negative' in str(e)\n"
    assert verdict(sandbox, program, tests, "f").passed
    swallow = "try:\n    f(1)\nexcept Exception:\n    pass\n"
    assert not verdict(sandbox, "import os\ndef f(x):\n    os._exit(0)", swallow, "f").passed


def test_helpers_of_the_prompt_are_on_the_judge_side(sandbox):
    setup = "def double(x):\n    return 2 * x\n"
    assert verdict(sandbox, ADD, "assert add(1, 1) == double(1)", "add", setup=setup).passed


def test_equal_programs_run_once():
    with Sandbox() as own:
        commented = "# says nothing\ndef add(a, b):\n\n    return (a + b)\n"
        jobs = [Job(p, "assert add(2, 2) == 4", ("add",)) for p in (ADD, commented, ADD)]
        assert [v.passed for v in own.run_all(jobs)] == [True] * 3
        assert own.executed == 1
        assert own.run(Job(ADD, "assert add(2, 2) == 5", ("add",))).result == "fail" and own.executed == 2


def test_normalising_keeps_what_matters():
    assert normalised("x = 1  # one\n") == normalised("x=1")
    assert normalised("x = 1") != normalised("x = True")
    assert normalised("def (") == "def ("


def test_without_a_way_to_hide_files_it_refuses_and_says_what_would_help(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(GnomonError, match=r"install bubblewrap, or pass --unsafe"):
        Sandbox(without=("landlock",))
    with Sandbox(unsafe=True, without=("landlock",)) as bare:  # the control: Landlock is what hides the file
        read = 'def f():\n    return "root" in open("/etc/passwd").read()\n'
        assert verdict(bare, read, "assert f() is True", "f").passed


def test_a_fork_server_that_was_killed_is_one_clear_line():
    with Sandbox() as own:
        own._process.kill()
        own._process.wait()
        with pytest.raises(JobFailed, match="the fork server ended"):
            own.run(Job(ADD, "assert add(1, 1) == 2", ("add",)))


def test_fair_limits_follow_the_reference(sandbox):
    quick = sandbox.limits_for(Job(ADD, "assert add(1, 1) == 2", ("add",)))
    assert quick == Limits(cpu_s=1.0, wall_s=4.0)
    assert Limits.from_reference(0.5) == Limits(cpu_s=5.0, wall_s=20.0)


@pytest.mark.parametrize(
    "line", [b"{", b'{"dict": 1}', b'{"eval": "1"}', b'{"a": 1, "b": 2}', b'{"int": "z"}', b"\xff"]
)
def test_what_is_no_value_is_refused(line):
    with pytest.raises(wire.Unsendable):
        wire.decode(line)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_bubblewrap_alone_hides_files_too():
    with Sandbox(without=("landlock",)) as shelled:
        assert shelled.layers["bubblewrap"] and not shelled.layers["landlock"]
        read = 'def f():\n    return "root" in open("/etc/passwd").read()\n'
        found = verdict(shelled, read, "assert f() is True", "f")
        assert found.result == "exception" and "No such file" in found.message
        assert verdict(shelled, ADD, "assert add(1, 2) == 3", "add").passed


def test_a_thing_that_is_no_data_is_true_or_false_and_equal_to_nothing(sandbox):
    program = "import re\ndef f(x):\n    return re.match('a', x)\n"
    assert verdict(sandbox, program, "assert f('a')\nassert not f('b')\nassert f('a') != 'a'", "f").passed
