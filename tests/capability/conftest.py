"""Runs whose pass rates follow known onsets, so that a forecast can be held against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnomon.capability import Outcome, Table
from gnomon.evals.pass_rates import Budget

LADDER = (5e10, 1e11, 1e11, 2e11, 2e11, 4e11, 8e11)


class World:
    """Problems with an onset each; rate(i, C) is the truth."""

    def __init__(self, seed=0, problems=120, centre=4e11, spread=2.0, slope=0.8, ceiling=0.97):
        self.rng = np.random.default_rng(seed)
        self.onsets = self.rng.normal(math.log(centre), spread, problems)
        self.slope, self.ceiling = slope, ceiling

    def rates(self, compute, luck=0.0):
        return self.ceiling / (1 + np.exp(-self.slope * (math.log(compute) - self.onsets + luck)))

    def run(self, name, compute, most=24, luck=0.15):
        budget, shift = Budget(4, most, 4), self.rng.normal(0, luck)
        for i, p in enumerate(self.rates(compute, shift)):
            halves = [budget.run(lambda _, k, p=p: (self.rng.random(k) < p).tolist()) for _ in range(2)]
            yield Outcome(name, compute, f"p{i}", f"c{i // 2}", *halves)

    def table(self, computes=LADDER, **more):
        return Table.of([o for j, c in enumerate(computes) for o in self.run(f"r{j}", c, **more)])


@pytest.fixture
def world():
    return World
