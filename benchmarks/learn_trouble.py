"""Learn the weights of diagnosis/trouble.py from a folder of run tables, and test them leaving one source out.

python benchmarks/learn_trouble.py DIR [--groups 8]

Targets are those of the rolling-origin protocol at 3, 10, 30 and 100 times the largest compute seen; the plain
Chinchilla form off by more than 5 % is a miss. Every source counts alike. Prints AUROC, what is flagged at a chance of
one half, the error of the rest, and the weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from gnomon.forecast import Target
from gnomon.forecast.diagnosis.trouble import FEATURES, MISS, Outlook
from gnomon.forecast.fitting import projection
from gnomon.forecast.laws import PowerSum, surface
from gnomon.forecast.runs import admissible
from gnomon.forecast.scorecard.families import Family, read_collection

RATIOS = (3, 10, 30, 100)
RIDGE = 0.03
MOST_TARGETS = 6  # of those that share a fit


def examples(family: Family, groups: int) -> list[tuple[float, ...]]:
    """(ratio, log error of the plain form, features...) of the family's targets."""
    law = surface()
    assert isinstance(law, PowerSum)
    plain = PowerSum("plain", law.source, law.terms, law.bounds, (None, None))
    compute, found = family.flops_C, []
    for ratio in RATIOS:
        targets = np.flatnonzero(compute >= (compute.max() / 100 if ratio <= 10 else 0))
        targets = targets[np.argsort(compute[targets])]
        for group in np.array_split(targets, min(groups, len(targets))):
            kept = family.select(compute <= compute[group].min() / ratio)
            few = min(len(np.unique(kept.params_N)), len(np.unique(kept.tokens_D)))
            if len(kept) < 8 or few < 3 or kept.flops_C.max() < 3 * kept.flops_C.min():
                continue
            inputs = {"parameters": kept.params_N, "tokens": kept.tokens_D}
            loss = projection.Loss(np.full(len(kept), 1e-3), 1.0, 1.0)
            fitted = projection.solve(plain, inputs, kept.loss, loss)
            outlook = Outlook.of(admissible(kept.table(), "loss_nats_scored"))
            for i in group[np.linspace(0, len(group) - 1, min(len(group), MOST_TARGETS)).astype(int)]:
                at = {"parameters": family.params_N[i : i + 1], "tokens": family.tokens_D[i : i + 1]}
                error = float(np.log(fitted.predict(at)[0, 0] / family.loss[i]))
                target = Target(float(compute[i]), float(at["parameters"][0]), float(at["tokens"][0]))
                found.append((ratio, error, *outlook.features(target)))
    return found


def learn(features: np.ndarray, missed: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Intercept and weights of a logistic regression with a ridge on standardised features."""
    weight = np.zeros(len(missed))
    for one in np.unique(source):
        weight[source == one] = 1 / (source == one).sum()
    weight /= weight.mean()
    middle, spread = features.mean(0), features.std(0)
    x, y = (features - middle) / spread, missed.astype(float)

    def objective(b: np.ndarray) -> tuple[float, np.ndarray]:
        t = x @ b[1:] + b[0]
        slope = weight * (1 / (1 + np.exp(-t)) - y) / len(y)
        value = float((weight * (np.logaddexp(0, t) - y * t)).mean() + RIDGE * (b[1:] ** 2).sum())
        return value, np.concatenate([[slope.sum()], x.T @ slope + 2 * RIDGE * b[1:]])

    found = minimize(objective, np.zeros(x.shape[1] + 1), jac=True).x
    return np.concatenate([[found[0] - (found[1:] * middle / spread).sum()], found[1:] / spread])


def auroc(score: np.ndarray, missed: np.ndarray) -> float:
    bad, good = score[missed][:, None], score[~missed]
    return float(((bad > good) + 0.5 * (bad == good)).mean()) if bad.size and good.size else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=int, default=8, help="fits a family and ratio")
    arguments = parser.parse_args()
    rows: list[tuple[float, ...]] = []
    source: list[str] = []
    for family in read_collection(arguments.folder).using("rolling_origin"):
        made = examples(family.rolling(), arguments.groups)
        rows += made
        source += [family.source] * len(made)
    table, sources = np.array(rows), np.array(source)
    ratio, error, features = table[:, 0], np.abs(np.expm1(table[:, 1])), table[:, 2:]
    missed = error > MISS
    score = np.full(len(missed), np.nan)
    for one in np.unique(sources):
        out = sources == one
        intercept, *weights = learn(features[~out], missed[~out], sources[~out])
        score[out] = intercept + features[out] @ np.array(weights)
    print(f"{len(missed)} targets of {len(np.unique(sources))} sources, {missed.mean():.0%} missed by more than 5 %")
    for chosen in (RATIOS, *((k,) for k in RATIOS)):
        inside = np.isin(ratio, chosen)
        kept = inside & (score <= 0)
        best = np.sort(error[inside])[: int(0.8 * inside.sum())]
        least = error[inside][np.argsort(score[inside])][: int(0.8 * inside.sum())]
        print(
            f"{'/'.join(map(str, chosen)):12} AUROC {auroc(score[inside], missed[inside]):.2f}; flagged "
            f"{1 - kept.sum() / inside.sum():.0%}; mean error {100 * error[inside].mean():.1f} %, unflagged "
            f"{100 * error[kept].mean():.1f} %; on the 80 % least suspect {least.mean() / error[inside].mean():.2f} of "
            f"all (perfect knowledge: {best.mean() / error[inside].mean():.2f})"
        )
    print("weights: intercept, " + ", ".join(FEATURES))
    for one in ("", *np.unique(sources)):
        out = sources == one
        print(f'    "{one}": ({", ".join(f"{v:.3g}" for v in learn(features[~out], missed[~out], sources[~out]))}),')


if __name__ == "__main__":
    main()
