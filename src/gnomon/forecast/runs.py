"""The runs that a law may be fitted to: the rows of a table that are finished, annealed and finite, as plain arrays.

Sizes N are in one convention for the whole table; losses are those of one metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.table import RunTable

SIZE_COLUMNS = ("parameters_matmul", "parameters_no_embedding", "parameters_total")
MOST_ROWS = 1500  # a law learns nothing from more
# Rows that differ in one of these are different settings; rows that agree in all of them differ by their seeds alone.
SETTING = ("tokens", "flops", "batch_tokens", "rate", "steps", "depth", "width", "context", "vocab", "unique_tokens")

OPTIONAL_INPUTS = ("unique_tokens", "active", "total", "samples")


@dataclass(frozen=True)
class Runs:
    """ids [n]; compute, size (parameters), tokens, loss [n], all positive; budget [n]: index of the isoFLOP group, -1
    for none, ascending in compute; setting [n]: rows with the same number differ by their seeds alone.

    Where the table tells: unique_tokens [n], different ones among the tokens; active and total [n], parameters that a
    token meets and all of them (sparse models); samples [n], rows or images seen."""

    ids: np.ndarray
    compute: np.ndarray
    size: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    budget: np.ndarray
    setting: np.ndarray
    unique_tokens: np.ndarray | None = None
    active: np.ndarray | None = None
    total: np.ndarray | None = None
    samples: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def budgets(self) -> int:
        return int(self.budget.max(initial=-1)) + 1

    def inputs(self) -> dict[str, np.ndarray]:
        """What a law may ask for, by name; the optional ones only where the table tells them."""
        always = {"compute": self.compute, "parameters": self.size, "tokens": self.tokens}
        return always | {name: values for name in OPTIONAL_INPUTS if (values := getattr(self, name)) is not None}

    def select(self, keep: np.ndarray) -> Runs:
        """The rows of a mask or an index array, budgets numbered anew."""
        kept = self.budget[keep]
        numbers = {int(old): new for new, old in enumerate(np.unique(kept[kept >= 0]))}
        budget = np.array([numbers.get(int(b), -1) for b in kept], dtype=np.int64)
        return Runs(
            self.ids[keep],
            self.compute[keep],
            self.size[keep],
            self.tokens[keep],
            self.loss[keep],
            budget,
            self.setting[keep],
            **{name: values[keep] for name in OPTIONAL_INPUTS if (values := getattr(self, name)) is not None},
        )


def size_column(table: RunTable) -> str:
    """The parameter convention to use: the first of matmul-only, without embedding, total that every row has.

    Raises GnomonError when the table has none of them.
    """
    for name in SIZE_COLUMNS:
        if name in table and bool(np.isfinite(table[name]).all()):
            return name
    partial = [name for name in SIZE_COLUMNS if name in table and bool(np.isfinite(table[name]).any())]
    if partial:
        return max(partial, key=lambda name: int(np.isfinite(table[name]).sum()))
    raise GnomonError(f"run table: no column of model sizes; one of {', '.join(SIZE_COLUMNS)} is needed")


def losses_of(table: RunTable, metric: str) -> np.ndarray:
    """The metric's column. Raises GnomonError when it is missing or text."""
    if metric not in table:
        known = [n for n in table.columns if n.startswith(("bits_per_byte_", "loss_nats_"))]
        raise GnomonError(f"run table: no column {metric!r} to forecast; it has {', '.join(known) or 'no losses'}")
    column = table[metric]
    if column.dtype.kind != "f":
        row, value = _first_text(column)
        raise GnomonError(f"run table: row {row}, column {metric} holds text, {value!r}; losses are numbers")
    return column


def _first_text(column: np.ndarray) -> tuple[int, str]:
    """Row (from 1) and value of the first entry that is no number."""
    for row, value in enumerate(column.tolist(), start=1):
        try:
            float(value)
        except ValueError:
            if value:
                return row, str(value)
    return 1, str(column[0])


def masks(table: RunTable, metric: str) -> dict[str, np.ndarray]:
    """What keeps a row out of a fit, as masks by reason."""
    loss, size = losses_of(table, metric), table[size_column(table)]
    status = table["status"]
    trunk = table["trunk"]
    infinite = np.isinf(loss) | np.isinf(size) | np.isinf(table["tokens"]) | np.isinf(table["flops"])
    return {
        "diverged": ~np.isin(status, ("", "done", "unfinished")),
        "unfinished": status == "unfinished",
        "missing": np.isnan(loss) | np.isnan(table["flops"]) | np.isnan(size) | np.isnan(table["tokens"]),
        "not_positive": (loss <= 0) | (table["flops"] <= 0) | (size <= 0) | (table["tokens"] <= 0) | infinite,
        "unannealed": ~table["annealed"],
        "trunk": trunk & ~trunk.all() if len(trunk) else trunk,
        "registered": table["registered"],
        "duplicate": duplicates(table, loss),
    }


