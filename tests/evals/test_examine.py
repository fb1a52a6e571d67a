"""An examination: what is kept, that it goes on where it stopped, and what bad tasks are told."""

from __future__ import annotations

import json
import math

import pytest

from gnomon.common.errors import GnomonError
from gnomon.evals import records
from gnomon.evals.examine import chosen, examine, summarise
from gnomon.evals.task import ChoiceTask, Generate, Item, Refusal, TextTask, read_jsonl


class Capitals(ChoiceTask):
    name = "capitals"
    chance = 0.25

    def items(self):
        for at, row in read_jsonl(self.folder / "capitals.jsonl"):
            yield Item(
                row.get("id", at), f"Q: {row['q']}\nA:", tuple(row["choices"]), (row["gold"],), cluster=row["land"]
            )

    def exemplars(self, item):
        return ["Q: one\nA: 1", "Q: two\nA: 2"]


class Numbers(TextTask):
    name = "numbers"
    sampling = Generate("", max_tokens=8, temperature=0.7, samples=3)

    def items(self):
        return [Item(str(i), f"{i}: ", answer="0.5") for i in range(10)]

    def correct(self, item, answer):
        return float(float(answer) > 0.5)


@pytest.fixture
def folder(tmp_path):
    rows = [
        {"q": f"capital {i}", "choices": [" a", " b b", " ccc", " d"], "gold": i % 4, "land": f"l{i // 3}"}
        for i in range(150)
    ]
    (tmp_path / "capitals.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_a_record_has_what_forecasts_need(folder, oracle):
    task = Capitals(folder, shots=2)
    got = examine(task, oracle(), folder)
    assert len(got) == 150
    one = got[7]
    logs = one.choice_log_probabilities
    total = sum(map(math.exp, logs))
    assert one.gold == (3,) and one.p_gold == pytest.approx(math.exp(logs[3]) / total)
    assert one.gold_bits_per_byte == pytest.approx(-logs[3] / math.log(2) / 2)
    assert one.choice_bytes == (2, 4, 4, 2) and one.cluster == "l2"
    assert one.margin == pytest.approx(logs[3] - max(logs[:3]))
    assert one.right_sum == one.value == float(max(range(4), key=lambda i: logs[i]) == 3)
    by_byte = [log / size for log, size in zip(logs, one.choice_bytes, strict=True)]
    assert one.right_byte == int(max(range(4), key=lambda i: by_byte[i]) == 3)


def test_shots_come_first_and_too_few_are_said(folder, oracle):
    assert (
        Capitals(folder, 2).context(chosen(Capitals(folder), 1)[0]).startswith("Q: one\nA: 1\n\nQ: two\nA: 2\n\nQ: c")
    )
    with pytest.raises(GnomonError, match="3 shots are asked for"):
        examine(Capitals(folder, 3), oracle(), folder)


def test_an_interrupted_examination_ends_with_the_same_records(folder, tmp_path, oracle):
    whole = examine(Capitals(folder), oracle(), tmp_path / "whole")
    cut, first = tmp_path / "cut", oracle(stop_after=70)
    with pytest.raises(KeyboardInterrupt):
        examine(Capitals(folder), first, cut)
    second = oracle()
    assert examine(Capitals(folder), second, cut) == whole
    assert len(first.asked) + len(second.asked) == 150 and second.asked
    third = oracle()
    assert examine(Capitals(folder), third, cut) == whole and not third.asked
    files = [p.read_bytes() for home in ("whole", "cut") for p in (tmp_path / home).rglob("*.parquet")]
    assert len(files) == 2 and files[0] == files[1]


def test_samples_are_rows_with_seeds_of_their_own(tmp_path, oracle):
    got = examine(Numbers(), oracle(), tmp_path)
    assert len(got) == 30 and len({(r.item, r.sample) for r in got}) == 30
    assert [r.seed - got[0].seed for r in got[:3]] == [0, 1, 2]
    assert len({r.text for r in got[:3]}) == 3
    summary = summarise(Numbers(), got)
    assert summary.n == 10 and summary.value.value == pytest.approx(sum(r.value for r in got) / 30)


def test_a_limit_draws_the_same_items_whatever_their_order(folder):
    ids = [item.id for item in chosen(Capitals(folder), 20)]
    lines = (folder / "capitals.jsonl").read_text().splitlines()
    shuffled = folder / "shuffled"
    shuffled.mkdir()
    numbered = [{**json.loads(line), "id": str(i)} for i, line in enumerate(lines, 1)]
    (shuffled / "capitals.jsonl").write_text("\n".join(map(json.dumps, numbered[::-1])))
    assert {item.id for item in chosen(Capitals(shuffled), 20)} == set(ids) and len(ids) == 20


def test_a_refused_item_counts_as_wrong_and_is_counted(folder, tmp_path, oracle):
    class Short(oracle):
        def reply(self, requests, seeds):
            return [
                Refusal("longer than the model's context; 99") if "capital 7" in r.context else reply
                for r, reply in zip(requests, super().reply(requests, seeds), strict=True)
            ]

    summary = summarise(Capitals(folder), examine(Capitals(folder), Short(), tmp_path))
    assert summary.refused == 11 and summary.n == 150
    assert summary.notes == ("longer than the model's context",)


def test_a_changed_task_is_another_task(folder):
    before = Capitals(folder).hash
    assert Capitals(folder).hash == before and Capitals(folder, shots=1).hash != before

    class Other(Capitals):
        normalise = "bytes"

    assert Other(folder).hash != before


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "an empty file"),
        ('{"q": 1}\n{"q"', "line 2: not JSON"),
        ('{"q": 1}\n[1]', "line 2: a list"),
        ('{"q": "a", "choices": ["x"], "gold": 1, "land": "l"}', "right answer is choice 1 of 1"),
        ('{"id": "k", "q": "a", "choices": ["x"], "gold": 0, "land": "l"}\n' * 2, "two items are called k"),
    ],
)
def test_a_malformed_file_names_its_line(tmp_path, oracle, lines, words):
    (tmp_path / "capitals.jsonl").write_text(lines)

    class Raw(Capitals):
        def items(self):
            for at, row in read_jsonl(self.folder / "capitals.jsonl"):
                yield Item(row.get("id", at), "", tuple(row.get("choices", "ab")), (row.get("gold", 0),))

    with pytest.raises(GnomonError, match=words):
        examine(Raw(tmp_path), oracle(), tmp_path)


def test_a_file_that_is_not_there(tmp_path, oracle):
    with pytest.raises(GnomonError, match="gnomon evals fetch"):
        examine(Capitals(tmp_path), oracle(), tmp_path)


def test_records_of_something_else_are_refused(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_text("no")
    with pytest.raises(GnomonError, match="not a file of records"):
        records.read(path)
