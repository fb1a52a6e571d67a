"""Tasks that choose among written continuations: ARC, HellaSwag, COPA, OpenBookQA, PIQA, Winograd, WinoGrande, LAMBADA.

Rows as the usual JSONL forms have them: {query, choices, gold}, {context_options, continuation, gold},
{sentence, option1, option2, answer}, {context, continuation}. Likeliest as a whole, or per byte where that is usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from gnomon.common.errors import GnomonError
from gnomon.evals.task import ChoiceReply, ChoiceTask, Grade, Item, Normalise, TextReply, read_jsonl


def need(row: dict[str, Any], where: str, *keys: str) -> list[Any]:
    """The values of a row's keys. Raises GnomonError naming the row and the key that is missing."""
    for key in keys:
        if key not in row:
            raise GnomonError(f"{where}: no {key!r}; it has {', '.join(sorted(row))}")
    return [row[key] for key in keys]


class QueryTask(ChoiceTask):
    """{query, choices, gold} rows. ask: what stands between the query and a choice."""

    file: ClassVar[str]
    ask: ClassVar[str] = "\nAnswer:"

    def items(self) -> Iterator[Item]:
        path = self.folder / self.file
        for at, row in read_jsonl(path):
            query, choices, gold = need(row, f"{path}, line {at}", "query", "choices", "gold")
            yield Item(at, query.rstrip() + self.ask, tuple(f" {choice}" for choice in choices), (int(gold),))


class ArcEasy(QueryTask):
    name, file, chance = "arc-easy", "arc/arc_easy.jsonl", 0.25


class ArcChallenge(QueryTask):
    name, file, chance = "arc-challenge", "arc/arc_challenge.jsonl", 0.25
    normalise: ClassVar[Normalise] = "bytes"


class HellaSwag(QueryTask):
    name, file, chance, ask = "hellaswag", "hellaswag/hellaswag_val.jsonl.gz", 0.25, ""
    normalise: ClassVar[Normalise] = "bytes"


class Copa(QueryTask):
    name, file, chance, ask = "copa", "commonsense/copa.jsonl", 0.5, ""


class OpenBookQa(QueryTask):
    name, file, chance = "openbookqa", "commonsense/openbook_qa.jsonl", 0.25
    normalise: ClassVar[Normalise] = "bytes"


class Piqa(QueryTask):
    name, file, chance = "piqa", "commonsense/piqa.jsonl", 0.5
    normalise: ClassVar[Normalise] = "bytes"


class Winograd(ChoiceTask):
    """Which beginning makes the same end likelier: {context_options, continuation, gold}."""

    name, chance = "winograd", 0.5

    def items(self) -> Iterator[Item]:
        path = self.folder / "commonsense/winograd_wsc.jsonl"
        for at, row in read_jsonl(path):
            leads, end, gold = need(row, f"{path}, line {at}", "context_options", "continuation", "gold")
            end = end if end[:1] in ".,;:!?'" else f" {end}"
            yield Item(at, "", (end,) * len(leads), (int(gold),), leads=tuple(leads))


class WinoGrande(ChoiceTask):
    """{sentence with _, option1, option2, answer "1" or "2"}: the end of the sentence after either option."""

    name, chance = "winogrande", 0.5

    def items(self) -> Iterator[Item]:
        path = self.folder / "winogrande/winogrande.jsonl"
        for at, row in read_jsonl(path):
            where = f"{path}, line {at}"
            sentence, one, two, answer = need(row, where, "sentence", "option1", "option2", "answer")
            if sentence.count("_") != 1 or str(answer) not in ("1", "2"):
                raise GnomonError(f"{where}: one _ in the sentence and an answer of 1 or 2 are needed")
            before, after = sentence.split("_")
            yield Item(at, "", (after, after), (int(answer) - 1,), leads=(before + one, before + two))


class Lambada(ChoiceTask):
    """The last word of a passage: right when every token of it is the likeliest."""

    name, headline = "lambada", "accuracy of the last word"

    def items(self) -> Iterable[Item]:
        path = self.folder / "lambada/lambada_openai.jsonl.gz"
        for at, row in read_jsonl(path):
            context, word = need(row, f"{path}, line {at}", "context", "continuation")
            yield Item(at, context.rstrip(), (f" {word.strip()}",), (0,))

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        assert isinstance(reply, ChoiceReply)
        return [Grade(float(reply.greedy[0]), "", "right" if reply.greedy[0] else "wrong")]
