"""The registry as outside users meet it: from a table to a sealed forecast, a report, a witness, a proof."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gnomon import cli
from gnomon.forecast import read
from gnomon.registry import Registry, flops_before
from gnomon.workflow.registering import Wish, register_table

LINE = "run_id,flops,parameters_matmul,tokens,loss"


def table_of(folder: Path) -> Path:
    """Five budgets of five sizes on a known surface, with one repetition under another seed and one diverged run."""
    lines = [LINE + ",seed,status"]
    for budget in (1e18, 3e18, 1e19, 3e19, 1e20):
        for k in (0.25, 0.5, 1, 2, 4):
            size = k * (budget / 6 / 20) ** 0.5
            tokens = budget / 6 / size
            loss = 1.7 + 400 / size**0.34 + 410 / tokens**0.28
            lines.append(f"{budget:g}-{k},{budget},{size},{tokens},{loss},0,done")
    lines += [lines[1].replace("1e+18-0.25", "again").replace(",0,done", ",1,done")]
    lines += ["bad,1e18,9e7,1.85e9,,0,diverged"]
    path = folder / "mine.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with one sealed forecast, and what registering printed."""
    folder = tmp_path_factory.mktemp("outside")
    wish = Wish(table_of(folder), 1e22, name="our 7B", deadline="2999-01-31", tuning_flops=5e18)
    return folder, "\n".join(register_table(wish, read(wish.table), folder))


@pytest.fixture
def home(sealed: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed[0], tmp_path / "home"))


@pytest.fixture
def entry(home: Path) -> str:
    return Registry(home / "forecasts.jsonl").entries("forecast")[0].hash[:12]


