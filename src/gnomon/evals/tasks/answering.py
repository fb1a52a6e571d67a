"""Tasks that are answered in words: GSM8K, MGSM, BIG-Bench Hard, BIG-bench, DROP.

The answer is found inside the text: after the mark that the worked examples use, else the last number. Numbers are
compared as numbers. F1 as in DROP (arXiv:1903.00161): bags of words, numbers must agree.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from gnomon.common.errors import GnomonError
from gnomon.evals.task import ChoiceTask, Generate, Item, TextTask, read_jsonl
from gnomon.evals.tasks.choosing import need

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> str:
    """The last number of a text without its commas, "" when there is none."""
    found = NUMBER.findall(text)
    return found[-1].replace(",", "") if found else ""


def same_number(a: str, b: str) -> bool:
    try:
        return abs(float(a.replace(",", "")) - float(b.replace(",", ""))) < 1e-6
    except ValueError:
        return False


class Gsm8k(TextTask):
    """Grade-school mathematics (arXiv:2110.14168): reasons first, the answer after ####. Shots: its train set."""

    name = "gsm8k"
    sampling = Generate("", max_tokens=320, stop=("\n\nQuestion:", "\nQuestion:"))

    def __init__(self, folder: Path = Path(), shots: int = 5) -> None:
        super().__init__(folder, shots)

    @cached_property
    def _worked(self) -> list[str]:
        rows = read_jsonl(self.folder / "gsm8k/train.jsonl.gz")
        return [f"Question: {row['question']}\nAnswer: {_plain(row['answer'])}" for _, row in _first(rows, self.shots)]

    def items(self) -> Iterator[Item]:
        path = self.folder / "gsm8k/test.jsonl"
        for at, row in read_jsonl(path):
            question, answer = need(row, f"{path}, line {at}", "question", "answer")
            yield Item(at, f"Question: {question}\nAnswer:", answer=last_number(answer.split("####")[-1]))

    def exemplars(self, item: Item) -> Sequence[str]:
        return self._worked

    def answer_of(self, text: str) -> str:
        return last_number(text.split("####", 1)[1].splitlines()[0] if "####" in text else text)

    def correct(self, item: Item, answer: str) -> float:
        return float(same_number(item.answer, answer))


def _plain(answer: str) -> str:
    """A worked answer without the calculator's marks."""
    return re.sub(r"<<.*?>>", "", answer)


def _first(rows: Iterable[Any], count: int) -> list[Any]:
    return [row for row, _ in zip(rows, range(count), strict=False)]


class Mgsm(Gsm8k):
    """GSM8K in other languages (arXiv:2210.03057): question TAB answer; worked examples in English."""

    language: ClassVar[str] = "de"
    name = "mgsm-de"

    def items(self) -> Iterator[Item]:
        path = self.folder / f"mgsm/mgsm_{self.language}.tsv"
        if not path.exists():
            raise GnomonError(f"{path}: not there; `gnomon evals fetch` says where its data comes from")
        for at, line in enumerate(path.read_text().splitlines(), 1):
            question, tab, answer = line.rpartition("\t")
            if not tab:
                raise GnomonError(f"{path}, line {at}: no tab; each line is a question, a tab and its answer")
            yield Item(str(at), f"Question: {question}\nAnswer:", answer=last_number(answer), cluster=str(at))


class MgsmFrench(Mgsm):
    name, language = "mgsm-fr", "fr"


class MgsmChinese(Mgsm):
    name, language = "mgsm-zh", "zh"


class MgsmSwahili(Mgsm):
    name, language = "mgsm-sw", "sw"


class MgsmBengali(Mgsm):
    name, language = "mgsm-bn", "bn"


class Bbh(TextTask):
    """BIG-Bench Hard (arXiv:2210.09261), answers only: the first examples of each file are shown, the rest asked."""

    name = "bbh"
    sampling = Generate("", max_tokens=64, stop=("\n\n", "\nQ:"))

    def __init__(self, folder: Path = Path(), shots: int = 3) -> None:
        super().__init__(folder, shots)

    @cached_property
    def _families(self) -> dict[str, list[dict[str, str]]]:
        return {path.stem: _examples(path) for path in sorted((self.folder / "bbh").glob("*.json"))}

    def items(self) -> Iterator[Item]:
        for family, rows in self._families.items():
            for at, row in enumerate(rows[self.shots :], self.shots):
                yield Item(f"{family}/{at}", f"Q: {row['input']}\nA:", answer=row["target"].strip(),
                           data={"family": family})  # fmt: skip

    def exemplars(self, item: Item) -> Sequence[str]:
        rows = self._families[str(item.data["family"])]
        return [f"Q: {row['input']}\nA: {row['target']}" for row in rows[: self.shots]]

    def answer_of(self, text: str) -> str:
        return text.strip().splitlines()[0].strip() if text.strip() else ""

    def correct(self, item: Item, answer: str) -> float:
        return float(answer.rstrip(".").casefold() == item.answer.rstrip(".").casefold())


