"""Forecast a run from smaller ones, whoever trained them: the five verbs on the sample table.

python examples/forecast_your_runs.py [TABLE] [FLOPS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from gnomon.forecast import Forecast, compare, doctor, fit, forecast, metric_of, next_rung, read, sample


def main(path: Path, compute: float) -> Forecast:
    table = read(path)  # CSV, Parquet, JSON Lines, Weights & Biases, TensorBoard
    metric = metric_of(table)
    for finding in doctor(table, metric):
        print(f"{finding.severity}: {finding.message}")

    answer = forecast(table, compute, metric)  # the short way: one number with its interval
    low, high = answer.quantiles["0.05"], answer.quantiles["0.95"]
    print(f"{metric} at {compute:.3g} FLOPs: {answer.median:.3f}, 90 % between {low:.3f} and {high:.3f}")
    if answer.flag:
        print(f"do not rely on it: {answer.flag_reason}; what would help: {answer.mend}")

    fitted = fit(table, metric)  # the same in two steps, to ask more than once
    half_as_big = fitted.target(compute, parameters=answer.target["parameters"] / 2)
    print(f"with half the parameters: {fitted.predict(half_as_big).median:.3f}")

    for proposal in next_rung(fitted, compute, budget_flops=compute / 10):
        print(f"worth running next: {proposal.kind}, {proposal.cost_flops:.2g} FLOPs ({proposal.why})")

    # A or B: two tables of the same ladder on two corpora. Here B is A, so neither should win.
    print(f"A beats B with probability {compare(table, table, compute, metric).p_a_better:.2f}")
    return answer


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else sample(), float(given[1]) if len(given) > 1 else 2.5e13)
