"""Synthetic families of a known law, as the scorecard's protocols take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gnomon.forecast.scorecard.families import Collection, Family


def surface(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return 1.7 + 400 * n**-0.34 + 400 * d**-0.28


def make_family(
    name: str = "a", source: str = "lab", budgets: int = 7, step: float = 4.0, noise: float = 0.0
) -> Family:
    """An isoFLOP sweep about the best size of a Chinchilla law, seven sizes a budget."""
    rng = np.random.default_rng(len(name) + budgets)
    compute = np.repeat(1e17 * step ** np.arange(budgets), 7)
    best = 0.12 * compute**0.48
    n = best * np.tile(1.5 ** np.arange(-3, 4), budgets)
    d = compute / 6 / n
    count = len(n)
    return Family(
        name=name,
        source=source,
        file="x.csv",
        metric="loss",
        params_N=n,
        tokens_D=d,
        flops_C=6 * n * d,
        loss=surface(n, d) * np.exp(noise * rng.standard_normal(count)),
        run_ids=np.array([str(i) for i in range(count)]),
        is_final=np.ones(count, dtype=bool),
        unique_tokens=np.full(count, np.nan),
        budget=compute,
        clean=True,
        uses=frozenset({"rolling_origin", "isoflop"}),
    )


@pytest.fixture
def family() -> Callable[..., Family]:
    return make_family


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Four sources of one family each."""
    families = tuple(make_family(f"f{i}", f"lab{i}", noise=0.002 * i) for i in range(1, 5))
    return Collection(tmp_path, families, (), (), {}, {})
