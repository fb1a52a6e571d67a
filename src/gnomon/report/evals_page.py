"""The page of an examination: scores with their intervals, claims against outcomes, every number in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnomon.figures.reliability import ReliabilityCurve, reliability
from gnomon.figures.scores import ScoreMark, ScoreRow, scores
from gnomon.report.sheet import sheet

CAPTIONS = {
    "scores": (
        "Scores",
        "A dot is the score, the bar its 95 % interval, the dotted line what guessing earns. A bar that crosses that "
        "line has shown nothing yet.",
    ),
    "reliability": (
        "Does it mean what it says?",
        "Each choice of each question is a claim. On the dashed line, claims of 70 % come true 7 times in 10; below "
        "it, the model is surer than it should be.",
    ),
}


def render_evals(
    title: str,
    results: Sequence[dict[str, Any]],
    curves: Sequence[ReliabilityCurve],
    published: Sequence[dict[str, str]] = (),
    command: str = "",
    theme: str = "",
) -> str:
    """The page. results: as `gnomon evals run --json` writes them, those that could not be run among them.

    curves: reliability of each model. published: rows of printed figures for the tasks that were run.
    """
    from markupsafe import Markup

    rows = [r for r in results if "value" in r]
    pictures = {}
    if rows:
        pictures["scores"] = scores(_score_rows(rows))
    if any(curve.dots for curve in curves):
        pictures["reliability"] = reliability(tuple(curves))
    values = {
        "title": title,
        "models": list(dict.fromkeys(r["model"] for r in results)),
        "rows": rows,
        "items": sum(r["n"] for r in rows),
        "notes": [f"{r['task']}: {r['not_run']}" for r in results if "not_run" in r],
        "figures": [(name, *CAPTIONS[name], Markup(p.html())) for name, p in pictures.items()],
        "published": list(published),
        "command": command,
    }
    return sheet("evals.html", values, theme)


def _score_rows(rows: Sequence[dict[str, Any]]) -> tuple[ScoreRow, ...]:
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    return tuple(
        ScoreRow(task, found[0]["chance"],
                 tuple(ScoreMark(r["model"], r["value"], r["low"], r["high"]) for r in found))
        for task, found in by_task.items()
    )  # fmt: skip
