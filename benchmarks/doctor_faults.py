"""How well the doctor finds faults: each is injected at three strengths into clean run tables.

python benchmarks/doctor_faults.py [--tables 30] [--data DIR]

For each fault: AUROC of the doctor's suspicion, faulty against clean tables, by strength; the share of faulty tables in
which the finding is made; and the share of clean tables in which it is made falsely. --data: also inject into the
families of a folder of published run tables (columns as in `gnomon forecast scorecard`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gnomon.forecast import RunTable, doctor
from gnomon.forecast.diagnosis import suspicions

METRIC = "loss"
Columns = dict[str, np.ndarray]
Fault = Callable[[Columns, int, np.random.Generator], Columns]


def synthetic(seed: int) -> Columns:
    """A clean ladder: isoFLOP groups or a grid of sizes and lengths, of a random law, with noise and a tuned rate."""
    rng = np.random.default_rng(seed)
    alpha, beta, floor = rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.45), rng.uniform(1.4, 2.2)
    if seed % 2:
        budgets = np.geomspace(1e17, 1e17 * 10 ** rng.uniform(1.5, 3), rng.integers(4, 7))
        centre = 1e8 * (budgets / 1e18) ** 0.5
        factors = np.geomspace(1 / 4, 4, rng.integers(5, 9))
        size = np.outer(centre, factors).ravel()
        budget = np.repeat(budgets, len(factors))
        tokens = budget / 6 / size
    else:
        sizes = np.geomspace(1e7, 1e7 * 10 ** rng.uniform(1.2, 2.2), rng.integers(4, 8))
        ratios = np.geomspace(5, 5 * 10 ** rng.uniform(0.8, 1.6), rng.integers(3, 6))
        size, tokens = (a.ravel() for a in np.meshgrid(sizes, sizes.mean() * ratios, indexing="ij"))
        budget = np.full(len(size), np.nan)
    size, tokens = np.round(size * np.exp(0.02 * rng.standard_normal(len(size)))), np.round(tokens)
    scale_n = rng.uniform(0.5, 1.2) * (1e8 / size) ** alpha
    scale_d = rng.uniform(0.5, 1.2) * (2e9 / tokens) ** beta
    noise = rng.uniform(0.001, 0.004)
    loss = (floor + scale_n + scale_d) * np.exp(noise * rng.standard_normal(len(size)))
    cost = 6 * (1 + rng.uniform(0, 0.1) * (1e8 / size) ** 0.2)
    rate = 3e-3 * (1e8 / size) ** 0.3 * np.exp(0.05 * rng.standard_normal(len(size)))
    return {
        "run_id": np.array([f"r{i}" for i in range(len(size))]),
        "parameters_total": size,
        "tokens": tokens,
        "flops": cost * size * tokens,
        "budget": budget,
        "rate": rate,
        METRIC: loss,
    }


def _some(columns: Columns, share: float, rng: np.random.Generator) -> np.ndarray:
    n = len(columns[METRIC])
    return rng.permutation(n)[: max(2, round(share * n))]


def _with(columns: Columns, **changed: np.ndarray) -> Columns:
    return {**columns, **changed}


def _scaled(columns: Columns, rows: np.ndarray, factor: np.ndarray | float, name: str = METRIC) -> Columns:
    values = columns[name].astype(float).copy()
    values[rows] *= factor
    return _with(columns, **{name: values})


def _append(columns: Columns, rows: np.ndarray, **changed: np.ndarray) -> Columns:
    extra = {name: values[rows].copy() for name, values in columns.items()} | changed
    extra["run_id"] = np.array([f"{r}-x" for r in extra["run_id"]])
    return {name: np.concatenate([values, extra[name]]) for name, values in columns.items()}


def unannealed(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """Checkpoints at half the tokens of a fifth of the runs, above the law by 2, 4 or 8 %, not marked."""
    rows = _some(columns, 0.25, rng)
    tokens, flops = columns["tokens"][rows] * 0.5, columns["flops"][rows] * 0.5
    lift = {1: 0.02, 2: 0.04, 3: 0.08}[strength] * rng.uniform(0.7, 1.3, len(rows))
    half = columns[METRIC][rows] * np.exp(0.035 + lift)  # 0.035: what halving the tokens costs by itself
    return _append(columns, rows, tokens=tokens, flops=flops, budget=np.full(len(rows), np.nan), **{METRIC: half})


def conventions(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """A third of the sizes without their embedding: 10, 25 or 50 % of the smallest, less of larger ones."""
    rows = _some(columns, 0.33, rng)
    share = {1: 0.1, 2: 0.25, 3: 0.5}[strength]
    size = columns["parameters_total"]
    return _scaled(columns, rows, 1 - share * (size[rows] / size.min()) ** -0.4, "parameters_total")


def overflowed(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """6 N D of 1, 3 or a quarter of the runs wrapped at 64 bits."""
    rows = np.argsort(-columns["flops"])[: {1: 1, 2: 3, 3: max(4, len(columns[METRIC]) // 4)}[strength]]
    flops = columns["flops"].copy()
    for i in rows:
        count = 6 * int(columns["parameters_total"][i]) * int(columns["tokens"][i])
        flops[i] = (count + 2**63) % 2**64 - 2**63
    return _with(columns, flops=flops)


def other_count(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """A sixth of the counts are 1.15, 1.5 or 3 times too small."""
    return _scaled(columns, _some(columns, 0.16, rng), 1 / {1: 1.15, 2: 1.5, 3: 3.0}[strength], "flops")


def embedding_heavy(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """Embedding of 32k entries counted in sizes, of which it is up to 35, 55 or 75 %."""
    share = {1: 0.35, 2: 0.55, 3: 0.75}[strength]
    bare = columns["parameters_total"]
    total = bare + share / (1 - share) * bare.min() * (bare / bare.min()) ** 0.5
    return _with(columns, parameters_total=total, parameters_no_embedding=np.where(rng.random(len(bare)) < 2, bare, 0))


def only_total(columns: Columns) -> Columns:
    """Sizes counted with the embedding, as one row lacks the other count."""
    bare = columns["parameters_no_embedding"].copy()
    bare[0] = np.nan
    return _with(columns, parameters_no_embedding=bare)


def duplicated(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """One, three or a quarter of the rows twice, under other names."""
    n = len(columns[METRIC])
    return _append(columns, rng.permutation(n)[: {1: 1, 2: 3, 3: n // 4}[strength]])


def untuned(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """A third of the rates 2, 4 or 8 times off, at the cost that Step Law's grid shows (0.4 % at a factor of two)."""
    rows = _some(columns, 0.33, rng)
    off = np.log({1: 2.0, 2: 4.0, 3: 8.0}[strength]) * rng.choice([-1.0, 1.0], len(rows))
    worse = np.exp(0.0087 * off**2 * rng.uniform(0.5, 1.5, len(rows)))
    return _scaled(_scaled(columns, rows, np.exp(off), "rate"), rows, worse)


