"""The command line as a user meets it: bad input is one line that names it and its mend, with exit code 2."""

from __future__ import annotations

import json
import sys

import pytest

from gnomon import cli


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command line."""
    monkeypatch.setattr(sys, "argv", ["gnomon", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def binary_only(folder):
    folder.mkdir()
    (folder / "a.txt").write_bytes(bytes(range(256)) * 40)
    return folder


def tiny(folder):
    folder.mkdir()
    (folder / "a.txt").write_text("too little\n" * 20)
    return folder


BUDGETS = "[{compute: 1e10, widths: [8, 16, 24]}, {compute: 2e10, widths: [8, 16, 24]}]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstart", "--corpus", "{tmp}/none"], "none: no such folder"),
        (["quickstart", "--corpus", "{empty}"], "empty"),
        (["quickstart", "--corpus", "{binary}"], "binary"),
        (["quickstart", "--corpus", "{tiny}"], "bytes"),
        (["quickstart", "--preset", "smoke", "famly.context=3"], "unknown key famly; did you mean family?"),
        (["quickstart", "--preset", "smoke", "family.depths={1: 0}"], "family.depth is 0; a depth is at least 1"),
        (["quickstart", "--preset", "smoke", "target.width=50"], "family.width is 50, which heads of 8 do not divide"),
        (
            ["quickstart", "--preset", "smoke", "target.compute=1e10"],
            "needs a target bigger than every rung",
        ),
        (
            ["quickstart", "--preset", "smoke", f"ladder.budgets={BUDGETS}"],
            "6 rungs at 2 budgets are too few",
        ),
        (["quickstart", "--preset", "nosuch"], "recipe nosuch: no such file"),
        (["recipe", "show", "smoke", "evals.subset_tokens=0"], "evals.subset_tokens is 0; input should be greater"),
        (["ladder", "table", "--home", "{tmp}/h"], "no table in"),
        (["forecast", "doctor", "{tmp}/none.parquet"], "no such file"),
        (["forecast", "verify", "--home", "{tmp}/h"], "no forecast was registered here"),
        (["train"], "give one of a folder or recipe"),
        (["train", "smoke", "--resume", "abc"], "give one of a folder or recipe"),
        (["train", "--resume", "abc", "--home", "{tmp}/h"], "run 'abc'"),
        (["train", "--branch", "abc", "--home", "{tmp}/h"], "RUN@STEP"),
        (["sample", "abc", "--home", "{tmp}/h"], "run 'abc'"),
        (["runs", "show", "abc", "--home", "{tmp}/h"], "run 'abc'"),
        (["quickstart", "--nonsense"], "No such option"),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"tmp": tmp_path, "empty": tmp_path / "empty"}
    names |= {"binary": binary_only(tmp_path / "binary"), "tiny": tiny(tmp_path / "tiny")}
    given = [a.replace("{tmp}", str(names["tmp"])) for a in arguments]
    for name in ("empty", "binary", "tiny"):
        given = [a.replace(f"{{{name}}}", str(names[name])) for a in given]
    if given[0] == "quickstart":
        given += ["--home", str(tmp_path / "home")]
    code, _, err = run(monkeypatch, capsys, *given)
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("gnomon: ")]
    assert len(lines) == 1 and message in lines[0], err
    assert "Traceback" not in err


def test_recipe_show_gives_every_derived_number_a_reason(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "recipe", "show", "quickstart", "family.rate=0.005")
    assert code == 0
    for name in ("rate", "batch_tokens", "timescale", "beta2", "steps", "flops"):
        assert f"  {name} " in out
    assert "h0 0.005" in out
    assert "target: derived settings" in out


def test_dry_run_prints_runs_flops_minutes_memory_and_disk_and_starts_nothing(monkeypatch, capsys, tmp_path):
    code, out, _ = run(
        monkeypatch, capsys, "ladder", "run", "quickstart", "--dry-run", "--home", str(tmp_path / "home")
    )
    assert code == 0
    last = out.splitlines()[-2]
    for word in ("23 runs", "FLOPs", "minutes", "memory", "disk"):
        assert word in last
    assert not (tmp_path / "home").exists()


def test_forecast_of_anybodys_table(monkeypatch, capsys, tmp_path):
    """A CSV that gnomon did not write: doctor, then a forecast in words and as JSON."""
    rows = ["run_id,flops,parameters_matmul,tokens,budget,bits_per_byte_x,steps"]
    for budget in (1e12, 2e12, 4e12, 8e12, 16e12):
        for size in (2e5, 4e5, 8e5, 1.6e6):
            best = 4e5 * (budget / 4e12) ** 0.5
            loss = 0.8 + 1.2 * (budget / 4e12) ** -0.12 * (
                1 + 0.04 * abs((size / best) ** 0.5 - (best / size) ** 0.5) ** 2
            )
            rows.append(f"{budget:.0e}-{size:.0f},{budget},{size},{budget / 6 / size},{budget},{loss:.6f},1000")
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(rows) + "\n")
    assert run(monkeypatch, capsys, "forecast", "doctor", str(table), "--metric", "bits_per_byte_x")[0] == 0
    out_file = tmp_path / "forecast.json"
    code, out, err = run(
        monkeypatch, capsys, "forecast", "fit", str(table), "--metric", "bits_per_byte_x", "--compute", "4e14",
        "--json", str(out_file),
    )  # fmt: skip
    assert code == 0, err
    truth = 0.8 + 1.2 * 100**-0.12
    forecast = json.loads(out_file.read_text())
    assert forecast["median"] == pytest.approx(truth, rel=0.03)
    assert "weight" in out and "valley" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [("torch", "torch is not installed; pip install 'gnomon[train]'"), ("nobody.knows", "ModuleNotFoundError: ")],
)
def test_a_missing_extra_is_one_line(monkeypatch, capsys, name, message):
    from gnomon.workflow import machine

    def fail(home):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(machine, "machine_lines", fail)
    code, _, err = run(monkeypatch, capsys, "doctor")
    assert code == (2 if name == "torch" else 1) and message in err and len(err.strip().splitlines()) == 1
