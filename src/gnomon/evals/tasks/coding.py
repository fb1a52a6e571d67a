"""Tasks whose answers run: HumanEval, MBPP and gnomon's own graded problems. A verdict comes from the sandbox alone.

HumanEval (arXiv:2107.03374): go on with a function. MBPP (arXiv:2108.07732): a description and its asserts. Graded:
gnomon.corpus.tasks; the reference solution's log-probability is a task of its own, which needs no sampling.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from gnomon.corpus.tasks.problems import Split, examination
from gnomon.evals.sandbox.runner import Job, Sandbox, Verdict
from gnomon.evals.task import ChoiceReply, ChoiceTask, Generate, Grade, Item, TextReply, TextTask, read_jsonl
from gnomon.evals.tasks.choosing import need

FENCE = re.compile(r"```(?:python|py)?\n(.*?)(?:```|\Z)", re.DOTALL)
STANDARD_IMPORTS = "import collections, functools, heapq, itertools, math, re, string, sys\nfrom typing import *\n"


class CodeTask(TextTask):
    """Programs judged by tests. job() makes of an item and a text what the sandbox runs.

    sandbox: opened at the first verdict; give one to share it.
    """

    headline = "pass rate"
    sampling = Generate("", max_tokens=256, stop=("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n```", "\n@"))

    def __init__(self, folder: Path = Path(), shots: int = 0, sandbox: Sandbox | None = None) -> None:
        super().__init__(folder, shots)
        self._sandbox = sandbox

    @property
    def sandbox(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = Sandbox()
        return self._sandbox

    def job(self, item: Item, text: str) -> Job:
        raise NotImplementedError

    def reference(self, item: Item) -> str:
        """The text of a right answer."""
        return item.answer

    def verdicts(self, item: Item, texts: Iterable[str]) -> list[Verdict]:
        """One a text, within limits that its reference solution sets on this machine."""
        limits = self.sandbox.limits_for(self.job(item, self.reference(item)))
        return self.sandbox.run_all([replace(self.job(item, text), limits=limits) for text in texts])

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        assert isinstance(reply, TextReply)
        found = self.verdicts(item, reply.texts)
        return [
            Grade(float(v.passed), "", v.result if not v.message else f"{v.result}: {v.message[:80]}") for v in found
        ]


def program_of(prompt: str, text: str, name: str) -> str:
    """The program in a reply: a fenced block that defines the function, or the prompt gone on with."""
    fenced = FENCE.search(text)
    body = fenced.group(1) if fenced else text
    if re.search(rf"^\s*def {re.escape(name)}\b", body, re.MULTILINE):
        before = prompt.split(f"def {name}")[0]  # its imports and helpers
        return f"{before}\n{body}"
    return prompt + body


class HumanEval(CodeTask):
    name = "humaneval"

    def items(self) -> Iterator[Item]:
        path = self.folder / "humaneval/HumanEval.jsonl.gz"
        keys = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
        for at, row in read_jsonl(path):
            task, prompt, entry, solution, test = need(row, f"{path}, line {at}", *keys)
            yield Item(task, prompt, answer=solution, data={"entry": entry, "test": test})

    def job(self, item: Item, text: str) -> Job:
        entry, test = str(item.data["entry"]), str(item.data["test"])
        program = program_of(item.prompt, text, entry)
        return Job(program, f"{test}\ncheck({entry})\n", (entry,), setup=item.prompt + "    pass\n")


class Mbpp(CodeTask):
    """The sanitised problems: {task_id, text, code, test_list}; the prompt names the function by its first assert."""

    name = "mbpp"
    sampling = Generate("", max_tokens=256, stop=("\n\n\n", "\nassert", "\n```\n", '\n"""'))

    def items(self) -> Iterator[Item]:
        path = self.folder / "mbpp/mbpp_sanitized.jsonl"
        for at, row in read_jsonl(path):
            task, text, code, tests = need(row, f"{path}, line {at}", "task_id", "text", "code", "test_list")
            prompt = f'"""\n{text}\n{tests[0]}\n"""\n'
            names = called(code, tests)
            yield Item(str(task), prompt, answer=code, data={"tests": "\n".join(tests), "names": names})

    def job(self, item: Item, text: str) -> Job:
        fenced = FENCE.search(text)
        program = STANDARD_IMPORTS + (fenced.group(1) if fenced else text)
        return Job(program, STANDARD_IMPORTS + str(item.data["tests"]), tuple(item.data["names"]))


def called(code: str, tests: Iterable[str]) -> list[str]:
    """Functions of the code that the tests call."""
    try:
        defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
        used = {n.id for n in ast.walk(ast.parse("\n".join(tests))) if isinstance(n, ast.Name)}
    except SyntaxError:
        return []
    return sorted(defined & used)


class Graded(CodeTask):
    """Chains of small steps. unseen: never put together in training; only that is called capability."""

    name = "graded-unseen"
    split: ClassVar[Split] = "unseen"
    sampling = Generate("", max_tokens=48, stop=("\n\n", "\ndef "), temperature=0.6, samples=4)

    def items(self) -> Iterator[Item]:
        for problem in examination(self.split):
            data = {"name": problem.name, "tests": problem.tests, "steps": problem.steps}
            yield Item(problem.id, problem.prompt, answer=problem.solution, cluster=problem.chain, data=data)

    def job(self, item: Item, text: str) -> Job:
        name = str(item.data["name"])
        return Job(item.prompt + text, str(item.data["tests"]), (name,))


class GradedSeen(Graded):
    name, split = "graded-seen", "seen"


class GradedReference(ChoiceTask):
    """How likely the reference solution is: bits per byte of its body, at any size of model, without sampling."""

    name, headline = "graded-reference", "reference is greedy"
    split: ClassVar[Split] = "unseen"

    def items(self) -> Iterator[Item]:
        for problem in examination(self.split):
            yield Item(problem.id, problem.prompt, (problem.solution + "\n",), (0,), cluster=problem.chain)

    def grade(self, item: Item, reply: ChoiceReply | TextReply) -> list[Grade]:
        assert isinstance(reply, ChoiceReply)
        return [Grade(float(reply.greedy[0]), "", "greedy" if reply.greedy[0] else "not greedy")]


class HumanEvalReference(ChoiceTask):
    """Bits per byte of HumanEval's reference solutions: what moves while the pass rate is still nothing."""

    name, headline = "humaneval-reference", "reference is greedy"

    def items(self) -> Iterator[Item]:
        for item in HumanEval(self.folder).items():
            yield Item(item.id, item.prompt, (item.answer.rstrip() + "\n",), (0,))

    grade = GradedReference.grade
