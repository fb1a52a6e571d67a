"""A folder of published (or your own) run tables, as families: sets of runs that one law should describe.

Every .csv and .csv.gz of the folder is read; what a file holds is told from its columns, never from its numbers' fit.
Columns: `family`, `run_id`, `params_N`, `tokens_D`, `flops_C`, `loss` or `metric_name` and `metric_value`, `is_final`;
`curve_id` and `is_train` for learning curves; optional ones are named where they are used. Files of one paper are one
source, because their errors go together: intervals and learned parts are tested leaving one source out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.scorecard.columns import File, read_file
from gnomon.forecast.scorecard.sources import headline, shown, source_of
from gnomon.forecast.table import RunTable

# A run trained on fewer or more tokens a parameter is outside what any law of (N, D) was made for.
TOKENS_PER_PARAMETER = (2.0, 1000.0)
FEWEST_RUNS, FEWEST_SIZES, FEWEST_LENGTHS = 8, 3, 3
# More runs than this in the median (size, tokens) cell: a search over rates and batches, of which the best run counts.
RUNS_PER_CELL_OF_A_SEARCH = 20
# Below this many parameters embeddings and short horizons decide the loss, and the minima follow no common law.
SMALLEST_CLEAN_SIZE = 2e7
# An isoFLOP sweep: this many budgets of this many sizes, which hold this share of the runs.
FEWEST_BUDGETS, FEWEST_SIZES_OF_A_BUDGET, SHARE_IN_BUDGETS = 4, 4, 0.7


@dataclass(frozen=True)
class Family:
    """Runs of one recipe with the loss of one metric.

    params_N, tokens_D, flops_C (6ND, or the table's own count where that is sane), loss, unique_tokens, budget [n]:
    float64, NaN where missing; run_ids [n]: text; is_final [n]: bool. budget: nominal compute of the isoFLOP group.
    annealed: the rows are ends of runs (False: checkpoints, because the ends alone show too few sizes or lengths).
    clean: an isoFLOP sweep of ends of runs, not interpolated, of models that are not tiny; from metadata alone.
    uses: which protocols score it: "rolling_origin", "isoflop". note: why it is left out of some, in words.
    """

    name: str
    source: str
    file: str
    metric: str
    params_N: np.ndarray
    tokens_D: np.ndarray
    flops_C: np.ndarray
    loss: np.ndarray
    run_ids: np.ndarray
    is_final: np.ndarray
    unique_tokens: np.ndarray
    budget: np.ndarray
    annealed: bool = True
    clean: bool = False
    uses: frozenset[str] = frozenset()
    note: str = ""

    def __len__(self) -> int:
        return len(self.loss)

    def select(self, keep: np.ndarray) -> Family:
        """The rows of a mask or an index array."""
        arrays = {f.name: getattr(self, f.name)[keep] for f in fields(self) if f.type == "np.ndarray"}
        return replace(self, **arrays)

    def rolling(self) -> Family:
        """The rows that rolling origin scores: 2 to 1000 tokens a parameter, all where that would leave less than half;
        of a search over rates and batches the best run of each (size, tokens)."""
        ratio = self.tokens_D / self.params_N
        inside = (ratio >= TOKENS_PER_PARAMETER[0]) & (ratio <= TOKENS_PER_PARAMETER[1])
        kept = self.select(inside) if inside.mean() > 0.5 else self
        return kept.select(best_of_cells(kept))

    def table(self) -> RunTable:
        """The rows as a run table with the metric `loss_nats_scored`, ready for gnomon.forecast.fit."""
        return RunTable(
            {
                "run_id": np.array([f"{i}:{r}" for i, r in enumerate(self.run_ids)], dtype=np.str_),
                "parameters_total": self.params_N,
                "tokens": self.tokens_D,
                "flops": self.flops_C,
                "budget": self.budget,
                "unique_tokens": self.unique_tokens,
                "loss_nats_scored": self.loss,
            }
        )


@dataclass(frozen=True)
class Curve:
    """A learning curve: x (samples seen), y (error or loss) [n]; is_train [n]: True to fit, False to forecast."""

    name: str
    source: str
    domain: str
    x: np.ndarray
    y: np.ndarray
    is_train: np.ndarray


@dataclass(frozen=True)
class Downstream:
    """Task values of a family's runs. params_N, tokens_D, flops_C [n] (NaN where missing); family [n]: of each run;
    values [n, tasks] (NaN where not measured), higher is better; loss [n]: the runs' headline loss, NaN where none."""

    name: str
    source: str
    run_ids: np.ndarray
    family: np.ndarray
    params_N: np.ndarray
    tokens_D: np.ndarray
    flops_C: np.ndarray
    tasks: tuple[str, ...]
    values: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class Collection:
    """Everything a folder holds. skipped: file -> why no protocol uses it. hashes: file -> SHA-256 of its bytes."""

    folder: Path
    families: tuple[Family, ...]
    curves: tuple[Curve, ...]
    downstream: tuple[Downstream, ...]
    skipped: dict[str, str]
    hashes: dict[str, str]

    def using(self, protocol: str) -> list[Family]:
        return [f for f in self.families if protocol in f.uses]

    @property
    def sources(self) -> list[str]:
        """Every source, sorted."""
        found = {f.source for f in self.families} | {c.source for c in self.curves}
        return sorted(found | {d.source for d in self.downstream})


def read_collection(folder: Path | str) -> Collection:
    """Read a folder. Raises GnomonError, in one line, when it holds no table or a table has text among numbers."""
    folder = Path(folder)
    paths = sorted(p for p in folder.glob("*") if p.name.endswith((".csv", ".csv.gz"))) if folder.is_dir() else []
    if not paths:
        raise GnomonError(f"{folder}: no .csv or .csv.gz file; a folder of run tables is expected")
    families: list[Family] = []
    curves: list[Curve] = []
    downstream: list[Downstream] = []
    skipped: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for path in paths:
        file = read_file(path)
        hashes[path.name] = file.hash
        if "curve_id" in file and "is_train" in file:
            curves += _curves(file)
        elif "params_N" not in file or "tokens_D" not in file or "family" not in file:
            skipped[path.name] = "no columns family, params_N and tokens_D"
        elif "loss" in file or _loss_metrics(file):
            families += _loss_families(file)
            downstream += _downstream(file, np.char.find(np.char.lower(file.metrics()), "acc") >= 0)
        elif "metric_name" in file:
            downstream += _downstream(file, np.ones(len(file), dtype=bool))
        else:
            skipped[path.name] = "neither a column loss nor metric_name"
    downstream = [_with_loss(d, families) for d in downstream]
    return Collection(folder, tuple(_without_twins(families)), tuple(curves), tuple(downstream), skipped, hashes)


def _loss_metrics(file: File) -> list[str]:
    """Metrics in rows of metric_name and metric_value that are losses."""
    return [m for m in dict.fromkeys(file.metrics().tolist()) if m.lower().endswith("loss")]


def _loss_families(file: File) -> Iterable[Family]:
    """One family a value of `family`, with the headline metric of those that the file has."""
    loss = file.number("loss") if "loss" in file else file.number("metric_value")
    metrics = file.metrics()
    names = file.text("family")
    known = _loss_metrics(file) if "loss" not in file else list(dict.fromkeys(metrics.tolist()))
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        chosen = headline([m for m in known if (rows & (metrics == m)).any()], file.stem)
        if chosen is not None:
            yield _family(file, name, chosen, rows & (metrics == chosen), loss)


def _family(file: File, name: str, metric: str, rows: np.ndarray, loss: np.ndarray) -> Family:
    params, tokens = file.number("params_N"), file.number("tokens_D")
    sound = rows & np.isfinite(loss) & (loss > 0) & (params > 0) & (tokens > 0) & ~file.excluded()
    final = file.flag("is_final", True)
    family = Family(
        name=name,
        source=source_of(file, rows),
        file=file.path.name,
        metric=metric,
        params_N=params,
        tokens_D=tokens,
        flops_C=compute_of(file, params, tokens),
        loss=loss,
        run_ids=file.ids(),
        is_final=final,
        unique_tokens=file.number("unique_tokens"),
        budget=file.budgets(),
    ).select(sound)
    annealed = bool(family.is_final.all()) or _shows_a_surface(family.select(family.is_final).rolling())
    family = replace(_unrepeated(family.select(family.is_final) if annealed else family), annealed=annealed)
    family = replace(family, budget=nominal_budgets(family))
    interpolated = "notes" in file and any("interpolated" in n for n in np.unique(file.text("notes")[rows]))
    return _with_uses(replace(family, clean=_is_clean(family, interpolated)), file)


def compute_of(file: File, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Training operations [n]: the table's own count, or 6ND where it is missing or overflowed (its 64-bit integers
    wrap near 1e19), which shows as a count far from 6ND; sparse models count down to a hundredth of it."""
    product = 6.0 * params * tokens
    counted = file.number("flops_C")
    with np.errstate(invalid="ignore"):
        sane = (counted > product / 100) & (counted < 3 * product)
    return np.where(sane, counted, product)


def _shows_a_surface(family: Family) -> bool:
    return (
        len(family) >= FEWEST_RUNS
        and len(np.unique(family.params_N)) >= FEWEST_SIZES
        and len(np.unique(family.tokens_D)) >= FEWEST_LENGTHS
    )


def _unrepeated(family: Family) -> Family:
    """Without rows that repeat an earlier one to the last digit."""
    keys = np.stack([family.params_N, family.tokens_D, family.flops_C, family.loss], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return family.select(np.sort(first))


def best_of_cells(family: Family) -> np.ndarray:
    """Indices of the runs to score: all, or the best of each (size, tokens) where the family is a search over rates and
    batches (the median cell holds more than twenty ends of runs)."""
    if not len(family):
        return np.zeros(0, dtype=np.int64)
    cells = np.stack([family.params_N, family.tokens_D], axis=1)
    _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    if np.median(counts) <= RUNS_PER_CELL_OF_A_SEARCH:
        return np.arange(len(family))
    order = np.lexsort([family.loss, which.reshape(-1)])
    first = np.unique(which.reshape(-1)[order], return_index=True)[1]
    return np.sort(order[first])


def nominal_budgets(family: Family) -> np.ndarray:
    """[n]: the isoFLOP budget of each run; NaN for budgets of fewer than four sizes, and everywhere when what is left
    is not a sweep (fewer than four budgets, or less than 0.7 of the runs)."""
    budget = family.budget.copy()
    for value in np.unique(budget[np.isfinite(budget)]):
        if len(np.unique(family.params_N[budget == value])) < FEWEST_SIZES_OF_A_BUDGET:
            budget[budget == value] = np.nan
    held = np.isfinite(budget)
    sweep = len(np.unique(budget[held])) >= FEWEST_BUDGETS and held.sum() >= SHARE_IN_BUDGETS * len(family)
    return budget if sweep and family.annealed else np.full(len(family), np.nan)


def _is_clean(family: Family, interpolated: bool) -> bool:
    sweep = bool(np.isfinite(family.budget).any())
    return sweep and not interpolated and float(family.params_N.min()) >= SMALLEST_CLEAN_SIZE


def _with_uses(family: Family, file: File) -> Family:
    """Which protocols may score the family, by what it is."""
    with np.errstate(invalid="ignore"):
        repeated = float(np.mean(family.tokens_D > 1.01 * family.unique_tokens)) > 0.5
    if repeated:
        return replace(family, note="most runs repeat their data, which no law of size and tokens sees")
    allowed, note = shown(file.stem, family.name)
    uses = {"rolling_origin"} if _shows_a_surface(family.rolling()) else set()
    if np.isfinite(family.budget).any():
        uses.add("isoflop")
    return replace(family, uses=frozenset(uses & allowed), note=note)


def _without_twins(families: list[Family]) -> list[Family]:
    """Two families of one source whose runs are the same to the last digit count once: the later one is dropped from
    every protocol that the earlier one is in."""
    done: list[Family] = []
    for family in families:
        same = [f for f in done if f.source == family.source and _share(f, family) > 0.5 and f.uses & family.uses]
        if same:
            uses = family.uses.difference(*(f.uses for f in same))
            family = replace(family, uses=uses, note=f"the same runs as {same[0].name}")
        done.append(family)
    return done


def _share(a: Family, b: Family) -> float:
    """Share of b's runs that a has too: same size, tokens and loss to four digits."""
    keys = [
        {(f"{n:.4g}", f"{d:.4g}", f"{y:.4g}") for n, d, y in zip(f.params_N, f.tokens_D, f.loss, strict=True)}
        for f in (a, b)
    ]
    return len(keys[0] & keys[1]) / max(1, len(keys[1]))


def _curves(file: File) -> Iterable[Curve]:
    x = file.number("seen_examples" if "seen_examples" in file else "x")
    y, train, ids = file.number("loss"), file.flag("is_train", True), file.text("curve_id")
    domains = file.text("domain") if "domain" in file else np.full(len(file), "")
    for name in dict.fromkeys(ids.tolist()):
        rows = np.flatnonzero((ids == name) & (x > 0) & (y > 0))
        rows = rows[np.argsort(x[rows], kind="stable")]
        if train[rows].sum() >= 2 and (~train[rows]).any():
            yield Curve(name, source_of(file, ids == name), str(domains[rows[0]]), x[rows], y[rows], train[rows])


def _downstream(file: File, rows: np.ndarray) -> Iterable[Downstream]:
    """One collection a file, of these rows: a row a run, a column a task."""
    if "metric_value" not in file or not rows.any():
        return
    run_names, which, run = np.unique(file.ids()[rows], return_index=True, return_inverse=True)
    task_names, task = np.unique(file.metrics()[rows], return_inverse=True)
    values = np.full((len(run_names), len(task_names)), np.nan)
    values[run, task] = file.number("metric_value")[rows]
    first = np.flatnonzero(rows)[which]
    params, tokens = file.number("params_N"), file.number("tokens_D")
    counted = file.number("flops_C")
    flops = np.where(np.isfinite(counted) & (counted > 0), counted, 6.0 * params * tokens)
    yield Downstream(
        name=file.stem,
        source=source_of(file, np.ones(len(file), dtype=bool)),
        run_ids=run_names,
        family=file.text("family")[first],
        params_N=params[first],
        tokens_D=tokens[first],
        flops_C=flops[first],
        tasks=tuple(str(t) for t in task_names),
        values=values,
        loss=np.full(len(run_names), np.nan),
    )


def _with_loss(downstream: Downstream, families: list[Family]) -> Downstream:
    """The headline losses of the same run ids, where the folder has them."""
    known = {r: y for f in families if f.source == downstream.source for r, y in zip(f.run_ids, f.loss, strict=True)}
    return replace(downstream, loss=np.array([known.get(r, np.nan) for r in downstream.run_ids]))


__all__ = ["Collection", "Curve", "Downstream", "Family", "read_collection"]
