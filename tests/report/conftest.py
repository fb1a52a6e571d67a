"""A realistic report without a training run: a power law, isoFLOP parabolas and their noise, from a fixed counter."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from gnomon.figures import Interval, IsoflopBudget, LearningCurve
from gnomon.report import (
    Answer,
    Command,
    Cost,
    Finding,
    ForecastView,
    RegistryView,
    ReportData,
    Rung,
    Sample,
    TargetView,
    Yardstick,
)

BUDGETS = (4e10, 1e11, 2.5e11, 6.5e11)
TARGET = 2.2e13
WIDTHS = (16, 24, 32, 48, 64)


def law(compute: float) -> float:
    """Bits per byte at the best size of this compute (synthetic)."""
    return 1.12 + 2.35 * (compute / 1e10) ** -0.13


def interval(compute: float) -> Interval:
    median = law(compute)
    spread = median * (0.006 + 0.0035 * max(0.0, math.log10(compute / 6.5e11)))
    return Interval(median, median - 0.67 * spread, median + 0.67 * spread, median - 2 * spread, median + 2 * spread)


def best_size(compute: float) -> float:
    return 21_000 * (compute / 1e11) ** 0.5


def make_rungs() -> tuple[Rung, ...]:
    noise = random.Random(7)
    rungs = []
    for budget in BUDGETS:
        sizes = [w * w * 26 + w * 700 for w in WIDTHS]
        near = min(sizes, key=lambda n: abs(math.log(n / best_size(budget))))
        for width, size in zip(WIDTHS, sizes, strict=True):
            seeds = (0, 1, 2) if size == near and budget in BUDGETS[-2:] else (0,)
            for seed in seeds:
                loss = law(budget) + 0.085 * math.log(size / best_size(budget)) ** 2 + noise.gauss(0, 0.008)
                rungs.append(
                    Rung(
                        run_id=f"{noise.getrandbits(64):016x}",
                        compute=budget * noise.uniform(0.995, 1.005),
                        parameters=size,
                        tokens=budget / (6 * size),
                        loss=loss,
                        stderr=0.011,
                        width=width,
                        depth=2,
                        seed=seed,
                        seconds=budget / 1.1e10,
                        budget=budget,
                        minimum=size == near and seed == 0,
                    )
                )
    rungs.append(dataclasses.replace(rungs[0], run_id="ffee00aa11bb22cc", loss=None, status="diverged", minimum=False))
    return tuple(rungs)


def make_isoflop() -> tuple[IsoflopBudget, ...]:
    made = []
    for budget in BUDGETS:
        points = tuple((r.parameters, r.loss) for r in make_rungs() if r.budget == budget and r.loss and not r.seed)
        low, high = min(n for n, _ in points), max(n for n, _ in points)
        sizes = [low * (high / low) ** (i / 40) for i in range(41)]
        curve = tuple((n, law(budget) + 0.085 * math.log(n / best_size(budget)) ** 2) for n in sizes)
        made.append(IsoflopBudget(budget, points, (best_size(budget), law(budget)), curve, budget != BUDGETS[0]))
    return tuple(made)


def make_learning(trained: bool) -> tuple[LearningCurve, ...]:
    curves = []
    for rung in make_rungs():
        if rung.minimum and rung.loss:
            steps = [rung.compute * (0.01 * 100 ** (i / 50)) for i in range(51)]
            end = rung.loss
            losses = tuple(end + 0.55 * ((rung.compute / c) ** 0.28 - 1) for c in steps)
            curves.append(LearningCurve(f"{rung.parameters / 1000:.0f} k", tuple(steps), losses))
    if trained:
        steps = [TARGET * (0.002 * 500 ** (i / 90)) for i in range(91)]
        losses = tuple(law(TARGET) + 0.012 + 0.42 * ((TARGET / c) ** 0.26 - 1) for c in steps)
        curves.append(LearningCurve("the target", tuple(steps), losses, target=True))
    return tuple(curves)


SMALL = """    return self.the__ = self.ared_(se
        if n = None:
        <script>alert("x")</script> & selfe"""
LARGE = """    '''Return the number of the name.'''
    if n is None:
        return n
    for name in n:
        n.append(name)"""
BIG = """    '''Return the n-th number.

    Parameters
    ----------
    n : int
    '''
    if n < 0:
        raise ValueError("n must be positive")
    return n * (n - 1)"""
EDGE = """        if u not in self._node:
            self._add_node(u)
        self._adj[u][v] = {}"""
CARD = {
    "sources": [
        {
            "name": "stdlib",
            "kind": "python",
            "version": "3.11.2",
            "licence": "PSF-2.0",
            "documents": 612,
            "bytes": 11.2e6,
        },
        {"name": "sympy", "kind": "python", "version": "1.14.0", "licence": "BSD-3-Clause", "documents": 1402},
        {
            "name": "scipy",
            "kind": "python",
            "version": "1.17.1",
            "licence": "BSD-3-Clause",
            "documents": 811,
            "bytes": 13e6,
        },
    ],
    "splits": {
        "train": {"documents": 2763, "bytes": 45_900_112, "tokens": 15_802_331},
        "documents": {"documents": 31, "bytes": 498_220, "tokens": 171_400},
        "codebase": {"documents": 289, "bytes": 2_610_877, "tokens": 899_013},
    },
    "drops": {"exact duplicate": 41, "near duplicate": 118, "too short": 212},
    "bytes_per_token": 2.9046,
    "vocabulary": 1024,
    "overlap": {"matches_of_13_words": 0},
}


def make_samples(trained: bool) -> tuple[Sample, ...]:
    small, large, target = "24 k parameters", "151 k parameters", "the target, 1.1 M"
    rows = (
        ("def fibonacci(n):\n", SMALL, LARGE, BIG),
        ("class Graph:\n    def add_edge(self, u, v):\n", "        self.ared = self.arn", "        return self", EDGE),
    )
    return tuple(
        Sample(
            prompt,
            (Answer(small, a, "smallest"), Answer(large, b, "largest"), Answer(target, c, "target"))[: 2 + trained],
        )
        for prompt, a, b, c in rows
    )


def make_forecasts(outcome: float | None) -> tuple[ForecastView, ...]:
    """Two texts, the second at 0.93 of the first. outcome: of the first."""
    last = min(r.loss for r in make_rungs() if r.loss)
    law_text = "L(C) = 2.35 (C / 1e10)^-0.13 + 1.12, weight 0.58; E + A/N^0.34 + B/D^0.29, weight 0.42"
    views = []
    for name, metric, scale in (
        ("networkx, a codebase never trained on", "codebase", 1.0),
        ("held-out documents of the training sources", "documents", 0.93),
    ):
        sealed = Interval(*(scale * v for v in dataclasses.astuple(interval(TARGET))))
        view = ForecastView(f"bits_per_byte_{metric}", name, sealed, last * scale, law_text)
        if outcome is not None:
            found = outcome * scale
            view = dataclasses.replace(
                view,
                outcome=found,
                outcome_stderr=0.004,
                error_pct=abs(sealed.median / found - 1) * 100,
                last_point_error_pct=abs(last * scale / found - 1) * 100,
                inside_90=sealed.holds(found),
                crps=0.008,
            )
        views.append(view)
    return tuple(views)


def make_registry(unregistered: bool) -> RegistryView:
    return RegistryView(
        entry_hash="" if unregistered else "4be1c0" + "d41f" * 14 + "9a",
        head="a93f" * 16,
        sealed_at="" if unregistered else "22 November 2026, 09:41:07 UTC",
        log_line="3 registered, 2 finished, 0 deviated, 0 abandoned",
        unregistered=unregistered,
        verified=None if unregistered else True,
    )


def make_report(state: str = "hit") -> ReportData:
    """state: 'sealed' (not yet trained), 'hit', 'miss', 'unregistered' or 'diverged'."""
    off = {"hit": 1.008, "miss": 1.061, "unregistered": 0.991}.get(state)
    trained = off is not None
    status = {"sealed": "waiting", "diverged": "diverged"}.get(state, "done")
    computes = [3e10 * (TARGET * 1.8 / 3e10) ** (i / 60) for i in range(61)]
    return ReportData(
        title="Python source on two cores",
        created="22 November 2026",
        target=TargetView(TARGET, 1.13e6, 3.2e6, "9c1e22d07b5a4f10", trained, status, 512.0 if trained else None),
        rungs=make_rungs(),
        forecasts=make_forecasts(off * law(TARGET) if off else None),
        law=tuple((c, interval(c)) for c in computes),
        isoflop=make_isoflop(),
        learning=make_learning(trained),
        shares={"seed": 0.22, "evaluation": 0.09, "minimum": 0.17, "form": 0.46, "outcome": 0.06},
        corpus=CARD,
        yardstick=Yardstick("networkx 3.6.1, Python source", 1.94 if state == "miss" else 2.36, 2_610_877),
        samples=make_samples(trained),
        machine=(("processor", "2 cores, AVX-512"), ("memory", "24 GiB"), ("matmul peak", "118 GFLOP/s a core")),
        costs=(
            Cost("ladder", "4 min 12 s", "26 runs, 7.9×10¹² FLOPs"),
            Cost("target", "8 min 32 s", "2.2×10¹³ FLOPs"),
            Cost("memory, most", "1.3 GB"),
        ),
        other_compute=6.1e11,
        registry=make_registry(state == "unregistered"),
        findings=(
            Finding("warning", "the smallest budget has no size below its minimum: it does not count", "unbracketed"),
            Finding("note", "the target's compute is 34 times the largest rung's; the interval widens with distance"),
        ),
        commands=(
            Command("gnomon quickstart", "the whole way, this report included"),
            Command("gnomon forecast verify --json verify.json", "checks the chain and scores again"),
            Command('gnomon sample 9c1e22d0 --prompt "def fibonacci(n):"', "talk to the target"),
        ),
        subtitle="Build this page again: gnomon report quickstart",
    )


@pytest.fixture(params=["sealed", "hit", "miss", "unregistered", "diverged"])
def report(request: pytest.FixtureRequest) -> ReportData:
    return make_report(request.param)


@pytest.fixture
def report_of():
    """The function itself, for a test that wants one state."""
    return make_report


@pytest.fixture(scope="session")
def flaws_of_page():
    """What the figures' own tests look for, in a page's figures."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[1] / "figures" / "conftest.py"
    spec = importlib.util.spec_from_file_location("figures_conftest_for_report", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.flaws
