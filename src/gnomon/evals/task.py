"""The contract of an examination, on a page: items, what is asked of a model, what it replies, what is kept of it.

A new task is a class with a name and items(); ChoiceTask and TextTask do the rest, or override request() and grade():

    class Capitals(ChoiceTask):
        name = "capitals"

        def items(self):
            for at, row in read_jsonl(self.folder / "capitals.jsonl"):
                yield Item(at, f"Q: {row['question']}\nA:", tuple(row["choices"]), (row["answer"],))
"""

from __future__ import annotations

import ast
import functools
import gzip
import inspect
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash

Normalise = Literal["sum", "tokens", "bytes"]


@dataclass(frozen=True)
class Item:
    """One question. id: unique in its task. choices: continuations of the prompt; gold: which of them are right.

    leads: see Choice. answer: the reference of a text task. cluster: what it shares with other items (a passage, a
    template); its own id when empty. data: whatever else its grading needs.
    """

    id: str
    prompt: str
    choices: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    leads: tuple[str, ...] = ()
    answer: str = ""
    cluster: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """Which continuation is likeliest? A single one: how likely is it?

    leads: text between the context and each choice, where the question is which beginning makes one end likeliest.
    """

    context: str
    choices: tuple[str, ...]
    leads: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(what stands before, what is scored) for each choice."""
        leads = self.leads or ("",) * len(self.choices)
        return [(self.context + lead, choice) for lead, choice in zip(leads, self.choices, strict=True)]


@dataclass(frozen=True)
class Generate:
    """Go on with the context. stop: text at which an answer ends. samples: how many, each with a seed of its own."""

    context: str
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    samples: int = 1


Request = Choice | Generate


@dataclass(frozen=True)
class ChoiceReply:
    """log_probabilities: of each choice after the context, summed over its tokens, in nats. tokens: how many those are.

    greedy: whether every token of the choice was the likeliest one.
    """

    log_probabilities: tuple[float, ...]
    tokens: tuple[int, ...]
    greedy: tuple[bool, ...]


@dataclass(frozen=True)
class TextReply:
    """texts: one a sample."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """The model could not be asked: what was wrong. Counted and reported, never left out in silence."""

    error: str


Reply = ChoiceReply | TextReply | Refusal


@dataclass(frozen=True)
class Grade:
    """value: between 0 and 1; 1 is right. prediction: the answer as it was understood. verdict: why, in a word."""

    value: float
    prediction: str = ""
    verdict: str = ""


class Task:
    """A set of items with a way to ask and a way to grade. Subclass ChoiceTask or TextTask, or this.

    folder: where its data lies. shots: worked examples in front of each item, from exemplars(). headline: what the
    task's number is called. chance: what guessing earns.
    """

    name: ClassVar[str]
    headline: ClassVar[str] = "accuracy"
    chance: ClassVar[float] = 0.0
    separator: ClassVar[str] = "\n\n"

    def __init__(self, folder: Path = Path(), shots: int = 0) -> None:
        self.folder, self.shots = folder, shots

    def items(self) -> Iterable[Item]:
        """Every item, in a fixed order."""
        raise NotImplementedError

    def exemplars(self, item: Item) -> Sequence[str]:
        """Worked examples for an item, prompt with answer; the first `shots` are used."""
        return ()

    def request(self, item: Item) -> Request:
        raise NotImplementedError

    def follow_up(self, item: Item, reply: ChoiceReply | TextReply) -> Request | None:
        """A second request that needs the first reply (an explanation before its letter); None for most tasks."""
        return None

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        """One grade a sample (a choice reply is one sample), of the last reply there is."""
        raise NotImplementedError

    def context(self, item: Item) -> str:
        """What stands before the answer: exemplars, then the item's prompt."""
        shown = list(self.exemplars(item))[: self.shots]
        if len(shown) < self.shots:
            raise GnomonError(f"task {self.name}: {self.shots} shots are asked for and item {item.id} has {len(shown)}")
        return self.separator.join([*shown, item.prompt])

    @cached_property
    def checked_items(self) -> list[Item]:
        """items() as a list. Raises GnomonError when there are none, an id comes twice, or a gold is no choice."""
        found = list(self.items())
        if not found:
            raise GnomonError(f"task {self.name}: no items in {self.folder}; is this the folder with its data?")
        seen: set[str] = set()
        for item in found:
            if item.id in seen:
                raise GnomonError(f"task {self.name}: two items are called {item.id}; ids are unique")
            seen.add(item.id)
            wrong = [g for g in item.gold if not 0 <= g < len(item.choices)]
            if wrong:
                raise GnomonError(
                    f"task {self.name}, item {item.id}: its right answer is choice {wrong[0]} of {len(item.choices)}; "
                    "choices are counted from 0"
                )
        return found

    @cached_property
    def hash(self) -> str:
        """Of everything that decides a score: every request, every reference, and the code that asks and grades."""
        asked = [[i.id, self.request(i), i.gold, i.answer, i.cluster, _plain(i.data)] for i in self.checked_items]
        modules = sorted({c.__module__ for c in type(self).__mro__ if c.__module__ != "builtins"})
        return content_hash([self.name, type(self).__qualname__, [_code(module) for module in modules], asked])


