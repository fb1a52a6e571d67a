"""Seconds for one fit of E + A/N^alpha + B/D^beta and its bootstrap, and the objective that the fit reaches.

python benchmarks/forecast_cost.py TABLE.csv [--draws 4000] [--columns tokens=D,...] [--metric loss] [--starts 500]
The default columns are those of the digitised table of arXiv:2404.10102; rows whose column `excluded_by_epoch` is 1 are
left out. One thread: set OMP_NUM_THREADS=1. Seconds are of the processor, best of --repeats.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from gnomon.forecast import read
from gnomon.forecast.fitting.bootstrap import bootstrap
from gnomon.forecast.fitting.newton import descend
from gnomon.forecast.fitting.projection import polish, solve
from gnomon.forecast.fitting.robust import published_loss
from gnomon.forecast.laws import surface
from gnomon.forecast.runs import Runs

COLUMNS = "parameters_total=params_N,tokens=tokens_D,flops=flops_C"


def runs_of(path: Path, columns: str, metric: str) -> Runs:
    """Every row of the file with positive numbers, less those that its source excludes."""
    table = read(path, dict(pair.split("=") for pair in columns.split(",")))
    keep = table["excluded_by_epoch"] == 0 if "excluded_by_epoch" in table else np.ones(len(table), dtype=bool)
    size, tokens, loss = table["parameters_total"], table["tokens"], table[metric]
    keep &= (size > 0) & (tokens > 0) & (loss > 0)
    count = int(keep.sum())
    groups = np.full(count, -1), np.arange(count)
    return Runs(np.arange(count), table["flops"][keep], size[keep], tokens[keep], loss[keep], *groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--columns", default=COLUMNS)
    parser.add_argument("--metric", default="loss")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--starts", type=int, default=0, help="random exponents to follow alone, without the grid")
    arguments = parser.parse_args()
    runs = runs_of(arguments.table, arguments.columns, arguments.metric)
    inputs, loss = {"parameters": runs.size, "tokens": runs.tokens}, published_loss(len(runs))
    fit_s, whole_s = [], []
    for _ in range(arguments.repeats):
        start = time.process_time()
        solve(surface().free(), inputs, runs.loss, loss)
        fit_s.append(time.process_time() - start)
        start = time.process_time()
        result = bootstrap(surface(), runs, arguments.draws, seed=0)
        whole_s.append(time.process_time() - start)
    shown = {
        "runs": len(runs),
        "draws": arguments.draws,
        "fit_s": round(min(fit_s), 4),
        f"fit_and_bootstrap_{arguments.draws}_s": round(min(whole_s), 3),
        "objective": float(result.point.objective[0]),
        "constants": result.point.parameters(),
        "deviations": result.deviations(),
    }
    if arguments.starts:
        law, theta = surface().free(), np.random.default_rng(0).uniform(0.02, 2.0, (arguments.starts, 2))
        rows = np.broadcast_to(runs.loss, (len(theta), len(runs)))
        theta, p, _ = polish(law, theta, inputs, rows, loss, 1e-3)
        value = descend(law, theta, p, inputs, rows, loss, 1e-10, damping=1e-2)[2]
        shown["starts_at_the_optimum"] = float(np.mean(value <= result.point.objective[0] * (1 + 1e-6)))
        shown["best_of_the_starts"] = float(value.min())
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
