"""Real exams of AGIEval (arXiv:2304.06364): SAT, LSAT, AQuA, LogiQA, Gaokao, as multiple choice.

Three ways to an answer: the letter at once (its likelihood), the letter found in an explanation, and the report's
second call, where the explanation is shown again and the letter asked for (arXiv:2303.08774, appendix A).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from gnomon.common.errors import GnomonError
from gnomon.evals.task import (
    Choice,
    ChoiceReply,
    ChoiceTask,
    Generate,
    Grade,
    Item,
    Request,
    Task,
    TextReply,
    TextTask,
    argmax,
    read_jsonl,
)
from gnomon.evals.tasks.choosing import need
from gnomon.evals.tasks.knowledge import LETTERS

MARK = re.compile(r"^\s*\(?([A-J])\)?[.)\s]*")
SAID = (
    re.compile(r"(?i)answer(?:\s+is)?\s*:?\s*\(?([A-J])\b"),
    re.compile(r"\(([A-J])\)"),
    re.compile(r"\b([A-J])\b"),
)


def letter_in(text: str) -> str:
    """The letter an explanation ends with: after "answer", else the last in brackets, else the last alone; or ""."""
    for pattern in SAID:
        found = pattern.findall(text)
        if found:
            return str(found[-1]).upper()
    return ""


class AgiEval(ChoiceTask):
    """{passage, question, options, label} rows; questions on one passage are one cluster."""

    file: ClassVar[str]
    chance: ClassVar[float] = 0.25

    def items(self) -> Iterator[Item]:
        path = self.folder / "agieval" / self.file
        for at, row in read_jsonl(path):
            question, options, label = need(row, f"{path}, line {at}", "question", "options", "label")
            if not options:
                continue  # an exam has open questions too
            wanted = _labels(label, f"{path}, line {at}", len(options))
            passage = (row.get("passage") or "").strip()
            lines = [f"{LETTERS[i]}. {MARK.sub('', option, 1)}" for i, option in enumerate(options)]
            prompt = "\n".join([*([passage] if passage else []), question.strip(), *lines, "Answer:"])
            choices = tuple(f" {LETTERS[i]}" for i in range(len(options)))
            yield Item(at, prompt, choices, wanted, cluster=passage[:120] or at)


def _labels(label: Any, where: str, options: int) -> tuple[int, ...]:
    """Indices of the right options: "C", "AD" and ["A", "D"] are all in use."""
    letters = list(label) if isinstance(label, list) else list(str(label))
    found = tuple(LETTERS.find(str(letter).strip()) for letter in letters)
    if not found or not all(0 <= g < options for g in found):
        raise GnomonError(f"{where}: the label {label!r} names none of {options} options")
    return found


class Explained(TextTask):
    """An exam answered with an explanation at temperature 0.3. exam: the task that knows the questions.

    second_call: ask for the letter again, with the explanation in front, at its likeliest.
    """

    exam: ClassVar[type[AgiEval]]
    second_call: ClassVar[bool] = False
    sampling = Generate("", max_tokens=320, stop=("\n\n\n",), temperature=0.3)

    def items(self) -> Sequence[Item]:
        return [
            Item(i.id, i.prompt.removesuffix("Answer:") + "Explanation:", i.choices, i.gold, cluster=i.cluster)
            for i in self.exam(self.folder).items()
        ]

    def follow_up(self, item: Item, reply: ChoiceReply | TextReply) -> Request | None:
        if not self.second_call or not isinstance(reply, TextReply):
            return None
        return Choice(f"{self.context(item)}{reply.texts[0].rstrip()}\nAnswer:", item.choices)

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        if isinstance(reply, ChoiceReply):
            said = [LETTERS[argmax(reply.log_probabilities)]]
        else:
            said = [letter_in(text) for text in reply.texts]
        right = {LETTERS[g] for g in item.gold}
        return [Grade(float(s in right), s, ("right" if s in right else "wrong") if s else "no letter") for s in said]


EXAMS: dict[str, tuple[str, float]] = {
    "sat-math": ("sat-math.jsonl", 0.25), "lsat-lr": ("lsat-lr.jsonl", 0.2), "lsat-ar": ("lsat-ar.jsonl", 0.2),
    "aqua": ("aqua-rat.jsonl", 0.2), "logiqa": ("logiqa-en.jsonl", 0.25),
    "gaokao-english": ("gaokao-english.jsonl", 0.25),
    "gaokao-math": ("gaokao-mathqa.jsonl", 0.25), "gaokao-history": ("gaokao-history.jsonl", 0.25),
    "gaokao-physics": ("gaokao-physics.jsonl", 0.25),
}  # fmt: skip


@functools.cache
def classes() -> dict[str, type[Task]]:
    """A task for each exam and way: sat-math (the letter at once), sat-math-explained, sat-math-second-call."""
    out: dict[str, type[Task]] = {}
    for name, (file, chance) in EXAMS.items():
        exam = type(name, (AgiEval,), {"name": name, "file": file, "chance": chance, "__module__": __name__})
        out[name] = exam
        for way, second in (("explained", False), ("second-call", True)):
            body = {"name": f"{name}-{way}", "exam": exam, "second_call": second, "chance": chance}
            out[f"{name}-{way}"] = type(f"{name}-{way}", (Explained,), {**body, "__module__": __name__})
    return out
