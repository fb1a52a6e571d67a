"""Regret of the advice on (N, D): the loss given away by training the advised size, on sweeps whose best size is known.

    python benchmarks/score_allocation.py FOLDER [--ratio 10] [--json FILE]

FOLDER holds run tables as the scorecard reads them. Of each isoFLOP sweep every budget that at least three budgets
of at most C/ratio precede is a target. The loss of any size there is read off a curve through the budget's own runs,
drawn in two ways: a local cubic (smooth), and a monotone line through the points (no form, but it holds their noise).
No parameter of the advice was fitted to these sweeps; the window, the prior and the floor are round numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.advice.basin import basin_of
from gnomon.forecast.combine import fit
from gnomon.forecast.runs import Runs, admissible
from gnomon.forecast.scorecard.families import Family, read_collection

METRIC = "loss_nats_scored"
LossAt = Callable[[float], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratio", type=float, default=10.0)
    parser.add_argument("--fits", action="store_true", help="also the best size of the fit and of its surface")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for family in read_collection(arguments.folder).families:
        if np.isfinite(family.budget).any():
            rows += regrets(family, arguments.ratio, arguments.fits)
    for line in summary(rows):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def regrets(family: Family, ratio: float, fits: bool) -> list[dict[str, object]]:
    """One row a target budget: regret in percent by each truth, and how far off the log size is."""
    runs = admissible(family.table(), METRIC)
    computes = [float(np.exp(np.log(runs.compute[runs.budget == b]).mean())) for b in range(runs.budgets)]
    rows: list[dict[str, object]] = []
    for number, compute in enumerate(computes):
        truths = truths_of(runs, np.flatnonzero(runs.budget == number))
        keep = runs.compute <= 1.1 * compute / ratio
        if truths is None or not keep.any():
            continue
        basin = basin_of(runs.select(keep))
        if basin is None or len(basin.compute) < 3:
            continue
        advice = {"advice": float(basin.best(np.array(compute)))}
        if fits:
            advice |= of_fit(family, float(1.1 * compute / ratio), compute)
        for name, log_size in advice.items():
            found = {truth: 100 * loss(log_size) for truth, (loss, _) in truths.items()}
            off = log_size - truths["cubic"][1]
            head = {"source": family.source, "family": family.name, "clean": family.clean, "method": name}
            rows.append({**head, "compute": compute, "off": off, **found})
    return rows


def of_fit(family: Family, cut: float, compute: float) -> dict[str, float]:
    """The best size by the fit's own parabolas, for comparison."""
    part = family.select(family.flops_C <= cut)
    try:
        fitted = fit(part.table(), METRIC, draws=20)
        return {"fit": float(np.log(fitted.best_size(compute)))}
    except GnomonError:
        return {}


def truths_of(runs: Runs, rows: np.ndarray) -> dict[str, tuple[LossAt, float]] | None:
    """Excess log loss over log size by two curves, and the best log size of each; None where it is not bracketed."""
    from scipy.interpolate import PchipInterpolator

    sizes, which = np.unique(runs.size[rows], return_inverse=True)
    if len(sizes) < 5:
        return None
    x, y = np.log(sizes), np.bincount(which, np.log(runs.loss[rows])) / np.bincount(which)
    best = int(y.argmin())
    near = np.abs(x - x[best]) <= np.log(6.0)
    if best in (0, len(x) - 1) or near.sum() < 4:
        return None
    cubic = np.polyfit(x[near] - x[best], y[near], 3 if near.sum() >= 6 else 2)
    grid = np.linspace(x[near][0], x[near][-1], 4001)
    smooth = np.polyval(cubic, grid - x[best])
    through = PchipInterpolator(x, y)(np.linspace(x[0], x[-1], 4001))
    if smooth.argmin() in (0, len(grid) - 1):
        return None
    return {
        "cubic": _excess(grid, smooth),
        "points": _excess(np.linspace(x[0], x[-1], 4001), through),
    }


def _excess(grid: np.ndarray, height: np.ndarray) -> tuple[LossAt, float]:
    """Height above the lowest; outside of the grid it goes on in a straight line."""
    low = float(height.min())
    step = grid[1] - grid[0]

    def loss(at: float) -> float:
        if at < grid[0]:
            return float(height[0] - low + max(0.0, (height[0] - height[1]) / step) * (grid[0] - at))
        if at > grid[-1]:
            return float(height[-1] - low + max(0.0, (height[-1] - height[-2]) / step) * (at - grid[-1]))
        return float(np.interp(at, grid, height) - low)

    return loss, float(grid[height.argmin()])


def summary(rows: list[dict[str, object]]) -> list[str]:
    lines = []
    for method in dict.fromkeys(str(r["method"]) for r in rows):
        mine = [r for r in rows if r["method"] == method]
        for truth in ("cubic", "points"):
            value = np.array([float(str(r[truth])) for r in mine])
            families = _medians(mine, "family", truth)
            sources = _medians(mine, "source", truth)
            lines.append(
                f"{method}, truth {truth}: {len(value)} targets, regret median {np.median(value):.3f} %, "
                f"90th percentile {np.quantile(value, 0.9):.3f} %; median of {len(families)} families "
                f"{np.median(list(families.values())):.3f} %; "
                f"of sources {', '.join(f'{s} {v:.3f}' for s, v in sources.items())}"
            )
    return lines


def _medians(rows: list[dict[str, object]], by: str, truth: str) -> dict[str, float]:
    names = sorted({str(r[by]) for r in rows})
    return {n: float(np.median([float(str(r[truth])) for r in rows if r[by] == n])) for n in names}


if __name__ == "__main__":
    main()
