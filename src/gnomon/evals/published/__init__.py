"""The GPT-4 report's tables (arXiv:2303.08774, Tables 1, 2 and 9) as rows."""

from __future__ import annotations

import csv
from importlib.resources import files


def rows(name: str) -> list[dict[str, str]]:
    """Rows of `gpt4_exams` (scores, percentile ranges, contamination) or `gpt4_academic` (scores in per cent)."""
    text = (files("gnomon.evals.published") / f"{name}.csv").read_text()
    return list(csv.DictReader(text.splitlines()))