def run(monkeypatch, capsys, home: Path, *arguments: str) -> tuple[int, str]:
    """(exit code, everything printed) of `gnomon forecast …` in a home."""
    monkeypatch.setenv("GNOMON_HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["gnomon", "forecast", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_registering_says_what_it_took_and_that_nobody_vouches_for_it(sealed) -> None:
    home, printed = sealed
    assert "taken as a table of 27 runs" in printed and "the target's trainer is not gnomon" in printed
    assert "sealed as" in printed and "our 7B, loss at 1e+22 FLOPs" in printed
    assert "self-attested" in printed
    (entry,) = Registry(home / "forecasts.jsonl").entries()
    assert entry.body["outside"] is True and entry.body["deadline"] == "2999-01-31"
    spent = entry.body["compute_before_registration"]
    assert spent == pytest.approx({"tuning": 5e18, "failed": 1e18, "seeds": 1e18, "rungs": 5 * 1.441e20}, rel=0.01)
    assert flops_before(entry) == pytest.approx(sum(spent.values()))


def test_list_log_and_verify_agree_that_it_is_open_and_self_attested(monkeypatch, capsys, home, entry) -> None:
    for verb in ("list", "verify"):
        code, printed = run(monkeypatch, capsys, home, verb)
        assert code == 0 and f"{entry}  our 7B  open, due 2999-01-31" in printed and "self-attested" in printed
    assert "1 target registered: 0 finished" in run(monkeypatch, capsys, home, "log")[1]


def test_an_outcome_is_scored_and_marked_as_reported_by_hand(monkeypatch, capsys, home, entry) -> None:
    code, printed = run(monkeypatch, capsys, home, "outcome", entry, "2.05", "--stderr", "0.002", "--run", "job-12")
    assert code == 0 and "was 2.0500, reported by hand and verified by no run" in printed
    code, printed = run(monkeypatch, capsys, home, "verify", "--json", str(home / "v.json"))
    assert code == 0 and "finished" in printed and "outcome reported by hand" in printed and "registry ok" in printed
    assert '"outcome": 2.05' in (home / "v.json").read_text()
    assert '"reported": "by hand"' in (home / "v.json").read_text()
    code, printed = run(monkeypatch, capsys, home, "outcome", entry, "2.01")
    assert code == 2 and "that is final" in printed


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--status", "diverged"], "the run diverged, which counts as a miss, reported by hand"),
        (["--status", "abandoned", "--why", "no money"], "is abandoned: no money"),
        (["2.2", "--deviated", "half the batch"], "recorded as deviated, for ever: half the batch"),
    ],
)
def test_other_ends_of_a_target(monkeypatch, capsys, home, entry, arguments, shown) -> None:
    code, printed = run(monkeypatch, capsys, home, "outcome", entry, *arguments)
    assert code == 0 and shown in printed
    assert "0 open" in run(monkeypatch, capsys, home, "log")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["outcome", "{entry}"], "a run that is done needs the value"),
        (["outcome", "{entry}", "2", "--status", "diverged"], "a run that is diverged has no value"),
        (["outcome", "{entry}", "--status", "lost"], "it is done, diverged or abandoned"),
        (["outcome", "{entry}", "nan", "--deviated", "x"], "a number is expected"),
        (["outcome", "{entry}", "--status", "abandoned"], "a reason is missing"),
        (["outcome", "ffff", "2"], "0 entries have a hash"),
        (["anchor", "{entry}"], "give one of --commit HASH and --stamp URL"),
        (["anchor", "{entry}", "--stamp", "{home}/none.tsr"], "No such file"),
        (["check-proof", "{home}/forecasts.jsonl"], "is no proof that gnomon wrote"),
        (["register", "{home}/mine.csv"], "--target FLOPS says how big"),
        (["register", "{home}/none.csv", "--target", "1e22"], "no such file"),
        (["register", "quickstart", "--target", "1e22"], "--target belongs to a table"),
        (["register", "quickstart", "--name", "x"], "--name belongs to a table"),
        (["register", "{home}/mine.csv", "a=b", "--target", "1e22"], "overrides belong to a recipe"),
        (["register", "{home}/mine.csv", "--target", "1e22", "--deadline", "2020-01-01"], "has passed"),
        (["register", "{home}/mine.csv", "--target", "1e22", "--deadline", "soon"], "a date such as"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(monkeypatch, capsys, home, entry, arguments, message) -> None:
    before = (home / "forecasts.jsonl").read_bytes()
    given = [a.replace("{entry}", entry).replace("{home}", str(home)) for a in arguments]
    code, printed = run(monkeypatch, capsys, home, *given)
    assert code == 2 and message in printed and len(printed.strip().splitlines()) == 1, printed
    assert (home / "forecasts.jsonl").read_bytes() == before


def test_a_proof_is_checked_with_and_without_its_registry(monkeypatch, capsys, home, entry) -> None:
    proof = home / "proof.json"
    assert run(monkeypatch, capsys, home, "proof", entry, "--out", str(proof))[0] == 0
    monkeypatch.delenv("GNOMON_HOME")
    for against in ([], ["--home", str(home)]):
        monkeypatch.setattr(sys, "argv", ["gnomon", "forecast", "check-proof", str(proof), *against])
        cli.main()
        assert "holds" in capsys.readouterr().out
    proof.write_text(proof.read_text().replace("our 7B", "our 8B"))
    monkeypatch.setattr(sys, "argv", ["gnomon", "forecast", "check-proof", str(proof)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1 and "does NOT hold" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_pushed_commit_is_a_witness(monkeypatch, capsys, home, entry) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", *who, "-C", str(home), *arguments]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **quiet})

    git("init", "--quiet")
    git("init", "--quiet", "--bare", "elsewhere.git")
    git("remote", "add", "origin", str(home / "elsewhere.git"))
    git("add", "forecasts.jsonl")
    git("commit", "--quiet", "-m", "A sealed forecast")
    assert "merely local" in run(monkeypatch, capsys, home, "anchor", entry, "--commit", "HEAD")[1]
    git("push", "--quiet", "origin", "main")
    assert "is anchored: commit" in run(monkeypatch, capsys, home, "anchor", entry, "--commit", "HEAD")[1]
    printed = run(monkeypatch, capsys, home, "list")[1]
    assert "anchored: commit" in printed and "self-attested" not in printed
