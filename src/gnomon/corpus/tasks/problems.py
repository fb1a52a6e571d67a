"""Problems from chains: a function with a docstring to go on from, the body that solves it, and hidden tests.

Training uses trained words, numbers, letters and argument names; tests use the others, and functions whose names mean
nothing. So the prompts and bodies of the two sides share nothing (manifest() counts), and a test asks either for a
known chain in new clothes ("seen") or for one that was never put together ("unseen"): only the second is called
capability.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gnomon.common.errors import GnomonError
from gnomon.corpus.tasks import pieces
from gnomon.corpus.tasks.compose import Chain, chains, evaluate

Split = Literal["seen", "unseen"]
TESTS = 6
ATTEMPTS = 400  # at drawing inputs that tell a chain from others
LONGEST_ANSWER = 60  # characters
TRAINED_NAMES, TESTED_NAMES = "fgh", "uvw"  # with a number behind: names that mean nothing


@dataclass(frozen=True)
class Problem:
    """id: chain and seed. chain: what errors cluster by. steps: pieces in the chain. prompt: what the model reads.

    solution: the body as it follows the prompt, up to and without the blank line after it. tests: asserts on `name`.
    """

    id: str
    chain: str
    steps: int
    split: str
    name: str
    prompt: str
    solution: str
    tests: str


def _examples(expression: str, argument: str, kind: pieces.Kind, rng: random.Random) -> list[tuple[Any, Any]]:
    """Inputs with answers: as many different answers as there are (yes and no: at least two of each), no failures."""
    seen: list[tuple[Any, Any]] = []
    for _ in range(ATTEMPTS):
        value = pieces.draw_input(kind, rng)
        answer = evaluate(expression, argument, value)
        answers = [a for _, a in seen]
        limit = 3 if isinstance(answer, bool) else 2
        if answer is None or len(repr(answer)) > LONGEST_ANSWER or value in [v for v, _ in seen]:
            continue
        if answers.count(answer) >= limit:
            continue
        seen.append((value, answer))
        if len(seen) == TESTS:
            return seen
    return []


def make(chain: Chain, seed: int, tested: bool) -> Problem | None:
    """One problem of a chain; None when a seed's constants leave the chain nothing to tell apart (rare)."""
    rng = random.Random(f"{chain.name}/{seed}/{tested}")
    numbers = pieces.TESTED_NUMBERS if tested else pieces.TRAINED_NUMBERS
    letters = pieces.TESTED_LETTERS if tested else pieces.TRAINED_LETTERS
    arguments = (pieces.TESTED_ARGUMENTS if tested else pieces.TRAINED_ARGUMENTS)[chain.takes]
    count = len(chain.pieces)
    k, c = tuple(rng.choice(numbers) for _ in range(count)), tuple(rng.choice(letters) for _ in range(count))
    argument = rng.choice(arguments)
    wording = tuple(
        len(p.phrasings) - 1 if tested else rng.randrange(len(p.phrasings) - 1) for p in chain.pieces
    )  # the last phrasing is never trained
    name = rng.choice(TESTED_NAMES if tested else TRAINED_NAMES) + str(rng.randint(1, 99))
    lead = rng.choice(pieces.TESTED_LEADS if tested else pieces.TRAINED_LEADS)
    expression = chain.expression(argument, k, c)
    examples = _examples(expression, argument, chain.takes, rng)
    if not examples:
        return None
    prompt = f'def {name}({argument}):\n    """{lead} {chain.phrase(argument, k, c, wording)}."""\n'
    tests = "\n".join(f"assert {name}({value!r}) == {wanted!r}" for value, wanted in examples)
    split = "unseen" if chain.held_out else "seen"
    return Problem(f"{chain.name}/{seed}", chain.name, count, split, name, prompt, f"    return {expression}", tests)


def training_problems(seed: int = 0) -> Iterator[Problem]:
    """Problems without end, chains in turn, none held out; the same for the same seed."""
    trained = [chain for chain in chains() if not chain.held_out]
    rng = random.Random(seed)
    at = 0
    while True:
        rng.shuffle(trained)
        for chain in trained:
            problem = make(chain, at * 1_000_003 + seed, tested=False)
            at += 1
            if problem is not None:
                yield problem


def examination(split: Split, each: int = 1) -> list[Problem]:
    """`each` problems of every chain of a split, in a fixed order. Raises GnomonError for each < 1."""
    if each < 1:
        raise GnomonError(f"examination: {each} of each chain; at least 1")
    chosen = [chain for chain in chains() if chain.held_out == (split == "unseen")]
    made = (make(chain, seed, tested=True) for chain in chosen for seed in range(each))
    return [problem for problem in made if problem is not None]


def text(problem: Problem) -> str:
    """A problem as it stands in training text."""
    return f"{problem.prompt}{problem.solution}\n"


def manifest(training: list[Problem], each: int = 1) -> dict[str, int]:
    """What training and test share: numbers of chains, prompts and bodies, and the sizes of both sides."""
    tests = [*examination("seen", each), *examination("unseen", each)]
    unseen = {p.chain for p in tests if p.split == "unseen"}
    return {
        "training_problems": len(training),
        "training_chains": len({p.chain for p in training}),
        "test_problems_seen": sum(p.split == "seen" for p in tests),
        "test_problems_unseen": sum(p.split == "unseen" for p in tests),
        "unseen_chains": len(unseen),
        "unseen_chains_in_training": len(unseen & {p.chain for p in training}),
        "shared_prompts": len({p.prompt for p in training} & {p.prompt for p in tests}),
        "shared_bodies": len({p.solution for p in training} & {p.solution for p in tests}),
    }
