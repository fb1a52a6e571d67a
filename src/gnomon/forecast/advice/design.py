"""The next rung: which runs narrow a target's forecast most, per FLOP.

A run tells about the target as far as the fit's laws and draws move the two together. With all of them taken as jointly
normal, a run of noise v narrows the target's variance by cov^2 / (var + v), and what the rest would then still tell
follows by conditioning, so runs are chosen one after another: the largest gain per FLOP that the budget still pays
for. Three kinds are weighed: new sizes at a compute (alone, or three that bracket the best one), one more seed of a
setting, and new rates for a setting that looks untuned.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.advice.posterior import Points, Posterior, posterior
from gnomon.forecast.combine import Fit, fit
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Target

NEW, REPEAT, RETUNE = "new runs", "repeat a seed", "retune the rate"
# Sizes of a new rung about the best one, and the computes to try: this many a decade, up to what the budget pays.
RUNG = (0.5, 1.0, 2.0)
FARTHEST = 10.0  # no rung is more than this many times the largest run: what works there has to be seen first
SIDES = (1 / 3, 1 / 1.7, 1.0, 1.7, 3.0)
PER_DECADE = 4
# A run this many deviations above the law looks untuned; three more rates find a better one.
UNTUNED, RATES = 2.5, 3
NORMAL_90 = 1.645
LEAST_GAIN = 0.01  # a proposal that narrows the interval by less is not made


@dataclass(frozen=True)
class Candidate:
    """Runs that are bought together. rows: positions in the list of points; noise [rows]: variance of each one's log
    loss; cost: FLOPs of all of them."""

    kind: str
    rows: np.ndarray
    noise: np.ndarray
    cost: float
    why: str = ""


@dataclass(frozen=True)
class Proposal:
    """What to run next. runs: {compute, parameters, tokens} each; seeds: of each run; cost_flops: of all together.

    half_width_before_pct, half_width_after_pct: of the target's 90 % interval without its own seed, expected.
    """

    kind: str
    runs: list[dict[str, float]]
    seeds: int
    cost_flops: float
    half_width_before_pct: float
    half_width_after_pct: float
    why: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def next_rung(
    table: RunTable | Fit,
    target: Target | float,
    budget_flops: float,
    metric: str = "bits_per_byte_codebase",
    most: int = 8,
) -> list[Proposal]:
    """The runs to do next for a forecast of the target, in the order of what they tell per FLOP.

    table: a run table, or its fit. target: a run, or the compute of one at its best size. budget_flops: for all
    proposals together. most: fewest proposals come first; no more than this many.
    Raises GnomonError when nothing new fits the budget.
    """
    fitted = table if isinstance(table, Fit) else fit(table, metric)
    aim = target if isinstance(target, Target) else fitted.target(float(target))
    if not (np.isfinite(budget_flops) and budget_flops > 0):
        raise GnomonError(f"budget is {budget_flops!r} FLOPs; a positive number is expected")
    points, candidates = candidates_of(fitted, aim, budget_flops)
    if not candidates:
        cheapest = float(fitted.runs.compute.min())
        raise GnomonError(f"budget of {budget_flops:.3g} FLOPs pays for no run; the smallest took {cheapest:.3g}")
    cloud = posterior(fitted, aim)
    chosen, deviations = choose(cloud, aim, points, candidates, budget_flops, most)
    chosen, deviations = _worthwhile(chosen, deviations)
    spread = fitted.spread(aim)  # the interval that is shown; the covariance says by what part it shrinks
    shown = np.sqrt(max(0.0, float(np.var(spread.log_sample)) - spread.variances.get("outcome", 0.0)))
    widths = 100 * NORMAL_90 * shown * deviations / deviations[0]
    return [
        Proposal(
            kind=c.kind,
            runs=[_run(points, row) for row in c.rows],
            seeds=RATES if c.kind == RETUNE else 1,
            cost_flops=float(c.cost),
            half_width_before_pct=float(widths[i]),
            half_width_after_pct=float(widths[i + 1]),
            why=c.why,
        )
        for i, c in enumerate(chosen)
    ]


def _worthwhile(chosen: list[Candidate], deviations: np.ndarray) -> tuple[list[Candidate], np.ndarray]:
    """Without the candidates that narrow next to nothing, which cheap runs do; the best one is always kept."""
    gains = deviations[1:] / deviations[:-1]
    kept = np.flatnonzero(gains < 1 - LEAST_GAIN)
    kept = kept if len(kept) else np.array([int(gains.argmin())])
    return [chosen[i] for i in kept], np.append(deviations[0], deviations[0] * np.cumprod(gains[kept]))


def choose(
    cloud: Posterior, target: Target, points: Points, candidates: list[Candidate], budget_flops: float, most: int
) -> tuple[list[Candidate], np.ndarray]:
    """Candidates in the order in which to run them, and the target's deviation (log loss) before and after each.

    Greedy by gain per FLOP. Cheap runs can win that race one by one and still leave the budget badly spent: orders by
    gain alone and by gain per square root of FLOPs are tried too, and the one that ends narrowest is returned.
    """
    every = Points.of(target)
    joined = Points(*(np.concatenate([getattr(every, f), getattr(points, f)]) for f in every.__dataclass_fields__))
    covariance = cloud.covariance(joined)
    plans = [_greedy(covariance, candidates, budget_flops, most, power) for power in (1.0, 0.5, 0.0)]
    return min(plans, key=lambda plan: plan[1][-1])


def _greedy(
    covariance: np.ndarray, candidates: list[Candidate], budget_flops: float, most: int, power: float
) -> tuple[list[Candidate], np.ndarray]:
    """One order; row 0 of the covariance is the target. power: of the cost that a gain is divided by."""
    left, open_ = budget_flops, list(candidates)
    chosen: list[Candidate] = []
    deviations = [np.sqrt(max(covariance[0, 0], 0.0))]
    while open_ and len(chosen) < most:
        open_ = [c for c in open_ if c.cost <= left]
        gains = np.array([_gain(covariance, c) / c.cost**power for c in open_])
        if not len(gains) or gains.max() <= 0:
            break
        best = open_.pop(int(gains.argmax()))
        covariance = _conditioned(covariance, best)
        chosen.append(best)
        left -= best.cost
        deviations.append(np.sqrt(max(covariance[0, 0], 0.0)))
    return chosen, np.array(deviations)


def _gain(covariance: np.ndarray, candidate: Candidate) -> float:
    """By how much the target's variance falls."""
    rows = candidate.rows + 1
    across = covariance[rows, 0]
    return float(across @ np.linalg.solve(covariance[np.ix_(rows, rows)] + np.diag(candidate.noise), across))