def repeated(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """All texts cut to 1.5, 4 or 16 epochs of the longest run."""
    unique = np.full(len(columns[METRIC]), columns["tokens"].max() / {1: 1.5, 2: 4.0, 3: 16.0}[strength])
    return _with(columns, unique_tokens=unique)


def diverged(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """Two runs 8, 20 or 80 % too high."""
    return _scaled(columns, _some(columns, 0.0, rng), {1: 1.08, 2: 1.2, 3: 1.8}[strength])


def other_unit(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """A tenth of the rows in bits; a third in bits; a tenth as perplexities."""
    rows = _some(columns, {1: 0.1, 2: 0.33, 3: 0.1}[strength], rng)
    if strength < 3:
        return _scaled(columns, rows, 1 / np.log(2))
    return _scaled(columns, rows, np.exp(columns[METRIC][rows]) / columns[METRIC][rows])


def crossing(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """The longer runs of the largest sizes 1, 3 or 6 % worse than the best run of fewer parameters and tokens."""
    size, tokens, loss = columns["parameters_total"], columns["tokens"], columns[METRIC].copy()
    large = size >= np.quantile(size, 0.6)
    worse = {1: 0.01, 2: 0.03, 3: 0.06}[strength]
    for i in np.flatnonzero(large & (tokens >= np.median(tokens[large]))):
        below = (size < 0.9 * size[i]) & (tokens <= tokens[i] * 1.001)
        if below.any():
            loss[i] = max(loss[i], columns[METRIC][below].min() * (1 + worse * rng.uniform(0.7, 1.3)))
    return _with(columns, **{METRIC: loss})


def no_signal(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """The loss's spread shrunk to 2, 1 or 0.3 times its noise."""
    log_loss = np.log(columns[METRIC])
    noise = 0.01
    signal = (log_loss - log_loss.mean()) / log_loss.std() * noise * {1: 2.0, 2: 1.0, 3: 0.3}[strength]
    return _with(columns, **{METRIC: np.exp(log_loss.mean() + signal + noise * rng.standard_normal(len(signal)))})


def narrow(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """Runs within a factor of 9, 6 or 4 of compute."""
    middle = np.median(columns["flops"])
    reach = np.sqrt({1: 9.0, 2: 6.0, 3: 4.0}[strength])
    keep = (columns["flops"] > middle / reach) & (columns["flops"] < middle * reach)
    return {name: values[keep] for name, values in columns.items()}


def unbracketed(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """Sizes above the best missing in the top one, two or three budgets (of tables that have them)."""
    keep = np.ones(len(columns[METRIC]), dtype=bool)
    for b in np.unique(columns["budget"][np.isfinite(columns["budget"])])[-strength:]:
        inside = np.flatnonzero(columns["budget"] == b)
        best = inside[columns[METRIC][inside].argmin()]
        keep[inside] = columns["parameters_total"][inside] <= columns["parameters_total"][best]
    return {name: values[keep] for name, values in columns.items()}


def rising(columns: Columns, strength: int, rng: np.random.Generator) -> Columns:
    """Loss that rises with compute, by 0.01, 0.03 or 0.1 a decade."""
    x = np.log10(columns["flops"])
    slope = {1: 0.01, 2: 0.03, 3: 0.1}[strength]
    return _with(columns, **{METRIC: 3 * np.exp(slope * (x - x.mean()) + 0.003 * rng.standard_normal(len(x)))})


# fault -> (how it is made, the suspicion that should rise, codes of the finding)
FAULTS: dict[str, tuple[Fault, str, tuple[str, ...]]] = {
    "un-annealed checkpoints": (unannealed, "unannealed", ("looks_unannealed",)),
    "mixed conventions": (conventions, "operations", ("flops_inconsistent",)),
    "embedding-heavy sizes": (embedding_heavy, "embedding", ("embedding_heavy",)),
    "overflowed counts": (overflowed, "overflow", ("flops_overflow",)),
    "inconsistent counts": (other_count, "operations", ("flops_inconsistent",)),
    "duplicated runs": (duplicated, "duplicates", ("duplicate",)),
    "untuned rate": (untuned, "untuned", ("untuned",)),
    "repeated data": (repeated, "repeated", ("repeated_data",)),
    "diverged runs": (diverged, "strays", ("stray",)),
    "mixed units": (other_unit, "units", ("mixed_units",)),
    "unbracketed minima": (unbracketed, "unbracketed", ("unbracketed",)),
    "narrow span": (narrow, "narrow_span", ("narrow_span", "too_few")),
    "curves that cross": (crossing, "crossing", ("crossing",)),
    "no signal": (no_signal, "no_signal", ("no_signal",)),
    "rising loss": (rising, "rising", ("rising_loss",)),
}


def auroc(faulty: list[float], clean: list[float]) -> float:
    """Chance that a faulty table is more suspect than a clean one; ties count half."""
    a, b = np.array(faulty)[:, None], np.array(clean)[None]
    return float(((a > b) + 0.5 * (a == b)).mean()) if len(faulty) and len(clean) else float("nan")


def eligible(fault: str, columns: Columns) -> bool:
    """Whether a table can have this fault at all."""
    if fault == "unbracketed minima":
        return len(np.unique(columns["budget"][np.isfinite(columns["budget"])])) >= 4
    if fault == "overflowed counts":
        return bool((6.0 * columns["parameters_total"] * columns["tokens"]).max() > 2.0**63)
    if fault == "narrow span":
        return len(narrow(columns, 3, np.random.default_rng(0))[METRIC]) >= 4
    return True


def study(clean: list[Columns]) -> Iterator[str]:
    """One line a fault."""
    base = [suspicions(RunTable(c), METRIC) for c in clean]
    found = [{f.code for f in doctor(RunTable(c), METRIC)} for c in clean]
    yield f"{'fault':24} AUROC at strength 1, 2, 3   mean   found at 1, 2, 3    false alarms"
    for fault, (make, name, codes) in FAULTS.items():
        scores: list[float] = []
        hits: list[float] = []
        able = [i for i, c in enumerate(clean) if eligible(fault, c)]
        for strength in (1, 2, 3):
            made = []
            for i in able:
                columns = make(clean[i], strength, np.random.default_rng(1000 * strength + i))
                made.append(RunTable(only_total(columns) if make is embedding_heavy else columns))
            scores.append(auroc([suspicions(t, METRIC)[name] for t in made], [base[i][name] for i in able]))
            hits.append(float(np.mean([any(f.code in codes for f in doctor(t, METRIC)) for t in made] or [np.nan])))
        alarms = float(np.mean([any(code in found[i] for code in codes) for i in able] or [np.nan]))
        yield (
            f"{fault:24} {scores[0]:.2f}  {scores[1]:.2f}  {scores[2]:.2f}           {np.mean(scores):.2f}   "
            f"{hits[0]:4.0%} {hits[1]:4.0%} {hits[2]:4.0%}      {alarms:4.0%} of {len(able)}"
        )
    every = np.mean([bool(f - {"no_seeds", "reader"}) for f in found])
    yield f"clean tables with any warning: {every:.0%} of {len(clean)}"


def families(folder: Path) -> list[Columns]:
    """The families of a folder of published tables, with a smooth made-up rate where a fault needs one."""
    from gnomon.forecast.scorecard.families import read_collection

    tables = []
    for i, family in enumerate(read_collection(folder).using("rolling_origin")):
        columns = dict(family.rolling().table().columns)
        columns[METRIC] = columns.pop("loss_nats_scored")
        size = columns["parameters_total"]
        jitter = np.exp(0.05 * np.random.default_rng(i).standard_normal(len(size)))
        columns["rate"] = 3e-3 * (1e8 / size) ** 0.3 * jitter
        tables.append({name: values for name, values in columns.items() if name != "unique_tokens"})
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=30, help="synthetic tables")
    parser.add_argument("--data", type=Path, default=None, help="folder of published run tables")
    arguments = parser.parse_args()
    for line in study([synthetic(seed) for seed in range(arguments.tables)]):
        print(line, flush=True)
    if arguments.data is not None:
        print("published families")
        for line in study(families(arguments.data)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
