"""The figures of docs/laws.md: what the newer laws do on published runs.

python benchmarks/laws.py tuning|repetition|drift --data DIR

DIR holds the public tables as CSV with the columns family, params_N, tokens_D, loss: for tuning steplaw_dense.csv (lr,
batch_seqs, loss_smooth), for repetition datablations_contour.csv (epochs), for drift the five of LADDERS.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast import laws
from gnomon.forecast.fitting.projection import Loss, solve
from gnomon.forecast.laws.tuning import fit_tuning

LADDERS = {
    "chinchilla_epoch.csv": {"excluded_by_epoch": "0"},
    "gadre2024_loss.csv": {"metric_name": "loss:c4_val"},
    "marin_isoflop.csv": {},
    "porian_isoflop.csv": {},
    "gemstones_val.csv": {},
}


def rows_of(path: Path, **only: str) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return [row for row in csv.DictReader(f) if all(row[k] == v for k, v in only.items())]


def columns(rows: list[dict[str, str]], *names: str) -> list[np.ndarray]:
    """The named columns, without rows where one of them is missing or not positive."""
    values = np.array([[float(row[name] or "nan") for name in names] for row in rows]).reshape(-1, len(names))
    return list(values[(np.isfinite(values) & (values > 0)).all(1)].T)


def error(law: laws.Law, inputs: dict[str, np.ndarray], loss: np.ndarray, kept: np.ndarray, asked: np.ndarray) -> float:
    """Median error in percent of the runs asked, forecast from those kept."""
    mine = {name: inputs[name][kept] for name in law.inputs}
    fitted = solve(law.centred(mine), mine, loss[kept], Loss(np.full(kept.sum(), 0.003)))
    there = {name: inputs[name][asked] for name in law.inputs}
    return float(100 * np.median(np.abs(fitted.predict(there)[0] / loss[asked] - 1)))


def drift(data: Path) -> None:
    families = {}
    for name, only in LADDERS.items():
        rows = rows_of(data / name, **only)
        for family in dict.fromkeys(row["family"] for row in rows):
            families[family] = columns([r for r in rows if r["family"] == family], "params_N", "tokens_D", "loss")
    for k in (3, 10, 30, 100):
        errors = []
        for family, (size, tokens, loss) in families.items():
            use = np.flatnonzero((tokens / size >= 2) & (tokens / size <= 1000))
            if len(use) > 300:
                use = np.random.default_rng(0).choice(use, 300, replace=False)
            inputs = {"parameters": size[use], "tokens": tokens[use]}
            compute = 6 * size[use] * tokens[use]
            asked = compute >= compute.max() / 5
            kept = compute <= compute[asked].min() / k
            few = any(len(np.unique(values[kept])) < 3 for values in inputs.values())
            if few or kept.sum() < 8 or np.ptp(np.log(compute[kept])) < np.log(3):
                continue
            trio = (laws.surface(), laws.surface_tied(), laws.Drift())
            errors.append([error(law, inputs, loss[use], kept, asked) for law in trio])
            print(f"  {family} {k}x: {np.round(errors[-1], 2)}")
        print(f"{k:4}x, {len(errors)} families: untied, tied, drifting {np.round(np.median(errors, axis=0), 2)} %")


def repetition(data: Path) -> None:
    for most in (1e9, 20):
        rows = rows_of(data / "datablations_contour.csv")
        # The file's own unique_tokens disagree with its epochs and run names in most rows; the epochs are right.
        size, tokens, loss, epochs = columns(rows, "params_N", "tokens_D", "loss", "epochs")
        few = epochs <= most
        inputs = {"parameters": size, "tokens": tokens, "unique_tokens": tokens / np.maximum(epochs, 1)}
        inputs = {name: values[few] for name, values in inputs.items()}
        compute, loss = 6 * inputs["parameters"] * inputs["tokens"], loss[few]
        asked = compute >= compute.max() / 5
        for law in (laws.surface(), laws.Repetition()):
            inside = error(law, inputs, loss, compute > 0, compute > 0)
            ahead = error(law, inputs, loss, compute <= compute[asked].min() / 10, asked)
            what = f"up to {epochs[few].max():.0f} epochs, {few.sum()} runs: {law.name}"
            print(f"{what}: misfit {inside:.2f}, 10x {ahead:.2f} %")


def tuning(data: Path) -> None:
    size, tokens, rate, batch, loss = columns(
        rows_of(data / "steplaw_dense.csv"), "params_N", "tokens_D", "lr", "batch_seqs", "loss_smooth"
    )
    cells = np.unique(np.stack([size, tokens], axis=1), axis=0)
    print(fit_tuning(size, tokens, rate, batch, loss))
    for k in (2, 3, 5, 7, 10):
        seen = []
        for n, d in cells:
            kept = size * tokens <= n * d / k
            if len(np.unique(np.stack([size, tokens], axis=1)[kept], axis=0)) < 3:
                continue
            try:
                best = fit_tuning(*(a[kept] for a in (size, tokens, rate, batch, loss))).best(n, d)
            except GnomonError as problem:
                print(f"  {n:.3g} parameters, {d:.3g} tokens: {problem}")
                continue
            here = (size == n) & (tokens == d)
            seen.append(_cost(rate[here], batch[here], loss[here], best))
        bowl, nearest = np.array(seen).T
        print(f"{k:3}x, {len(bowl)} cells: above its bowl {np.median(bowl):.3f}, at most {bowl.max():.3f} %; ", end="")
        print(f"nearest run above the best run {np.median(nearest):.3f}, at most {nearest.max():.3f} %")


def _cost(rate: np.ndarray, batch: np.ndarray, loss: np.ndarray, chosen: tuple[float, float]) -> tuple[float, float]:
    """Percent of loss that a setting costs: above the bottom of the cell's own bowl, and its nearest run's above the
    best run."""
    x, z = np.log(rate / chosen[0]), np.log(batch / chosen[1])
    y = np.log(loss) - np.log(loss.min())
    design = np.column_stack([np.ones_like(x), x, z, x * x, x * z, z * z])
    root = np.exp(-0.25 * (y / 0.01) ** 2)
    c = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    curvature = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
    return float(50 * c[1:3] @ np.linalg.solve(curvature, c[1:3])), float(100 * y[np.argmin(x * x + z * z)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("tuning", "repetition", "drift"))
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    {"tuning": tuning, "repetition": repetition, "drift": drift}[arguments.what](arguments.data)


if __name__ == "__main__":
    main()