def _conditioned(covariance: np.ndarray, candidate: Candidate) -> np.ndarray:
    """The covariance once the candidate's runs are known."""
    rows = candidate.rows + 1
    inner = covariance[np.ix_(rows, rows)] + np.diag(candidate.noise)
    return covariance - covariance[:, rows] @ np.linalg.solve(inner, covariance[rows])


def candidates_of(fitted: Fit, target: Target, budget_flops: float) -> tuple[Points, list[Candidate]]:
    """Everything that could be run: new rungs, seeds of settings that exist, settings to tune."""
    points: list[Target] = []
    found = []
    for compute in _computes(fitted, target, budget_flops):
        for sizes in _sizes(fitted, compute):
            if compute * len(sizes) > budget_flops:
                continue
            start = len(points)
            points += [fitted.target(compute, size) for size in sizes]
            found.append((NEW, np.arange(start, len(points)), compute * len(sizes), _why_new(fitted, compute, sizes)))
    cloud = Posterior(fitted, (), 0, np.zeros(0))
    new = Points.of(*points)
    fresh = [Candidate(k, rows, cloud.noise_variance(new.select(rows)), cost, why) for k, rows, cost, why in found]
    runs = fitted.runs
    old = Points(runs.compute, runs.size, runs.tokens)
    again = _again(fitted, old, len(new), budget_flops)
    both = Points(*(np.concatenate([getattr(new, f), getattr(old, f)]) for f in new.__dataclass_fields__))
    return both, fresh + again


