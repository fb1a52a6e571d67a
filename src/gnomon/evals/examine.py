"""Ask a model everything a task wants to know, keep what it replied, and sum it up.

The model is anything with reply(): a run, a folder, a server. Requests go out in portions; each portion is on the disk
before the next one begins, so an interrupted examination goes on where it stopped and ends with the same records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash
from gnomon.evals import statistics
from gnomon.evals.records import Record, Store
from gnomon.evals.task import (
    Choice,
    ChoiceReply,
    Generate,
    Grade,
    Item,
    Normalise,
    Refusal,
    Reply,
    Request,
    Task,
    argmax,
    byte_length,
    scores,
    shares,
)

PORTION = 64  # requests between two writes


class Model(Protocol):
    """identity: names the weights; records of other weights are never taken for its own."""

    @property
    def identity(self) -> str: ...

    def reply(self, requests: Sequence[Request], seeds: Sequence[int]) -> list[Reply]:
        """One reply a request, in order, none moved by the others. seeds: of the first sample of each; the following
        samples count on from it."""
        ...


@dataclass(frozen=True)
class Summary:
    """One task's number. n: items. refused: items the model could not be asked, which count as wrong."""

    task: str
    headline: str
    value: statistics.Estimate
    n: int
    refused: int
    chance: float
    gold_bits_per_byte: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        v = self.value
        return {
            "task": self.task, "headline": self.headline, "value": v.value, "low": v.low, "high": v.high, "n": self.n,
            "clusters": v.clusters, "refused": self.refused, "chance": self.chance,
            "gold_bits_per_byte": None if math.isnan(self.gold_bits_per_byte) else self.gold_bits_per_byte,
            "notes": list(self.notes),
        }  # fmt: skip


def examine(
    task: Task,
    model: Model,
    home: Path,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Record]:
    """Every record of a model on a task; what earlier sittings asked is not asked again.

    limit: so many items, chosen by a fixed draw. progress: hears (items done, items in all) after each portion.
    Raises GnomonError for a task that cannot be read.
    """
    items = chosen(task, limit)
    store = Store(home, model.identity, task.name, content_hash([task.hash, limit]))
    if store.finished:
        return store.begun()
    known = {record.item for record in store.begun()}
    missing = [item for item in items if item.id not in known]
    progress(len(items) - len(missing), len(items))
    for at in range(0, len(missing), PORTION):
        portion = missing[at : at + PORTION]
        store.append(_asked(task, model, portion))
        progress(len(items) - len(missing) + at + len(portion), len(items))
    return store.finish([item.id for item in items])


def chosen(task: Task, limit: int | None) -> list[Item]:
    """The task's items, or `limit` of them: those whose hash is smallest, in the task's order."""
    items = task.checked_items
    if limit is None or limit >= len(items):
        return items
    if limit < 1:
        raise GnomonError(f"limit is {limit}; at least 1 item")
    ranked = sorted(items, key=lambda item: content_hash([task.name, item.id]))
    kept = {item.id for item in ranked[:limit]}
    return [item for item in items if item.id in kept]


def _asked(task: Task, model: Model, items: Sequence[Item]) -> list[Record]:
    requests = [task.request(item) for item in items]
    seeds = [int(content_hash(["seed", task.name, item.id])[:8], 16) for item in items]
    replies = list(model.reply(requests, seeds))
    again = {}
    for i, (item, reply) in enumerate(zip(items, replies, strict=True)):
        if not isinstance(reply, Refusal) and (second := task.follow_up(item, reply)) is not None:
            again[i] = second
    for i, reply in zip(
        again, model.reply(list(again.values()), [seeds[i] for i in again]) if again else (), strict=True
    ):
        requests[i], replies[i] = again[i], reply
    out: list[Record] = []
    for item, request, seed, reply in zip(items, requests, seeds, replies, strict=True):
        base = Record(
            model.identity, task.name, task.hash, item.id, 0, item.cluster or item.id,
            content_hash(request.context)[:16], seed, gold=item.gold,
        )  # fmt: skip
        if isinstance(reply, Refusal):
            out.append(replace(base, value=0.0, verdict="refused", error=reply.error))
        else:
            out += _graded(base, item, request, reply, task.grade(item, reply))
    return out


def _graded(base: Record, item: Item, request: Request, reply: Reply, grades: list[Grade]) -> list[Record]:
    if isinstance(reply, ChoiceReply):
        assert isinstance(request, Choice)
        (grade,) = grades
        told = replace(base, value=grade.value, prediction=grade.prediction, verdict=grade.verdict)
        return [_with_choices(told, request, item, reply)]
    assert isinstance(request, Generate) and not isinstance(reply, Refusal)
    return [
        replace(base, sample=i, seed=base.seed + i, temperature=request.temperature, text=text,
                value=grade.value, prediction=grade.prediction, verdict=grade.verdict)
        for i, (text, grade) in enumerate(zip(reply.texts, grades, strict=True))
    ]  # fmt: skip


def _with_choices(record: Record, request: Choice, item: Item, reply: ChoiceReply) -> Record:
    """The record with all that continuous forecasts need."""
    sizes = tuple(byte_length(choice) for choice in request.choices)
    logs = reply.log_probabilities
    told = replace(
        record, choice_log_probabilities=logs, choice_tokens=reply.tokens, choice_bytes=sizes,
        greedy=next((i for i, greedy in enumerate(reply.greedy) if greedy), -1),
    )  # fmt: skip
    if not item.gold:
        return told
    asked = replace(item, choices=request.choices)
    best = max(item.gold, key=lambda g: logs[g])
    wrong = [log for i, log in enumerate(logs) if i not in item.gold]
    told = replace(
        told,
        gold_bits_per_byte=-logs[best] / math.log(2) / max(1, sizes[best]),
        margin=logs[best] - max(wrong) if wrong else math.nan,
    )
    more: dict[str, Any] = {}
    kinds: tuple[tuple[Normalise, str], ...] = (("sum", ""), ("tokens", "_token"), ("bytes", "_byte"))
    for kind, suffix in kinds:
        values = scores(asked, reply, kind)
        more[f"p_gold{suffix}"] = sum(shares(values)[g] for g in item.gold)
        more[f"right{suffix or '_sum'}"] = int(argmax(values) in item.gold)
    return replace(told, **more)


def summarise(task: Task, records: Sequence[Record]) -> Summary:
    """The task's number with its interval, clustered; several samples of an item are averaged first."""
    values: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    for record in records:
        values.setdefault(record.item, []).append(record.value)
        clusters[record.item] = record.cluster
    means = [sum(v) / len(v) for v in values.values()]
    names = [clusters[item] for item in values]
    binary = all(m in (0.0, 1.0) for m in means)
    estimate = (statistics.rate if binary else statistics.mean)(means, names)
    bits = [r.gold_bits_per_byte for r in records if not math.isnan(r.gold_bits_per_byte)]
    refused = {r.item: r.error for r in records if r.error}
    reasons = sorted({error.split(";")[0] for error in refused.values()})
    return Summary(
        task.name, task.headline, estimate, len(means), len(refused), task.chance,
        sum(bits) / len(bits) if bits else math.nan, tuple(reasons[:3]),
    )  # fmt: skip
