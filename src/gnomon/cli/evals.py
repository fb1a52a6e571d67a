"""`gnomon evals`: examine models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import HOME, Home, Json, group, write_json

evals_app = group("Examine models: tasks, exams, calibration, and the sandbox for what they write.")
Data = Annotated[Path, typer.Option("--data", help="Folder with the tasks' data.")]
DATA = Path("evals-data")


@evals_app.command("list")
def evals_list() -> None:
    """Suites and tasks."""
    from gnomon.workflow.examining import list_lines

    for line in list_lines():
        print(line)


@evals_app.command("run")
def evals_run(
    models: Annotated[list[str], typer.Argument(help="Runs, folders, GGUF files or URLs up to /v1.")],
    suite: Annotated[list[str], typer.Option("--suite", "--task", help="Suite, task or FILE.py:CLASS; may repeat.")],
    data: Data = DATA,
    limit: Annotated[int | None, typer.Option(min=1, help="So many items a task, by a fixed draw.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Worked examples; each task has its own number.")] = None,
    served: Annotated[str, typer.Option("--model", help="What a server calls its model.")] = "",
    key: Annotated[str, typer.Option(envvar="GNOMON_API_KEY", help="A server's key.")] = "",
    home: Home = HOME,
    json_file: Json = None,
) -> None:
    """Ask models what tasks want to know; an interrupted examination goes on where it stopped."""
    from gnomon.workflow.examining import Wish, page_path, run, summary_lines, to_json, write_page
    from gnomon.workflow.examining_display import Live

    wish = Wish(tuple(models), tuple(suite), data, limit, shots, served, key)
    told, shown, every = [], "", []
    with Live() as live:
        for name, task, found in run(wish, home, live.progress):
            if name != shown:
                live.line(name)
                shown = name
            for line in summary_lines(name, task, found):
                live.line("  " + line)
            told.append(to_json(name, task, found))
            every.append((name, task, found))
    path = page_path(home, wish)
    write_page(path, every, f"gnomon evals run {' '.join(models)} --suite {' --suite '.join(suite)}")
    print(path)
    write_json(json_file, {"results": told})


@evals_app.command("compare")
def evals_compare(a: str, b: str, home: Home = HOME) -> None:
    """B against A on every task that both have records of, item by item."""
    from gnomon.workflow.examining import compare_lines

    for line in compare_lines(home, a, b):
        print(line)


@evals_app.command("sandbox")
def evals_sandbox(
    json_file: Json = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Also where files cannot be hidden.")] = False,
) -> None:
    """Which layers guard this machine from model-written code, and do they hold? Runs the hostile suite."""
    from gnomon.workflow.examining import sandbox_lines, sandbox_report

    report = sandbox_report(unsafe)
    for line in sandbox_lines(report):
        print(line)
    write_json(json_file, report)
    if report["stopped"] < report["total"]:
        raise typer.Exit(1)


@evals_app.command("selfcheck")
def evals_selfcheck(task: str, data: Data = DATA, json_file: Json = None) -> None:
    """Do the reference solutions of a code task pass, and does a forgery ever?"""
    from gnomon.workflow.examining import selfcheck

    found = selfcheck(task, data)
    print(
        f"{task}: {found['reference_passed']} of {found['items']} reference solutions pass, "
        f"{found['forged_passed']} forgeries, {found['seconds']:.1f} s"
    )
    for line in found["failed"]:
        print(f"  {line}")
    write_json(json_file, found)
