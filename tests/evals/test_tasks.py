"""Each task: the text it asks with, the reply it calls right, and the data it refuses."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from gnomon.common.errors import GnomonError
from gnomon.evals.catalogue import SUITES, named, tasks
from gnomon.evals.task import Choice, ChoiceReply, Generate, TextReply
from gnomon.evals.tasks import answering, choosing, coding, exams, inverse, knowledge


def put(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(row) for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as f:
        csv.writer(f).writerows([header, *rows])


def choose(task, item, best, greedy=()):
    count = len(task.request(item).choices)
    logs = tuple(-1.0 if i == best else -9.0 for i in range(count))
    reply = ChoiceReply(logs, (2,) * count, tuple(i in greedy for i in range(count)))
    return task.grade(item, reply)[0].value


def say(task, item, text):
    return task.grade(item, TextReply((text,)))[0].value


def test_arc_asks_for_a_whole_answer(tmp_path):
    put(tmp_path / "arc/arc_easy.jsonl", [{"query": "Question: Why?", "choices": ["so", "not so"], "gold": 1}])
    task = choosing.ArcEasy(tmp_path)
    (item,) = task.checked_items
    assert task.request(item) == Choice("Question: Why?\nAnswer:", (" so", " not so"))
    assert choose(task, item, 1) == 1 and choose(task, item, 0) == 0


def test_per_byte_tasks_do_not_favour_short_choices(tmp_path):
    put(tmp_path / "arc/arc_challenge.jsonl", [{"query": "Q", "choices": ["a", "a much longer answer"], "gold": 1}])
    task = choosing.ArcChallenge(tmp_path)
    (item,) = task.checked_items
    reply = ChoiceReply((-4.0, -12.0), (1, 4), (False, False))
    assert task.grade(item, reply)[0].value == 1


def test_winograd_scores_one_end_after_two_beginnings(tmp_path):
    row = {"context_options": ["because the men", "because the women"], "continuation": "ran", "gold": 0}
    put(tmp_path / "commonsense/winograd_wsc.jsonl", [row])
    task = choosing.Winograd(tmp_path)
    request = task.request(task.checked_items[0])
    assert request.pairs == [("because the men", " ran"), ("because the women", " ran")]


def test_winogrande_puts_each_option_into_the_sentence(tmp_path):
    row = {"sentence": "The cup is on the table as _ is flat.", "option1": "it", "option2": "the cup", "answer": "1"}
    put(tmp_path / "winogrande/winogrande.jsonl", [row])
    task = choosing.WinoGrande(tmp_path)
    request = task.request(task.checked_items[0])
    assert request.pairs[1] == ("The cup is on the table as the cup", " is flat.")
    put(tmp_path / "winogrande/winogrande.jsonl", [{**row, "answer": "3"}])
    with pytest.raises(GnomonError, match="line 1: one _ in the sentence"):
        list(choosing.WinoGrande(tmp_path).items())


def test_lambada_wants_every_token_likeliest(tmp_path):
    put(tmp_path / "lambada/lambada_openai.jsonl.gz", [{"context": "He said ", "continuation": "yes"}])
    task = choosing.Lambada(tmp_path)
    (item,) = task.checked_items
    assert task.request(item) == Choice("He said", (" yes",))
    assert choose(task, item, 0, greedy=(0,)) == 1 and choose(task, item, 0) == 0


@pytest.fixture
def mmlu(tmp_path):
    header = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]
    table(tmp_path / "mmlu/test/old_maps_test.csv", header, [["Where?", "n", "s", "e", "w", 2]])
    table(tmp_path / "mmlu/dev/old_maps_dev.csv", header, [[f"q{i}", "1", "2", "3", "4", i % 4] for i in range(5)])
    return tmp_path


def test_mmlu_shows_five_examples_of_the_subject(mmlu):
    task = knowledge.Mmlu(mmlu)
    (item,) = task.checked_items
    asked = task.request(item)
    assert asked.context.startswith("The following are multiple choice questions about old maps.\n\nq0\nA. 1\nB. 2\n")
    assert asked.context.count("Answer:") == 6 and "Answer: B\n\nq2" in asked.context
    assert asked.context.endswith("Where?\nA. n\nB. s\nC. e\nD. w\nAnswer:") and asked.choices == (
        " A",
        " B",
        " C",
        " D",
    )
    assert choose(task, item, 2) == 1
    (mmlu / "mmlu/dev/old_maps_dev.csv").unlink()
    with pytest.raises(GnomonError, match="no worked examples of old_maps"):
        knowledge.Mmlu(mmlu).request(item)


def test_truthfulqa_counts_the_best_answer_or_the_share_of_true_ones(tmp_path):
    header = ["Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"]
    table(tmp_path / "truthfulqa/TruthfulQA.csv", header, [["c", "Is it?", "No", "No; Never", "Yes; Often"]])
    one, two = knowledge.TruthfulQaMc1(tmp_path), knowledge.TruthfulQaMc2(tmp_path)
    assert one.checked_items[0].choices == (" No", " Yes", " Often") and choose(one, one.checked_items[0], 0) == 1
    item = two.checked_items[0]
    reply = ChoiceReply((0.0, 0.0, 0.0, 0.0), (1,) * 4, (False,) * 4)
    assert two.grade(item, reply)[0].value == pytest.approx(0.5)


def test_gsm8k_finds_the_answer_after_its_mark(tmp_path):
    put(
        tmp_path / "gsm8k/train.jsonl.gz", [{"question": f"q{i}", "answer": f"<<1+1=2>>so\n#### {i}"} for i in range(6)]
    )
    put(tmp_path / "gsm8k/test.jsonl", [{"question": "How much?", "answer": "therefore\n#### 1,200"}])
    task = answering.Gsm8k(tmp_path)
    (item,) = task.checked_items
    assert task.request(item).context.count("####") == 5 and "<<" not in task.request(item).context
    assert say(task, item, " 600 twice\n#### 1200\nQuestion: 5") == 1
    assert say(task, item, " it is $1,200.00 in all") == 1
    assert say(task, item, " 1200 or\n#### 12") == 0 and say(task, item, " none") == 0


def test_mgsm_is_gsm8k_in_another_tongue(tmp_path):
    put(tmp_path / "gsm8k/train.jsonl.gz", [{"question": "q", "answer": "#### 1"}] * 5)
    (tmp_path / "mgsm").mkdir()
    (tmp_path / "mgsm/mgsm_de.tsv").write_text("Wie viel?\t18\nnichts")
    with pytest.raises(GnomonError, match="line 2: no tab"):
        list(answering.Mgsm(tmp_path).items())
    (tmp_path / "mgsm/mgsm_de.tsv").write_text("Wie viel?\t18\n")
    task = answering.Mgsm(tmp_path)
    assert say(task, task.checked_items[0], " also 18.") == 1


def test_bbh_never_asks_what_it_shows(tmp_path):
    rows = [{"input": f"i{i}", "target": f"({'AB'[i % 2]})"} for i in range(6)]
    (tmp_path / "bbh").mkdir()
    (tmp_path / "bbh/navigate.json").write_text(json.dumps({"examples": rows}))
    task = answering.Bbh(tmp_path)
    assert [i.id for i in task.checked_items] == ["navigate/3", "navigate/4", "navigate/5"]
    assert "Q: i0\nA: (A)\n\nQ: i1" in task.request(task.checked_items[0]).context
    assert say(task, task.checked_items[0], " (b)\nQ: more") == 1


def test_bigbench_takes_the_highest_score_as_right(tmp_path):
    (tmp_path / "bigbench").mkdir()
    body = {"examples": [{"input": "x", "target_scores": {"no": 0, "yes": 1, "also": 1}}]}
    (tmp_path / "bigbench/task.json").write_text(json.dumps(body))
    (item,) = answering.BigBenchChoice(tmp_path).checked_items
    assert item.gold == (1, 2)


@pytest.mark.parametrize(
    ("answer", "references", "f1"),
    [
        ("the Red Fox", ["red fox"], 1.0),
        ("fox", ["red fox"], 2 / 3),
        ("12 yards", ["12"], 2 / 3),
        ("13 yards", ["12 yards"], 0.0),
        ("$1,200", ["1200"], 1.0),
        ("twelve", ["12", "twelve"], 1.0),
        ("", ["x"], 0.0),
    ],
)
def test_drop_f1(answer, references, f1):
    assert answering.drop_f1(answer, references) == pytest.approx(f1)


def test_hindsight_neglect_shows_agreement_and_asks_where_there_is_none():
    task = inverse.HindsightNeglect()
    item = task.checked_items[3]
    asked = task.request(item)
    assert asked.context.count("Choose Y or N") == 11
    won = " won and got " in item.prompt
    assert item.gold == ((1,) if won else (0,))
    for shown in asked.context.split("\n\n")[:10]:
        assert (" won and got " in shown) == shown.endswith("Y")


def test_inverse_tasks_are_balanced_enough_and_fixed():
    golds = [item.gold[0] for item in inverse.HindsightNeglect().checked_items]
    assert 60 < sum(golds) < 140
    assert inverse.Redefined().hash == inverse.Redefined().hash
    for item in inverse.Redefined().checked_items:
        assert item.choices[0] != item.choices[1]


@pytest.fixture
def exam(tmp_path):
    rows = [
        {"passage": "Text.", "question": "Which?", "options": ["(A)one", "(B)two", "(C)three"], "label": "C"},
        {"passage": "Text.", "question": "And?", "options": ["(A)one", "(B)two"], "label": ["A", "B"]},
        {"passage": None, "question": "Open?", "options": None, "label": None},
    ]
    put(tmp_path / "agieval/sat-math.jsonl", rows)
    return tmp_path


def test_an_exam_in_three_ways(exam):
    kinds = exams.classes()
    letter = kinds["sat-math"](exam)
    one, two = letter.checked_items
    assert one.prompt == "Text.\nWhich?\nA. one\nB. two\nC. three\nAnswer:" and two.gold == (0, 1)
    assert one.cluster == two.cluster and choose(letter, one, 2) == 1
    explained = kinds["sat-math-explained"](exam)
    first = explained.checked_items[0]
    assert isinstance(explained.request(first), Generate) and explained.request(first).temperature == 0.3
    assert say(explained, first, "A is wrong, so the answer is C.") == 1 and say(explained, first, "no idea") == 0
    second = kinds["sat-math-second-call"](exam)
    again = second.follow_up(first, TextReply(("Because.",)))
    assert again.context.endswith("Explanation:Because.\nAnswer:") and again.choices == (" A", " B", " C")
    assert second.grade(first, ChoiceReply((-3.0, -2.0, -1.0), (1,) * 3, (False,) * 3))[0].value == 1


def test_the_second_call_is_made_and_its_reply_counts(exam, tmp_path, oracle):
    from gnomon.evals.examine import examine

    model = oracle()
    got = examine(exams.classes()["sat-math-second-call"](exam), model, tmp_path / "home")
    assert len(model.asked) == 4 and len(got[0].choice_log_probabilities) == 3


@pytest.mark.parametrize(
    ("text", "letter"),
    [("The answer is (B).", "B"), ("answer: c", "C"), ("(A) or (D)?", "D"), ("I take B", "B"), ("nothing", "")],
)
def test_letters_in_explanations(text, letter):
    assert exams.letter_in(text) == letter


def test_programs_in_replies():
    prompt = "import math\n\ndef area(r):\n    "
    assert coding.program_of(prompt, "return 1", "area") == prompt + "return 1"
    fenced = "Sure:\n```python\ndef area(r):\n    return 2\n```\nDone."
    assert coding.program_of(prompt, fenced, "area") == "import math\n\n\ndef area(r):\n    return 2\n"


def test_code_tasks_pass_references_and_nothing_forged(tmp_path):
    test = "def check(candidate):\n    assert candidate(2) == 4\n"
    row = {
        "task_id": "H/0", "prompt": "def double(x):\n", "entry_point": "double",
        "canonical_solution": "    return 2 * x\n", "test": test,
    }  # fmt: skip
    put(tmp_path / "humaneval/HumanEval.jsonl.gz", [row])
    tests = ["assert same((1,), (1, 2)) == (1,)"]
    code = "def helper(a):\n    return set(a)\ndef same(a, b):\n    return tuple(helper(a) & set(b))\n"
    put(tmp_path / "mbpp/mbpp_sanitized.jsonl", [{"task_id": 2, "text": "Share.", "code": code, "test_list": tests}])
    for kind in (coding.HumanEval, coding.Mbpp):
        task = kind(tmp_path)
        (item,) = task.checked_items
        with task.sandbox:
            assert say(task, item, item.answer) == 1
            assert say(task, item, "    return None\n") == 0
            assert say(task, item, "    import os; os._exit(0)\n") == 0
    assert item.data["names"] == ["same"]


def test_graded_problems_cluster_by_their_chain():
    task = coding.Graded()
    items = task.checked_items
    assert len({i.cluster for i in items}) == len(items) >= 240
    reference = coding.GradedReference()
    assert reference.request(reference.checked_items[0]).choices[0].startswith("    return ")


def test_names_suites_and_files(tmp_path):
    every = tasks()
    assert all(name in every for members in SUITES.values() for name in members)
    own = tmp_path / "own.py"
    own.write_text(
        "from gnomon.evals.task import ChoiceTask, Item\n\n\nclass Sky(ChoiceTask):\n    name = 'sky'\n\n"
        "    def items(self):\n        yield Item('1', 'The sky is', (' blue', ' green'), (0,))\n"
    )
    (kind,) = named([f"{own}:Sky"])
    assert kind().checked_items[0].choices == (" blue", " green") and len(kind().hash) == 64
    assert [k.name for k in named(["smoke", "graded-seen"])].count("graded-seen") == 1
    with pytest.raises(GnomonError, match="did you mean mmlu"):
        named(["mmlv"])
    own.write_text("raise ValueError('broken')")
    with pytest.raises(GnomonError, match="ValueError: broken"):
        named([f"{own}:Sky"])
