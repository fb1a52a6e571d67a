"""The rules for documents: each alone, with the value that breaks it."""

from __future__ import annotations

import pytest

from gnomon.corpus import quality
from gnomon.recipe.values import Quality


@pytest.mark.parametrize(
    ("text", "rules", "reason", "said"),
    [
        ("three words only", {"least_words": 4}, quality.FEW_WORDS, "3 words, at least 4"),
        ("x" * 90 + " a", {"longest_mean_word": 20}, quality.LONG_WORDS, "45.5 characters a word, at most 20"),
        ("1 2 3 4 abcd", {"least_letters": 0.6}, quality.FEW_LETTERS, "50.0% of it are letters, at least 60.0%"),
        ("buy now\nbuy now\nother!\n", {"most_repeated_lines": 0.3}, quality.REPEATED, "35.0% of it stands in lines"),
    ],
)
def test_a_document_that_breaks_a_rule_is_named_with_its_value(text, rules, reason, said) -> None:
    found = quality.judge(text, Quality(**rules))
    assert found is not None and found[0] == reason and found[1].startswith(said)
    assert quality.judge(text, Quality()) is None


def test_letters_of_every_script_count_and_blank_lines_do_not() -> None:
    assert quality.letters("日本語 é ß") == 1.0 and quality.letters("") == 0.0
    assert quality.repeated_lines("\n\n \n") == (0.0, "")
