"""Knowledge by letter or by statement: MMLU (and its translations), TruthfulQA mc1 and mc2.

MMLU (arXiv:2009.03300): five worked examples of the subject, then the letter. TruthfulQA (arXiv:2109.07958): mc1 asks
whether the best answer is the likeliest, mc2 how much of the probability goes to true ones.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gnomon.common.errors import GnomonError
from gnomon.evals.task import ChoiceReply, ChoiceTask, Grade, Item, TextReply, shares

LETTERS = "ABCDEFGHIJ"


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by header) of a CSV file. Raises GnomonError when it is not there or has no rows."""
    if not path.exists():
        raise GnomonError(f"{path}: not there; `gnomon evals fetch` says where its data comes from")
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        reader, none = csv.DictReader(lines), True
        for row in reader:
            none = False
            yield reader.line_num, row
        if none:
            raise GnomonError(f"{path}: an empty file")


def question(text: str, choices: Sequence[str]) -> str:
    """A question with its lettered choices, ready for the letter."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([text.strip(), *lines, "Answer:"])


class Mmlu(ChoiceTask):
    """subject.csv files in mmlu/test, worked examples in mmlu/dev: question, choice0..3, answer (0-based)."""

    name, chance = "mmlu", 0.25
    tests: ClassVar[str] = "mmlu/test"
    examples: ClassVar[str] = "mmlu/dev"
    suffix: ClassVar[str] = ""

    def __init__(self, folder: Path = Path(), shots: int = 5) -> None:
        super().__init__(folder, shots)
        self._shown: dict[str, list[str]] = {}

    def items(self) -> Iterator[Item]:
        for path in sorted((self.folder / self.tests).glob(f"*_test{self.suffix}.csv*")):
            subject = path.name.split(f"_test{self.suffix}.csv")[0]
            for line, row in read_csv(path):
                text, choices, gold = self.row(row, f"{path}, line {line}")
                data = {"subject": subject}
                yield Item(f"{subject}/{line}", question(text, choices), tuple(f" {c}" for c in LETTERS[:4]),
                           (gold,), data=data)  # fmt: skip

    def row(self, row: dict[str, str], where: str) -> tuple[str, list[str], int]:
        """(question, choices, index of the right one) of a CSV row."""
        try:
            return row["question"], [row[f"choice{i}"] for i in range(4)], int(row["answer"])
        except (KeyError, TypeError, ValueError) as error:
            raise GnomonError(f"{where}: {error}; columns are question, choice0 to choice3, answer (0 to 3)") from None

    def exemplars(self, item: Item) -> Sequence[str]:
        subject = str(item.data["subject"])
        if subject not in self._shown:
            path = next((self.folder / self.examples).glob(f"{subject}_dev{self.suffix}.csv*"), None)
            if path is None:
                raise GnomonError(
                    f"{self.folder / self.examples}: no worked examples of {subject}; --shots 0 asks without"
                )
            rows = [self.row(row, f"{path}, line {line}") for line, row in read_csv(path)]
            shown = [f"{question(text, choices)} {LETTERS[gold]}" for text, choices, gold in rows]
            shown[0] = f"The following are multiple choice questions about {subject.replace('_', ' ')}.\n\n{shown[0]}"
            self._shown[subject] = shown
        return self._shown[subject]


class TranslatedMmlu(Mmlu):
    """The same subject in another language: Question, OptionA..D, Answer (a letter). language: the file's suffix."""

    tests, examples = "mmlu_translated", "mmlu_translated"
    language: ClassVar[str]

    def row(self, row: dict[str, str], where: str) -> tuple[str, list[str], int]:
        try:
            return row["Question"], [row[f"Option{c}"] for c in "ABCD"], LETTERS.index(row["Answer"].strip())
        except (KeyError, AttributeError, ValueError) as error:
            raise GnomonError(
                f"{where}: {error}; columns are Question, OptionA to OptionD, Answer (a letter)"
            ) from None


class MmluAfrikaans(TranslatedMmlu):
    name, suffix, language = "mmlu-af", "_af", "Afrikaans"


class MmluXhosa(TranslatedMmlu):
    name, suffix, language = "mmlu-xh", "_xh", "isiXhosa"


class MmluZulu(TranslatedMmlu):
    name, suffix, language = "mmlu-zu", "_zu", "isiZulu"


class TruthfulQaMc1(ChoiceTask):
    name = "truthfulqa-mc1"

    def items(self) -> Iterator[Item]:
        for line, row in read_csv(self.folder / "truthfulqa/TruthfulQA.csv"):
            yield self.item(line, row)

    def item(self, line: int, row: dict[str, str]) -> Item:
        choices = [row["Best Answer"], *_listed(row["Incorrect Answers"])]
        return Item(str(line), _ask(row), tuple(f" {c}" for c in choices), (0,), data={"category": row["Category"]})


class TruthfulQaMc2(TruthfulQaMc1):
    name, headline = "truthfulqa-mc2", "share on true answers"

    def item(self, line: int, row: dict[str, str]) -> Item:
        true, false = _listed(row["Correct Answers"]), _listed(row["Incorrect Answers"])
        texts = tuple(f" {c}" for c in [*true, *false])
        return Item(str(line), _ask(row), texts, tuple(range(len(true))), data={"category": row["Category"]})

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        assert isinstance(reply, ChoiceReply)
        each = shares(reply.log_probabilities)
        value = min(1.0, sum(each[g] for g in item.gold))
        return [Grade(value, "", f"{value:.2f}")]


def _ask(row: dict[str, Any]) -> str:
    return f"Q: {row['Question'].strip()}\nA:"


def _listed(text: str) -> list[str]:
    """Answers separated by semicolons, each once, in order."""
    return list(dict.fromkeys(part.strip().rstrip(".") for part in text.split(";") if part.strip()))
