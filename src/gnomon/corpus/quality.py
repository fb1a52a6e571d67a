"""What a document must be like to be trained on, as a pure function of its text; the rules of Gopher that hold in any
language (arXiv:2112.11446, appendix A.1.1). A recipe that asks for nothing keeps everything."""

from __future__ import annotations

from gnomon.recipe.values import Quality

FEW_WORDS, LONG_WORDS, FEW_LETTERS, REPEATED = (
    "too few words", "words too long", "too few letters", "too many repeated lines",
)  # fmt: skip


def judge(text: str, rules: Quality) -> tuple[str, str] | None:
    """(reason, value beside its limit) of the first rule that text breaks; None when it keeps them all."""
    words = text.split()
    if len(words) < rules.least_words:
        return FEW_WORDS, f"{len(words)} words, at least {rules.least_words} are asked for"
    length = sum(map(len, words)) / max(1, len(words))
    if length > rules.longest_mean_word:
        return LONG_WORDS, f"{length:.1f} characters a word, at most {rules.longest_mean_word:g} are allowed"
    share = letters(text)
    if share < rules.least_letters:
        return FEW_LETTERS, f"{share:.1%} of it are letters, at least {rules.least_letters:.1%} are asked for"
    share, line = repeated_lines(text)
    if share > rules.most_repeated_lines:
        return REPEATED, (
            f"{share:.1%} of it stands in lines that came before, at most {rules.most_repeated_lines:.1%} may; "
            f"for one: {line[:80]!r}"
        )
    return None


def letters(text: str) -> float:
    """Share of letters among the characters that are no white space; 0 of an empty text."""
    whole = sum(not c.isspace() for c in text)
    return sum(c.isalpha() for c in text) / whole if whole else 0.0


def repeated_lines(text: str) -> tuple[float, str]:
    """(share of the characters in lines that stood there before, the longest such line). Blank lines do not count."""
    seen: set[str] = set()
    again, whole, longest = 0, 0, ""
    for line in text.splitlines():
        line = line.strip()
        if not line:
            continue
        whole += len(line)
        if line in seen:
            again += len(line)
            longest = max(longest, line, key=len)
        seen.add(line)
    return (again / whole if whole else 0.0), longest
