"""Graded tasks: solutions are right, wrong ones fail, and tests share nothing with training."""

from __future__ import annotations

import itertools
import random

import pytest

from gnomon.common.errors import GnomonError
from gnomon.corpus.tasks import pieces
from gnomon.corpus.tasks.compose import Chain, chains
from gnomon.corpus.tasks.problems import examination, make, manifest, text, training_problems


@pytest.fixture(scope="module")
def training():
    return list(itertools.islice(training_problems(seed=0), 1500))


@pytest.fixture(scope="module")
def tested():
    return {split: examination(split) for split in ("seen", "unseen")}


def passes(problem, body):
    space = {}
    try:
        exec(f"{problem.prompt}{body}\n{problem.tests}", space)
    except Exception:
        return False
    return True


def test_every_reference_solution_passes_its_own_tests(training, tested):
    for problem in [*training[:300], *tested["seen"], *tested["unseen"]]:
        assert passes(problem, problem.solution), text(problem)


def test_prompts_and_answers_are_short(tested):
    for problem in tested["seen"] + tested["unseen"]:
        assert len(problem.prompt) < 200 and len(problem.tests) < 900, text(problem)


def test_training_and_tests_share_nothing(training):
    found = manifest(training)
    assert found["shared_prompts"] == found["shared_bodies"] == found["unseen_chains_in_training"] == 0
    assert found["unseen_chains"] >= 240
    assert found["training_chains"] > 500


def test_pieces_of_held_out_chains_are_all_trained():
    trained = {piece for chain in chains() if not chain.held_out for piece in chain.pieces}
    assert all(piece in trained for chain in chains() for piece in chain.pieces)


def test_no_two_chains_do_the_same_and_none_does_nothing():
    rng = random.Random(5)
    chosen = rng.sample([c for c in chains() if c.takes == "ints"], 60)
    inputs = [pieces.draw_input("ints", rng) for _ in range(30)]
    from gnomon.corpus.tasks.compose import evaluate

    does = {}
    for chain in chosen:
        expression = chain.expression("v", (2, 5, 7)[: len(chain.pieces)], ("a", "c", "d")[: len(chain.pieces)])
        answers = [evaluate(expression, "v", value) for value in inputs]
        assert answers != inputs, chain.name
        assert len({repr(a) for a in answers}) > 1, chain.name
        does[chain.name] = repr(answers)
    assert len(set(does.values())) >= len(does) - 1  # constants may make two meet


def test_a_body_of_another_chain_rarely_passes(tested):
    problems = random.Random(1).sample(tested["unseen"], 60)
    right = sum(
        passes(problem, other.solution.replace(_argument(other), _argument(problem)))
        for problem in problems
        for other in problems
        if other is not problem
    )
    assert right / (60 * 59) < 0.01


def _argument(problem):
    return problem.prompt.split("(")[1].split(")")[0]


def test_constant_answers_do_not_pass(tested):
    for problem in tested["unseen"]:
        wanted = problem.tests.splitlines()[0].split(" == ")[1]
        assert not passes(problem, f"    return {wanted}"), text(problem)


def test_numbers_letters_and_wordings_of_tests_are_not_trained(training):
    trained = "".join(text(p).split('"""')[1] for p in training)
    assert "Work out" not in trained and "turned round" not in trained


def test_the_same_seed_gives_the_same_text(training):
    again = list(itertools.islice(training_problems(seed=0), 50))
    other = list(itertools.islice(training_problems(seed=1), 50))
    assert again == training[:50] and other != again


def test_brackets_keep_the_meaning():
    by_name = {piece.name: piece for piece in pieces.pieces()}
    chain = Chain((by_name["add"], by_name["times"]))
    assert chain.expression("n", (2, 3), ("a", "a")) == "(n + 2) * 3"
    chain = Chain((by_name["suffix"], by_name["length"]))
    assert chain.expression("s", (2, 3), ("a", "a")) == "len(s + 'a')"


def test_bad_input():
    with pytest.raises(GnomonError):
        examination("seen", 0)
    assert make(chains()[0], 0, tested=False) == make(chains()[0], 0, tested=False)