def _computes(fitted: Fit, target: Target, budget_flops: float) -> np.ndarray:
    low = float(fitted.runs.compute.min())
    high = min(budget_flops, target.compute / 2, FARTHEST * float(fitted.runs.compute.max()))
    if high < low:
        return np.zeros(0)
    return np.geomspace(low, high, max(2, 1 + round(PER_DECADE * np.log10(high / low))))


def _sizes(fitted: Fit, compute: float) -> list[list[float]]:
    """Sizes to run at a compute, as groups bought together: a bracketed rung, and each side of it alone."""
    try:
        best = fitted.best_size(compute)
    except GnomonError:
        runs = fitted.runs  # no best size is known: as many tokens a parameter as the runs had, low, middle and high
        ratio = np.quantile(np.log(runs.tokens / runs.size), [0.15, 0.5, 0.85])
        cost = float(np.exp(np.log(runs.compute / runs.size / runs.tokens).mean()))
        return [[float(np.sqrt(compute / cost / np.exp(r)))] for r in ratio]
    return [[best * factor for factor in RUNG], *([best * side] for side in SIDES)]


def _again(fitted: Fit, old: Points, offset: int, budget_flops: float) -> list[Candidate]:
    """One more seed of each setting, and new rates for those that lie far above the law."""
    runs = fitted.runs
    seeds = fitted.noise.at(runs.compute) ** 2
    scatter = max(fitted.row_deviation**2 - fitted.noise.deviation**2, 1e-12)
    expected = posterior(fitted).mean(old)
    excess = (np.log(runs.loss) - expected) / max(fitted.row_deviation, 1e-9)
    found = []
    for setting in np.unique(runs.setting):
        rows = np.flatnonzero(runs.setting == setting)
        row, count = rows[:1], len(rows)
        cost = float(runs.compute[row[0]])
        if cost > budget_flops:
            continue
        # What scatters a setting is the same for all its seeds: another seed adds only what it takes from their noise.
        seed = float(seeds[row[0]])
        gain = 1 / (scatter + seed / (count + 1)) - 1 / (scatter + seed / count)
        why = f"{count} seed{'s' if count > 1 else ''} so far; seeds differ by {100 * np.sqrt(seed):.2g} %"
        found.append(Candidate(REPEAT, row + offset, np.array([1 / gain]), cost, why))
        height = float(excess[rows].min())
        if height > UNTUNED and RATES * cost <= budget_flops:
            why = f"{runs.ids[row[0]]} lies {height:.1f} deviations above the law, as an untuned rate would have it"
            found.append(Candidate(RETUNE, row + offset, seeds[row], RATES * cost, why))
    return found


def _why_new(fitted: Fit, compute: float, sizes: list[float]) -> str:
    ratio = compute / float(fitted.runs.compute.max())
    where = f"{ratio:.2g} times the largest run" if ratio > 1.01 else "inside the ladder"
    return f"{where}, {'a bracketed rung' if len(sizes) > 1 else 'one size'}"


def _run(points: Points, row: int) -> dict[str, float]:
    return {f: float(getattr(points, f)[row]) for f in ("compute", "parameters", "tokens")}


def proposal_lines(proposals: list[Proposal], target: Target, metric: str) -> list[str]:
    """For people: one line a proposal, with the width that it should leave."""
    first, last = proposals[0].half_width_before_pct, proposals[-1].half_width_after_pct
    total = sum(p.cost_flops for p in proposals)
    lines = [f"{metric} at {target.compute:.3g} FLOPs: ±{first:.2f} % now (90 %, without the target's own seed)"]
    for i, p in enumerate(proposals):
        sizes = ", ".join(f"{r['parameters']:.3g} parameters on {r['tokens']:.3g} tokens" for r in p.runs)
        lines.append(f"{i + 1}. {p.kind} at {p.runs[0]['compute']:.3g} FLOPs: {sizes} ({p.why})")
        lines.append(f"   costs {p.cost_flops:.3g} FLOPs, leaves ±{p.half_width_after_pct:.2f} %")
    lines.append(f"together {total:.3g} FLOPs: ±{first:.2f} % becomes ±{last:.2f} % if the laws are right")
    return lines
