"""A or B, scored: how often the paired comparison names the better recipe at a compute that it has not seen.

    python benchmarks/score_compare.py FOLDER [--ratio 100] [--json FILE]

FOLDER holds run tables as the scorecard reads them. A pair of recipes is two families of one file with one metric (two
training texts, contexts, schedules), or two peak rates of one family. Every pair of runs (or of isoFLOP minima) at C is
a target; the comparison sees runs of at most C/ratio. Beside it: the sign of the largest pair that it saw.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gnomon.forecast.advice.compare import Pairs, compared, pairs_of
from gnomon.forecast.runs import Runs, admissible
from gnomon.forecast.scorecard.columns import File, read_file
from gnomon.forecast.table import RunTable

METRIC = "loss_nats_scored"
RATES = ("peak_lr",)
# Families whose text differs cannot be compared on a loss; other families are the same runs under another count.
GROUPS = {"porian_isoflop": lambda name: name.split("_")[1] if name.endswith("standard") else None}
# The same runs as another file's, or checkpoints of runs that were not annealed.
LEFT_OUT = (
    "marin_comma",
    "marin_dclm",
    "chinchilla",
    "gemstones",
    "opt",
    "rnsl",
    "obsscaling",
    "laion",
    "datablations",
)
ONLY_METRIC = {"xlstm_isoflop_llama": "val/.dclm_loss"}
FEWEST, SPAN, CLEAR = 3, 3.0, 0.005
MOST_RATE_PAIRS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratio", type=float, default=100.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for path in sorted(arguments.folder.glob("*.csv")):
        if not path.name.startswith(LEFT_OUT):
            for source, name, a, b in recipe_pairs(read_file(path)):
                rows += scored(source, name, a, b, arguments.ratio)
    for line in summary(rows):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def recipe_pairs(file: File) -> Iterable[tuple[str, str, Runs, Runs]]:
    """(source, name, runs of A, runs of B)."""
    if "loss" not in file and file.stem not in ONLY_METRIC:
        return
    stem, names = file.stem, file.text("family")
    loss = file.number("loss") if "loss" in file else file.number("metric_value")
    metrics = file.text("metric_name") if "metric_name" in file else np.full(len(file), "loss")
    final = file.flag("is_final", True) & ~file.excluded() & (loss > 0)
    group_of = GROUPS.get(stem, lambda name: "")
    source = stem.split("_")[0].rstrip("0123456789")
    for metric in [ONLY_METRIC[stem]] if stem in ONLY_METRIC else list(dict.fromkeys(metrics.tolist())):
        kept = final & (metrics == metric)
        families = [n for n in dict.fromkeys(names[kept].tolist()) if group_of(n) is not None]
        for a, b in itertools.combinations(families, 2):
            if group_of(a) == group_of(b):
                runs = [_runs(file, kept & (names == n), loss) for n in (a, b)]
                yield source, f"{a} | {b} | {metric}", runs[0], runs[1]
    for column in (c for c in RATES if c in file):
        for family in dict.fromkeys(names.tolist()):
            kept = final & (names == family) & ~_under_two_rates(file, loss, column)
            rates = [r for r in np.unique(file.number(column)[kept]) if (kept & (file.number(column) == r)).sum() >= 8]
            for a, b in list(itertools.combinations(rates, 2))[:MOST_RATE_PAIRS]:
                runs = [_runs(file, kept & (file.number(column) == r), loss) for r in (a, b)]
                yield source, f"{family} | {column} {a:g} | {b:g}", runs[0], runs[1]


def _under_two_rates(file: File, loss: np.ndarray, column: str) -> np.ndarray:
    """Rows whose run stands in the file under two rates: one of them is not its own."""
    keys = np.stack([file.number("params_N"), file.number("tokens_D"), loss], axis=1)
    _, which = np.unique(keys, axis=0, return_inverse=True)
    rate = file.number(column)
    low, high = np.full(which.max() + 1, np.inf), np.full(which.max() + 1, -np.inf)
    np.minimum.at(low, which.reshape(-1), rate)
    np.maximum.at(high, which.reshape(-1), rate)
    return (high > low)[which.reshape(-1)]


def _runs(file: File, rows: np.ndarray, loss: np.ndarray) -> Runs:
    params, tokens = file.number("params_N")[rows], file.number("tokens_D")[rows]
    columns = {"parameters_total": params, "tokens": tokens, "flops": 6.0 * params * tokens}
    columns["budget"] = file.budgets()[rows]
    columns["run_id"] = np.array([str(i) for i in range(len(params))])
    return admissible(RunTable({**columns, METRIC: loss[rows]}), METRIC)


def scored(source: str, name: str, a: Runs, b: Runs, ratio: float) -> list[dict[str, object]]:
    """One row a target: the truth, what the comparison says, what the largest pair says."""
    truth = pairs_of(a, b)
    rows: list[dict[str, object]] = []
    known: dict[int, Pairs] = {}
    for i in range(len(truth)):
        cut = truth.compute[i] / ratio * 1.05
        size = int((a.compute <= cut).sum())
        if size not in known:
            known[size] = pairs_of(a.select(a.compute <= cut), b.select(b.compute <= cut))
        seen = known[size]
        if len(seen) < FEWEST or seen.compute.max() < SPAN * seen.compute.min():
            continue
        x = truth.x[i] if truth.x.shape[1] == seen.x.shape[1] else np.full(seen.x.shape[1], np.nan)
        if not np.isfinite(x).all():
            continue
        result = compared(seen, float(truth.compute[i]), x)
        rows.append(
            {
                "source": source,
                "pair": name,
                "compute": float(truth.compute[i]),
                "log_ratio": float(truth.log_ratio[i]),
                "p_a_better": result.p_a_better,
                "gap_pct": result.gap_pct,
                "low_pct": result.gap_low_pct,
                "high_pct": result.gap_high_pct,
                "largest_pct": result.largest_pair_gap_pct,
            }
        )
    return rows


def summary(rows: list[dict[str, object]]) -> list[str]:
    lines = []
    clear = [r for r in rows if abs(float(str(r["log_ratio"]))) > CLEAR]
    sure = [r for r in rows if abs(float(str(r["p_a_better"])) - 0.5) > 0.3]
    for label, kept in (("all targets", rows), (f"gaps over {100 * CLEAR:g} %", clear), ("P over 0.8", sure)):
        for method, right in (("paired", _ours), ("largest pair", _largest)):
            hits = np.array([right(r) for r in kept], dtype=float)
            pairs = _by(kept, hits, "pair")
            sources = {
                s: float(
                    np.mean([v for p, v in pairs.items() if any(r["pair"] == p and r["source"] == s for r in kept)])
                )
                for s in sorted({str(r["source"]) for r in kept})
            }
            over_pairs = np.mean(list(pairs.values()))
            lines.append(
                f"{label}, {method}: {hits.mean():.3f} of {len(hits)} targets, {over_pairs:.3f} over "
                f"{len(pairs)} pairs, {np.mean(list(sources.values())):.3f} over sources "
                f"({', '.join(f'{s} {v:.2f}' for s, v in sources.items())})"
            )
    chance = np.array([float(str(r["p_a_better"])) for r in rows])
    truth = np.array([float(str(r["log_ratio"])) < 0 for r in rows])
    gap = np.array([100 * -np.expm1(float(str(r["log_ratio"]))) for r in rows])
    inside = np.array([float(str(r["low_pct"])) for r in rows]) <= gap
    inside &= gap <= np.array([float(str(r["high_pct"])) for r in rows])
    lines.append(f"Brier score {np.mean((chance - truth) ** 2):.3f}; gap inside its 90 % interval {inside.mean():.2f}")
    sure_of = np.maximum(chance, 1 - chance)
    for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 0.97), (0.97, 1.01)):
        held = (sure_of >= low) & (sure_of < high)
        if held.any():
            right = ((chance > 0.5) == truth)[held].mean()
            lines.append(f"said {low:.2f} to {min(high, 1):.2f}: {right:.2f} right of {held.sum()}")
    return lines


def _ours(row: dict[str, object]) -> bool:
    return (float(str(row["p_a_better"])) > 0.5) == (float(str(row["log_ratio"])) < 0)


def _largest(row: dict[str, object]) -> bool:
    return (float(str(row["largest_pct"])) > 0) == (float(str(row["log_ratio"])) < 0)


def _by(rows: list[dict[str, object]], hits: np.ndarray, key: str) -> dict[str, float]:
    names = sorted({str(r[key]) for r in rows})
    return {n: float(np.mean([h for r, h in zip(rows, hits, strict=True) if r[key] == n])) for n in names}


if __name__ == "__main__":
    main()
