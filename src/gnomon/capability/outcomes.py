"""How each run did on each problem: draws in two halves, one to sort problems by difficulty, one to fit laws to.

R runs, P problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.evals.pass_rates import Draws, minus_log_rate


@dataclass(frozen=True)
class Outcome:
    """One run on one problem. compute: FLOPs of the run. cluster: the problem's chain or template.

    sorting, fitting: draws of either half. reference_bits: bits per byte of the reference solution; nan if not scored.
    """

    run: str
    compute: float
    problem: str
    cluster: str
    sorting: Draws
    fitting: Draws
    reference_bits: float = float("nan")


@dataclass(frozen=True)
class Table:
    """Runs by problems. compute [R], ascending; passes, draws, minus_log [R, P] of the fitting half; difficulty [R, P]
    of the sorting half (both -log pass rate in nats); bits [R, P]."""

    runs: tuple[str, ...]
    compute: NDArray[np.float64]
    problems: tuple[str, ...]
    clusters: tuple[str, ...]
    passes: NDArray[np.float64] = field(repr=False)
    draws: NDArray[np.float64] = field(repr=False)
    minus_log: NDArray[np.float64] = field(repr=False)
    difficulty: NDArray[np.float64] = field(repr=False)
    solved: NDArray[np.bool_] = field(repr=False)  # [R, P] whether any draw of the sorting half passed
    bits: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Table:
        """Raises GnomonError when a run misses a problem that another one has, or has it twice."""
        rows = list(outcomes)
        runs = sorted({(o.compute, o.run) for o in rows})
        problems = sorted({(o.problem, o.cluster) for o in rows})
        found = {(o.run, o.problem): o for o in rows}
        if len(found) != len(rows) or len(rows) != len(runs) * len(problems):
            raise GnomonError(
                f"capability: {len(rows)} outcomes of {len(runs)} runs on {len(problems)} problems; "
                "every run needs each problem once"
            )
        grid = [[found[run, problem] for problem, _ in problems] for _, run in runs]

        def matrix(value: object) -> NDArray[np.float64]:
            return np.array([[value(o) for o in row] for row in grid], dtype=np.float64)  # type: ignore[operator]

        return cls(
            tuple(run for _, run in runs), np.array([c for c, _ in runs]),
            tuple(p for p, _ in problems), tuple(c for _, c in problems),
            matrix(lambda o: o.fitting.c), matrix(lambda o: o.fitting.n), matrix(lambda o: minus_log_rate(o.fitting)),
            matrix(lambda o: minus_log_rate(o.sorting)), matrix(lambda o: o.sorting.c) > 0,
            matrix(lambda o: o.reference_bits),
        )  # fmt: skip

    def up_to(self, compute: float) -> Table:
        """The runs of at most this compute."""
        return self.only(self.compute <= compute)

    def only(self, runs: NDArray[np.bool_]) -> Table:
        """Some of the runs."""
        return Table(
            tuple(r for r, keep in zip(self.runs, runs, strict=True) if keep), self.compute[runs], self.problems,
            self.clusters, self.passes[runs], self.draws[runs], self.minus_log[runs], self.difficulty[runs],
            self.solved[runs], self.bits[runs],
        )  # fmt: skip

    def of_problems(self, wanted: Sequence[str]) -> Table:
        """Some of the problems. Raises GnomonError for one that is not there."""
        place = {problem: i for i, problem in enumerate(self.problems)}
        missing = [problem for problem in wanted if problem not in place]
        if missing:
            raise GnomonError(f"capability: no outcomes for problem {missing[0]} of a frozen bucket")
        at = np.array([place[problem] for problem in wanted], dtype=np.int64)
        return Table(
            self.runs, self.compute, tuple(wanted), tuple(self.clusters[i] for i in at), self.passes[:, at],
            self.draws[:, at], self.minus_log[:, at], self.difficulty[:, at], self.solved[:, at], self.bits[:, at],
        )  # fmt: skip
