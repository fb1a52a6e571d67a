"""The page of an examination: what a reader must find on it, and that text from outside stays text."""

from __future__ import annotations

import pytest

from gnomon.evals import published
from gnomon.figures.reliability import ReliabilityCurve, ReliabilityDot, reliability
from gnomon.figures.scores import ScoreMark, ScoreRow, scores
from gnomon.report.evals_page import render_evals

RESULT = {
    "model": "m", "task": "mmlu", "headline": "accuracy", "value": 0.314, "low": 0.262, "high": 0.371, "n": 300,
    "clusters": 300, "refused": 2, "chance": 0.25, "gold_bits_per_byte": 0.9, "notes": [],
}  # fmt: skip
CURVE = ReliabilityCurve("m", 0.123, (ReliabilityDot(0.2, 0.25, 900), ReliabilityDot(0.7, 0.5, 300)))


def test_scores_intervals_refusals_and_what_was_not_run_are_there():
    page = render_evals("m", [RESULT, {"model": "m", "task": "drop", "not_run": "no data"}], [CURVE])
    for text in ("31 %", "26 % to 37 %", ">300<", "0.900", "drop: no data", "error 12.3 %", ">2<"):
        assert text in page.replace("\u202f", " ").replace("\u00a0", " "), text


def test_published_figures_stand_apart():
    rows = [r for r in published.rows("gpt4_academic") if r["task"] == "mmlu"]
    page = render_evals("m", [RESULT], [], rows)
    assert "86.4" in page and "not a comparison" in page
    assert "86.4" not in render_evals("m", [RESULT], [])


def test_names_from_outside_stay_text():
    page = render_evals("<b>x</b>", [{**RESULT, "model": "<script>1</script>"}], [CURVE], command="<i>")
    assert "<script>1" not in page and "<b>x" not in page and "<i>" not in page


def test_a_page_without_any_result_says_why():
    page = render_evals("m", [{"model": "m", "task": "drop", "not_run": "no data"}], [])
    assert "drop: no data" in page and "<svg" not in page.split("<main>")[1]


def test_several_models_share_a_row_and_a_legend():
    marks = tuple(ScoreMark(f"model {i}", 0.2 * i, 0.2 * i - 0.05, 0.2 * i + 0.05) for i in (1, 2, 3))
    drawn = scores((ScoreRow("task", 0.25, marks),))
    assert all(drawn.wide.count(f">model {i}<") == 1 for i in (1, 2, 3))


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no task"):
        scores(())
    with pytest.raises(ValueError, match="no bin"):
        reliability((ReliabilityCurve("m", 0.0, ()),))


def test_the_report_prints_what_the_paper_prints():
    exams = {r["exam"]: r for r in published.rows("gpt4_exams")}
    assert len(exams) == 34
    assert (exams["LSAT"]["gpt4"], exams["LSAT"]["gpt4_low"], exams["LSAT"]["gpt35"]) == ("163", "88", "149")
    assert exams["AMC 10"]["gpt35"] == "36/150"
    assert exams["AP Biology"]["gpt4_low"] == "85"