def duplicates(table: RunTable, loss: np.ndarray) -> np.ndarray:
    """Rows that repeat an earlier one: the same run id, or the same shape, tokens, compute and loss to the last digit.

    A run's rows before its rate's decay are checkpoints, no repetitions.
    """
    repeated = np.zeros(len(table), dtype=bool)
    final = np.flatnonzero(table["annealed"] & ~np.isnan(loss))
    values = (table[size_column(table)], table["tokens"], table["flops"], loss)
    _mark_repeated(repeated, final, [np.nan_to_num(v[final], nan=-1.0) for v in values])
    named = final[table["run_id"][final] != ""]
    _mark_repeated(repeated, named, [table["run_id"][named]])
    return repeated


def _mark_repeated(repeated: np.ndarray, rows: np.ndarray, keys: list[np.ndarray]) -> None:
    """Sets repeated at those of the rows whose keys an earlier row has."""
    if len(rows) < 2:
        return
    order = np.lexsort([rows, *keys])  # the last key sorts first; rows break ties, so the earliest leads its group
    same = np.ones(len(rows) - 1, dtype=bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    repeated[rows[order[1:][same]]] = True


def admissible(table: RunTable, metric: str) -> Runs:
    """The rows a law may be fitted to; of more than MOST_ROWS, the best of their compute and a sample of the rest.

    Raises GnomonError when the table has no sizes or no such metric.
    """
    bad = masks(table, metric)
    keep = ~np.any(list(bad.values()), axis=0) if len(table) else np.zeros(0, dtype=bool)
    if keep.sum() > MOST_ROWS:
        keep = _thinned(keep, table["flops"], losses_of(table, metric))
    kept = table.select(keep)
    size, compute = kept[size_column(table)], kept["flops"]
    return Runs(
        np.array(table.ids(), dtype=object)[keep],
        compute,
        size,
        kept["tokens"],
        losses_of(kept, metric),
        _budget_numbers(kept["budget"], compute, size),
        _setting_numbers(kept, size),
        **_optional(kept),
    )


def _optional(table: RunTable) -> dict[str, np.ndarray]:
    """The optional inputs that the rows tell. Rows without unique tokens repeat nothing; the others need every row."""
    found: dict[str, np.ndarray] = {}
    if "unique_tokens" in table and bool((table["unique_tokens"] > 0).any()):
        given = np.where(table["unique_tokens"] > 0, table["unique_tokens"], np.inf)
        found["unique_tokens"] = np.minimum(given, table["tokens"])
    sources = {"active": "parameters_active", "total": "parameters_total", "samples": "samples"}
    for name, source in sources.items():
        if source in table and table[source].dtype.kind == "f" and len(table) and bool((table[source] > 0).all()):
            found[name] = table[source]
    return found


def _thinned(keep: np.ndarray, compute: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """At most MOST_ROWS of the rows: those that no cheaper one beats (a quarter at most), and every so many-th by
    compute."""
    rows = np.flatnonzero(keep)
    order = rows[np.argsort(compute[rows], kind="stable")]
    best = order[loss[order] <= np.minimum.accumulate(loss[order])]
    best = best[np.linspace(0, len(best) - 1, min(len(best), MOST_ROWS // 4)).astype(np.int64)]
    even = order[np.linspace(0, len(order) - 1, MOST_ROWS - len(best)).astype(np.int64)]
    thin = np.zeros(len(keep), dtype=bool)
    thin[np.concatenate([best, even])] = True
    return thin


def _setting_numbers(table: RunTable, size: np.ndarray) -> np.ndarray:
    columns = [np.nan_to_num(table[name], nan=-1.0) for name in SETTING] + [size]
    if not len(table):
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _budget_numbers(budget: np.ndarray, compute: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Index of each row's isoFLOP group, ascending in compute; a run of no group has -1.

    Nominal budgets are used where the table has any, and need two sizes. Else runs within 10 % of compute of the
    group's smallest belong together, if there are three sizes; fewer than three
    such groups are taken for chance.
    """
    nominal = bool(np.isfinite(budget).any())
    groups = np.where(np.isfinite(budget), budget, -1.0) if nominal else _by_compute(compute)
    numbers = np.full(len(compute), -1, dtype=np.int64)
    fewest = 2 if nominal else 3
    found = [g for g in np.unique(groups[groups >= 0]) if len(np.unique(size[groups == g])) >= fewest]
    if not nominal and len(found) < 3:
        found = []
    found.sort(key=lambda g: float(np.median(compute[groups == g])))
    for number, group in enumerate(found):
        numbers[groups == group] = number
    return numbers


def _by_compute(compute: np.ndarray) -> np.ndarray:
    groups = np.zeros(len(compute))
    start, group = 0.0, -1
    for i in np.argsort(compute, kind="stable"):
        if compute[i] > 1.1 * start:
            start, group = compute[i], group + 1
        groups[i] = group
    return groups
