"""Pass rates and their logarithms from few samples, without bias.

Forecasts of capabilities need -log(pass rate) (arXiv:2303.08774 §3.2). Its plug-in -log(c/n) does not exist at c = 0,
and to drop those problems is to keep the lucky ones. If N is the draw of the first success, E[H_(N-1)] = -log p, where
H_k = 1 + 1/2 + ... + 1/k; both estimators here are that identity averaged over the orders in which the same draws could
have come. pass@k is the estimator of arXiv:2107.03374.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gnomon.common.errors import GnomonError

EULER = 0.5772156649015329
EXACT_UP_TO = 64  # beyond it the asymptotic series has no error that a double can show


def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + ... + 1/n; 0 for n = 0. Raises GnomonError for n < 0."""
    if n < 0:
        raise GnomonError(f"harmonic number {n}; n is 0 or more")
    if n <= EXACT_UP_TO:
        return math.fsum(1 / k for k in range(1, n + 1))
    return math.log(n) + EULER + 1 / (2 * n) - 1 / (12 * n**2) + 1 / (120 * n**4)


@dataclass(frozen=True)
class Draws:
    """How sampling of one problem ended. n: draws made, c: passed. stopped: at its r-th success (draw n is one).

    Otherwise it ended at the largest number of draws, whatever they brought.
    """

    n: int
    c: int
    stopped: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.c <= self.n or self.n < 1:
            raise GnomonError(f"{self.c} passes in {self.n} draws; at least one draw, and no more passes than draws")
        if self.stopped and not self.c:
            raise GnomonError("sampling that stopped at a success has at least one")


def minus_log_rate(draws: Draws) -> float:
    """-log(pass rate), in nats.

    Stopped at the r-th success in draw N: H_(N-1) - H_(r-1), exactly unbiased. Stopped at n: H_n - H_c, short by
    tail(n, p), which is under 0.01 nats where n p >= 4.
    """
    if draws.stopped:
        return harmonic(draws.n - 1) - harmonic(draws.c - 1)
    return harmonic(draws.n) - harmonic(draws.c)


def tail(n: int, p: float) -> float:
    """What H_n - H_c falls short of -log p on average: the sum over j > n of (1-p)^j / j, in nats.

    Raises GnomonError unless 0 < p <= 1.
    """
    if not 0 < p <= 1:
        raise GnomonError(f"pass rate {p}; above 0 and at most 1")
    q, total, j = 1 - p, 0.0, n + 1
    term = math.exp(j * math.log(q)) if q > 0 else 0.0
    while term / j > 1e-12 * (1 + total):
        total += term / j
        term *= q
        j += 1
    return total


def squared_error(draws: Draws) -> float:
    """Estimated variance of minus_log_rate, by the delta method: (1 - p) / (n p), p estimated away from 0 and 1."""
    p = (draws.c + 0.5) / (draws.n + 1)
    return (1 - p) / (draws.n * p)


def rate(draws: Draws) -> float:
    """The pass rate without bias: (r-1)/(N-1) when stopped at the r-th success (Haldane 1945), else c/n.

    Stopped at its first draw with r = 1 nothing but 1 can be said.
    """
    if draws.stopped:
        return (draws.c - 1) / (draws.n - 1) if draws.n > 1 else 1.0
    return draws.c / draws.n


def pass_at(k: int, n: int, c: int) -> float:
    """Probability that k of n samples, drawn without replacement, hold a pass: 1 - C(n-c, k) / C(n, k).

    Raises GnomonError when n < k: it would be a guess.
    """
    if not 1 <= k <= n or not 0 <= c <= n:
        raise GnomonError(f"pass@{k} from {n} samples of which {c} passed; at least {k} samples are needed")
    missed = 1.0
    for i in range(n - c + 1, n + 1):
        missed *= max(0.0, 1 - k / i)
    return 1 - missed


@dataclass(frozen=True)
class Budget:
    """Draws for one problem: batches until `successes` passes or `most` draws. Easy problems end early."""

    successes: int = 4
    most: int = 64
    batch: int = 4

    def __post_init__(self) -> None:
        if min(self.successes, self.most, self.batch) < 1:
            raise GnomonError(f"budget {self}: successes, most and batch are each at least 1")

    def ended(self, verdicts: list[bool]) -> Draws | None:
        """How sampling ended, read in the order of the draws; None while it goes on.

        A batch may run past the stopping draw; what follows it is not counted, or the estimate would lean to luck.
        """
        passed = 0
        for n, verdict in enumerate(verdicts[: self.most], 1):
            passed += verdict
            if passed == self.successes:
                return Draws(n, passed, stopped=True)
        return Draws(self.most, passed) if len(verdicts) >= self.most else None

    def run(self, draw: Callable[[int, int], list[bool]]) -> Draws:
        """Draw until the end: draw(first, count) returns the verdicts of draws first to first + count - 1."""
        verdicts: list[bool] = []
        while (ended := self.ended(verdicts)) is None:
            verdicts += draw(len(verdicts), min(self.batch, self.most - len(verdicts)))
        return ended
