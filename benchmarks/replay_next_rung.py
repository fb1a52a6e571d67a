"""Replay of the next rung: would our order of runs have reached the same forecast for less compute than a plain grid?

    python benchmarks/replay_next_rung.py FOLDER [--ratio 10] [--draws 100] [--json FILE]

FOLDER holds run tables as the scorecard reads them. For each family the pool is its real runs of at most
C_target/ratio; both orders begin with the cheapest runs that a law can be fitted to. The grid then buys budget after
budget, every size of each; the replay asks next_rung's rules which of the pool's runs to buy, refitting half way.
Scored: CRPS of the forecast of the family's best runs in its top third of a decade, at shares of the compute that the
whole pool costs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.advice.design import NEW, RUNG, Candidate, choose
from gnomon.forecast.advice.posterior import Points, Posterior, posterior
from gnomon.forecast.combine import Fit, fit
from gnomon.forecast.scorecard.families import Family, read_collection
from gnomon.forecast.scoring import crps
from gnomon.forecast.values import Target

METRIC = "loss_nats_scored"
SHARES = (0.1, 0.2, 0.4, 0.6, 1.0)
ROUNDS = (0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratio", type=float, default=10.0)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for family in read_collection(arguments.folder).families:
        if family.uses and family.annealed and arguments.only in family.name:
            kept = family.rolling()
            rows += replay(kept.select(best_of_each(kept)), arguments.ratio, arguments.draws)
            for row in rows[-len(SHARES) :]:
                if row["family"] == family.name:
                    print(json.dumps(row), flush=True)
    for line in summary(rows):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def replay(family: Family, ratio: float, draws: int) -> list[dict[str, object]]:
    """CRPS (percent of the outcome) of both orders at each share; empty when the family has no room for a pool."""
    targets = targets_of(family)
    cut = min(t.compute for t, _ in targets) / ratio
    order = np.argsort(family.flops_C, kind="stable")
    pool = family.select(order[family.flops_C[order] <= cut * 1.05])
    start = first_fit(pool, draws)
    if start is None or len(pool) - start < 4:
        return []
    total = float(pool.flops_C.sum())
    rows: list[dict[str, object]] = []
    for share in SHARES:
        if pool.flops_C[:start].sum() > share * total:
            continue
        grid = np.flatnonzero(np.cumsum(pool.flops_C) <= share * total * (1 + 1e-9))
        ours = bought(pool, start, targets[0][0], share * total, draws)
        rows.append(
            {
                "source": family.source,
                "family": family.name,
                "share": share,
                "grid": scored(pool, grid, targets, draws),
                "ours": scored(pool, ours, targets, draws),
                "grid_runs": len(grid),
                "our_runs": len(ours),
                "our_share": float(pool.flops_C[ours].sum() / total),
            }
        )
    return rows


def best_of_each(family: Family) -> np.ndarray:
    """Indices of the best run of each (size, tokens): both orders choose sizes and lengths, and both tune what they
    run."""
    order = np.lexsort([family.loss, family.tokens_D, family.params_N])
    cells = np.stack([family.params_N, family.tokens_D], axis=1)[order]
    first = np.append(True, (np.diff(cells, axis=0) != 0).any(axis=1))
    return np.sort(order[first])


def targets_of(family: Family) -> list[tuple[Target, float]]:
    """The best run of each of up to three groups of equal compute in the top third of a decade."""
    top = np.flatnonzero(family.flops_C >= family.flops_C.max() / 10 ** (1 / 3))
    groups = np.round(np.log10(family.flops_C[top]) * 10)
    best = [int(top[groups == g][np.argmin(family.loss[top[groups == g]])]) for g in np.unique(groups)[-3:]]
    return [
        (Target(float(family.flops_C[i]), float(family.params_N[i]), float(family.tokens_D[i])), float(family.loss[i]))
        for i in sorted(best, key=lambda i: family.loss[i])
    ]


def first_fit(pool: Family, draws: int) -> int | None:
    """How many of the cheapest runs a law needs."""
    for count in range(8, len(pool) + 1):
        part = pool.select(np.arange(count))
        spread = min(len(np.unique(part.params_N)), len(np.unique(part.tokens_D)))
        if spread >= 3 and fitted(part, draws) is not None:
            return count
    return None


def fitted(part: Family, draws: int) -> Fit | None:
    try:
        return fit(part.table(), METRIC, draws=draws, left_out=(part.source,))
    except GnomonError:
        return None


def bought(pool: Family, start: int, target: Target, budget: float, draws: int) -> np.ndarray:
    """Rows that our rules buy for the budget, the starting rows among them."""
    have = np.zeros(len(pool), dtype=bool)
    have[:start] = True
    for part in ROUNDS:
        known = fitted(pool.select(have), draws)
        left = budget - float(pool.flops_C[have].sum())
        if known is None or left <= 0:
            break
        spendable = left if part == ROUNDS[-1] else part * left
        free = np.flatnonzero(~have)
        points = Points(pool.flops_C[free], pool.params_N[free], pool.tokens_D[free])
        cloud = posterior(known, target)
        candidates = actions(known, cloud, points, left)
        chosen, _ = choose(cloud, target, points, candidates, left, most=len(free)) if candidates else ([], None)
        for candidate in chosen:
            rows = free[candidate.rows]
            rows = rows[~have[rows]]
            if float(pool.flops_C[rows].sum()) <= spendable:
                have[rows] = True
                spendable -= float(pool.flops_C[rows].sum())
    return np.flatnonzero(have)


def actions(known: Fit, cloud: Posterior, points: Points, left: float) -> list[Candidate]:
    """Each run of the pool alone, and the bracketed rungs that the pool can make."""
    noise = cloud.noise_variance(points)
    found = [Candidate(NEW, np.array([i]), noise[i : i + 1], float(points.compute[i])) for i in range(len(points))]
    groups = np.round(np.log10(points.compute) * 20)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) < 3:
            continue
        try:
            best = known.best_size(float(np.exp(np.log(points.compute[rows]).mean())))
        except GnomonError:
            continue
        sizes = np.log(points.parameters[rows])
        near = np.unique([int(np.abs(sizes - np.log(best * f)).argmin()) for f in RUNG])
        if len(near) > 1:
            found.append(Candidate(NEW, rows[near], noise[rows[near]], float(points.compute[rows[near]].sum())))
    return [c for c in found if c.cost <= left]


def scored(pool: Family, rows: np.ndarray, targets: list[tuple[Target, float]], draws: int) -> float:
    """Mean CRPS over the targets, in percent of the outcome; NaN when no law can be fitted."""
    known = fitted(pool.select(rows), draws)
    if known is None:
        return float("nan")
    return float(np.mean([100 * crps(known.predict(t).quantiles, loss) / loss for t, loss in targets]))


def summary(rows: list[dict[str, object]]) -> list[str]:
    """CRPS of both orders over that of the whole grid (geometric mean, each source alike; median over families), and
    for each family the least share at which an order's CRPS is no worse than the whole grid's."""
    lines = []
    whole = {str(r["family"]): _number(r, "grid") for r in rows if r["share"] == 1.0}
    ratios = [(r, name, _number(r, name) / whole[str(r["family"])]) for r in rows for name in ("grid", "ours")]
    for name in ("grid", "ours"):
        parts = []
        for share in SHARES:
            at = [(str(r["source"]), v) for r, n, v in ratios if n == name and r["share"] == share and np.isfinite(v)]
            sources = [np.mean([np.log(v) for s, v in at if s == source]) for source in sorted({s for s, _ in at})]
            if at:
                median = float(np.median([v for _, v in at]))
                parts.append(f"{100 * share:.0f} %: {np.exp(np.mean(sources)):.2f} ({median:.2f}, {len(at)})")
        lines.append(
            f"{name}, CRPS over the whole grid's at a share, by source (median, families): " + ", ".join(parts)
        )
    first: dict[str, list[float]] = {"grid": [], "ours": []}
    for family in whole:
        for name, found in first.items():
            reached = [
                float(str(r["share"])) for r, n, v in ratios if n == name and r["family"] == family and v <= 1.0001
            ]
            found.append(min(reached, default=float("inf")))
        lines.append(
            f"{family}: the whole grid's CRPS is reached at {first['ours'][-1]:.0%} (grid {first['grid'][-1]:.0%})"
        )
    for name, found in first.items():
        lines.append(f"{name}: median {np.median(found):.0%} over {len(found)} families")
    return lines


def _number(row: dict[str, object], name: str) -> float:
    return float(str(row[name]))


if __name__ == "__main__":
    main()