def _examples(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise GnomonError(f"{path}: not there; `gnomon evals fetch` says where its data comes from")
    try:
        return list(json.loads(path.read_text())["examples"])
    except (ValueError, KeyError, TypeError) as error:
        raise GnomonError(f"{path}: {error}; a JSON object with a list called examples is needed") from None


class BigBench(TextTask):
    """One BIG-bench task (arXiv:2206.04615) as JSON with examples of input and target, or JSONL of context and
    continuation. Subclass with a file; tasks with target_scores are BigBenchChoice."""

    name = "bigbench"
    file: ClassVar[str] = "bigbench/bigbench_operators.jsonl"
    sampling = Generate("", max_tokens=32, stop=("\n",))

    def items(self) -> Iterator[Item]:
        path = self.folder / self.file
        if path.suffix == ".json":
            for number, row in enumerate(_examples(path)):
                (target,) = need(row, f"{path}, example {number}", "target")
                answers = target if isinstance(target, list) else [target]
                yield Item(str(number), str(row["input"]), answer=str(answers[0]), data={"answers": answers})
            return
        for at, row in read_jsonl(path):
            context, wanted = need(row, f"{path}, line {at}", "context", "continuation")
            yield Item(at, context, answer=wanted.strip(), data={"answers": [wanted.strip()]})

    def correct(self, item: Item, answer: str) -> float:
        return float(any(answer.strip() == str(wanted).strip() for wanted in item.data["answers"]))


class BigBenchChoice(ChoiceTask):
    """One BIG-bench task as JSON with target_scores: the choices are its keys, the right ones score highest."""

    name = "bigbench-choice"
    file: ClassVar[str] = "bigbench/task.json"

    def items(self) -> Iterator[Item]:
        path = self.folder / self.file
        for at, row in enumerate(_examples(path)):
            text, scores = need(row, f"{path}, example {at}", "input", "target_scores")
            best = max(scores.values())
            gold = tuple(i for i, score in enumerate(scores.values()) if score == best)
            yield Item(str(at), str(text), tuple(f" {choice}" for choice in scores), gold)


ARTICLES = re.compile(r"\b(a|an|the)\b")


def bag(text: str) -> list[str]:
    """Words of an answer, lower case, without punctuation and articles; numbers in one form."""
    out = []
    for word in re.split(r"[\s-]+", text.casefold()):
        number = word.replace(",", "").strip("$%")
        try:
            out.append(str(float(number)))
        except ValueError:
            bare = ARTICLES.sub("", "".join(c for c in word if c not in string.punctuation))
            if bare:
                out.append(bare)
    return out


def drop_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 of word bags over the references; 0 where a reference has numbers and the answer has none of them."""
    best, got = 0.0, Counter(bag(answer))
    for reference in references:
        wanted = Counter(bag(reference))
        numbers = {w for w in wanted if NUMBER.fullmatch(w)}
        if numbers and not numbers & set(got):
            continue
        shared = sum((got & wanted).values())
        if shared:
            precision, recall = shared / sum(got.values()), shared / sum(wanted.values())
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


class Drop(TextTask):
    """Reading with arithmetic: {passage, question, answers} rows; items of one passage are one cluster."""

    name, headline = "drop", "F1"
    sampling = Generate("", max_tokens=24, stop=("\n",))

    def items(self) -> Iterator[Item]:
        path = self.folder / "drop/drop.jsonl"
        for at, row in read_jsonl(path):
            passage, question, answers = need(row, f"{path}, line {at}", "passage", "question", "answers")
            yield Item(at, f"Passage: {passage}\nQuestion: {question}\nAnswer:", answer=str(answers[0]),
                       cluster=passage[:80], data={"answers": [str(a) for a in answers]})  # fmt: skip

    def correct(self, item: Item, answer: str) -> float:
        return drop_f1(answer, item.data["answers"])
