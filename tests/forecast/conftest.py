"""Synthetic ladders from laws that are known, so that what the forecast should say is known too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from gnomon.forecast import RunTable, Target

METRIC = "bits_per_byte_codebase"
BUDGETS = (1e11, 3e11, 1e12, 3e12, 1e13)
LossOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


def chinchilla_like(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Loss in bits per byte of tiny models: floor 0.6, about 2.3 at 1e11 FLOPs."""
    return 0.6 + 1.2 * (2.2e3 / size) ** 0.28 + 1.5 * (4e5 / tokens) ** 0.3


def tied(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return 0.9 + 1.4 * (1e3 / size) ** 0.4 + 1.1 * (5e5 / tokens) ** 0.4


def coupled(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """A law that is none of ours: the two terms are raised together (arXiv:2001.08361 eq. 1.5), with a floor."""
    return 0.5 + 2.1 * ((2e4 / size) ** 0.5 + (1.5e6 / tokens) ** 0.5) ** 0.45


LAWS: dict[str, LossOf] = {"chinchilla_like": chinchilla_like, "tied": tied, "coupled": coupled}


def best(law: LossOf, compute: float) -> tuple[float, float]:
    """Size and loss of the compute-optimal run."""
    sizes = np.geomspace(1e2, 1e9, 20_000)
    losses = law(sizes, compute / 6 / sizes)
    return float(sizes[losses.argmin()]), float(losses.min())


@dataclass
class Ladder:
    law: LossOf = chinchilla_like
    budgets: tuple[float, ...] = BUDGETS
    sizes: int = 5
    width: float = 3.2  # largest and smallest size as a factor of the best
    noise: float = 0.002  # of log loss over seeds
    seed: int = 0
    repeated: tuple[int, ...] = (1, 3)  # budgets whose best size is run with three seeds

    def rows(self) -> list[dict[str, object]]:
        rng = np.random.default_rng(self.seed)
        rows: list[dict[str, object]] = []
        for b, compute in enumerate(self.budgets):
            centre = best(self.law, compute)[0] * np.exp(0.15 * rng.standard_normal())
            for k, factor in enumerate(np.geomspace(1 / self.width, self.width, self.sizes)):
                size = round(centre * factor)
                tokens = round(compute / 6 / size * np.exp(0.003 * rng.standard_normal()))
                seeds = 3 if b in self.repeated and k == self.sizes // 2 else 1
                for s in range(seeds):
                    value = self.law(np.array(size), np.array(tokens)) * np.exp(self.noise * rng.standard_normal())
                    rows.append(
                        {
                            "run_id": f"b{b}k{k}s{s}",
                            "parameters_matmul": size,
                            "tokens": tokens,
                            "flops": 6.0 * size * tokens,
                            "budget": compute,
                            "seed": s,
                            "steps": 400,
                            "annealed": True,
                            "corpus": "c0ffee",
                            "status": "done",
                            METRIC: float(value),
                        }
                    )
        return rows

    def table(self) -> RunTable:
        return RunTable.from_rows(self.rows())

    def target(self, compute: float, off: float = 1.0) -> tuple[Target, float]:
        """The run at this compute whose size is `off` times the best one, and its loss without noise."""
        size = best(self.law, compute)[0] * off
        tokens = compute / 6 / size
        return Target(compute, size, tokens), float(self.law(np.array(size), np.array(tokens)))


@pytest.fixture
def make_ladder() -> type[Ladder]:
    return Ladder


@pytest.fixture
def laws() -> dict[str, LossOf]:
    return LAWS


@pytest.fixture
def metric() -> str:
    return METRIC
