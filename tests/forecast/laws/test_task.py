"""Laws of a task's score: slopes agree with differences, scores lie between chance and one."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast.laws.task import TaskLaw, ThroughLoss, task_laws

LOGS = np.linspace(-5, 2, 9)
INPUTS = {"n": LOGS, "d": LOGS[::-1] / 2, "c": 1.5 * LOGS, "l": np.linspace(4, 2, 9)}


@pytest.mark.parametrize("law", task_laws(), ids=lambda law: law.name)
def test_slopes_are_the_derivatives_of_the_score(law: TaskLaw) -> None:
    theta = np.array(law.begin)
    slopes = law.score(theta, INPUTS, 0.25)[1]
    for p in range(theta.shape[1]):
        move = np.zeros_like(theta)
        move[:, p] = 1e-6
        difference = (law.score(theta + move, INPUTS, 0.25)[0] - law.score(theta - move, INPUTS, 0.25)[0]) / 2e-6
        np.testing.assert_allclose(slopes[..., p], difference, atol=1e-6)


@pytest.mark.parametrize("law", task_laws(), ids=lambda law: law.name)
def test_scores_rise_from_chance_towards_one(law: TaskLaw) -> None:
    far = {"n": np.array([-40.0, 0, 40]), "d": np.array([-40.0, 0, 40]), "c": np.array([-80.0, 0, 80])}
    score = law.score(np.array(law.begin), far | {"l": np.array([50.0, 2.0, 1e-9])}, 0.25)[0]
    assert (np.diff(score, axis=1) >= 0).all()
    np.testing.assert_allclose(score[:, 0], 0.25, atol=1e-3)
    assert (score <= 1).all()


def test_no_loss_is_a_full_score() -> None:
    law = ThroughLoss()
    np.testing.assert_allclose(law.score(np.array(law.begin), {"l": np.array([1e-12])}, 0.25)[0], 1, atol=1e-6)