@functools.cache
def _code(module: str) -> str:
    """A module's code without its comments and spacing."""
    return ast.dump(ast.parse(inspect.getsource(sys.modules[module])))


def _plain(data: Mapping[str, Any]) -> str:
    return json.dumps(dict(data), sort_keys=True, default=str)


class ChoiceTask(Task):
    """The likeliest choice counts. normalise: of the whole choice, or per token, or per byte of it."""

    normalise: ClassVar[Normalise] = "sum"

    def request(self, item: Item) -> Choice:
        return Choice(self.context(item), item.choices, item.leads)

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        assert isinstance(reply, ChoiceReply)
        best = argmax(scores(item, reply, self.normalise))
        return [Grade(float(best in item.gold), item.choices[best], "right" if best in item.gold else "wrong")]


class TextTask(Task):
    """A generated answer is judged by correct(). sampling: what is asked beyond the context."""

    sampling: ClassVar[Generate] = Generate("")

    def request(self, item: Item) -> Generate:
        s = self.sampling
        return Generate(self.context(item), s.max_tokens, s.stop, s.temperature, s.samples)

    def answer_of(self, text: str) -> str:
        """The answer inside a text that may explain it."""
        return text.strip()

    def correct(self, item: Item, answer: str) -> float:
        """1 for a right answer, 0 for a wrong one, or between."""
        return float(answer == item.answer)

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        assert isinstance(reply, TextReply)
        out = []
        for text in reply.texts:
            answer = self.answer_of(text)
            value = self.correct(item, answer)
            out.append(Grade(value, answer, "right" if value == 1 else "wrong" if value == 0 else "partly"))
        return out


def scores(item: Item, reply: ChoiceReply, normalise: Normalise) -> list[float]:
    """Each choice's log-probability, divided by its tokens or bytes where asked."""
    sizes = {
        "sum": [1] * len(item.choices),
        "tokens": list(reply.tokens),
        "bytes": [byte_length(choice) for choice in item.choices],
    }[normalise]
    return [value / max(1, size) for value, size in zip(reply.log_probabilities, sizes, strict=True)]


def byte_length(text: str) -> int:
    return len(text.encode())


def argmax(values: Sequence[float]) -> int:
    """The first of the largest: the same for equal values whatever their order in a batch was."""
    return max(range(len(values)), key=lambda i: (values[i], -i))


def shares(values: Sequence[float]) -> list[float]:
    """Log-values as shares of their sum."""
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    return [w / sum(weights) for w in weights]


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(line number as text, object) for every line of a .jsonl or .jsonl.gz file.

    Raises GnomonError naming the file and line for anything but an object, and for a file that is empty or not there.
    """
    if not path.exists():
        raise GnomonError(f"{path}: not there; `gnomon evals fetch` says where its data comes from")
    number = 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise GnomonError(f"{path}, line {number}: not JSON ({error.msg})") from None
            if not isinstance(value, dict):
                raise GnomonError(f"{path}, line {number}: a {type(value).__name__}; each line is an object")
            yield str(number), value
    if not number:
        raise GnomonError(f"{path}: an empty file")
