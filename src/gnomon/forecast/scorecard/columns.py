"""One .csv or .csv.gz file as columns: text stays text, numbers become floats, missing is NaN or "".

No column is an integer: 6ND of a real run overflows 64 bits.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from pathlib import Path

import numpy as np

from gnomon.common.errors import GnomonError

_TRUE = {"1", "1.0", "true", "yes"}
_MISSING = {"", "nan", "none", "null", "na"}
# Rows that their own source sets aside.
_EXCLUDING = ("excluded_by_epoch", "excluded", "outlier")
# Reasons that speak about a parabola through the group, not about the run: those rows stay.
_SOUND_REASONS = {"off_center", "too_few_points", "weak_curvature", "near_duplicate_params"}


class File:
    """A file's columns, by name."""

    def __init__(self, path: Path, columns: dict[str, np.ndarray], digest: str) -> None:
        self.path, self._columns, self.hash = path, columns, digest
        self._numbers: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()))) if self._columns else 0

    @property
    def stem(self) -> str:
        """File name without .csv or .csv.gz."""
        return self.path.name.removesuffix(".gz").removesuffix(".csv")

    def text(self, name: str) -> np.ndarray:
        return self._columns[name]

    def number(self, name: str) -> np.ndarray:
        """The column as float64; all NaN when there is none. Raises GnomonError on text."""
        if name not in self._columns:
            return np.full(len(self), np.nan)
        if name not in self._numbers:
            values = self._columns[name].tolist()
            parsed = np.full(len(values), np.nan)
            for i, value in enumerate(values):
                if value.strip().lower() not in _MISSING:
                    try:
                        parsed[i] = float(value)
                    except ValueError:
                        where = f"{self.path}: row {i + 1}, column {name}"
                        raise GnomonError(f"{where} holds {value!r}; a number is expected") from None
            self._numbers[name] = parsed
        return self._numbers[name]

    def flag(self, name: str, default: bool) -> np.ndarray:
        if name not in self._columns:
            return np.full(len(self), default)
        return np.array([v.strip().lower() in _TRUE for v in self._columns[name].tolist()])

    def excluded(self) -> np.ndarray:
        """Rows that the source itself calls outliers or copies, by its column `reason` where it gives one."""
        marked = np.any([self.flag(name, False) for name in _EXCLUDING], axis=0)
        return marked & ~np.isin(self.text("reason"), list(_SOUND_REASONS)) if "reason" in self else marked

    def ids(self) -> np.ndarray:
        """run_id, or the row's number where there is none."""
        if "run_id" in self:
            return self._columns["run_id"]
        return np.array([f"row {i + 1}" for i in range(len(self))], dtype=np.str_)

    def metrics(self) -> np.ndarray:
        """metric_name of each row, "loss" where there is none."""
        return self.text("metric_name") if "metric_name" in self else np.full(len(self), "loss")

    def budgets(self) -> np.ndarray:
        """Nominal compute of each row's isoFLOP group, NaN for none: `flops_budget`; or the median compute of the rows
        that share an `isoflop_tag`; or `flops_counted`, `flops_C` to three digits, where enough values repeat (which
        the family checks, see families.nominal_budgets)."""
        if "flops_budget" in self:
            return self.number("flops_budget")
        if "isoflop_tag" in self:
            return _medians(self.text("isoflop_tag"), self.number("flops_C"))
        return _rounded(self.number("flops_counted" if "flops_counted" in self else "flops_C"))


def _rounded(values: np.ndarray) -> np.ndarray:
    """To three digits, so that a count and its budget agree."""
    return np.array([float(f"{v:.2e}") for v in values])


def _medians(tags: np.ndarray, values: np.ndarray) -> np.ndarray:
    budgets = np.full(len(tags), np.nan)
    for tag in np.unique(tags):
        if tag:
            budgets[tags == tag] = np.median(values[tags == tag])
    return budgets


def read_file(path: Path) -> File:
    """Raises GnomonError, in one line, when the file is unreadable or a row has another number of fields."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise GnomonError(f"{path}: not readable as CSV ({error})") from None
    header = [name.strip() for name in rows[0]] if rows else []
    for i, row in enumerate(rows[1:]):
        if len(row) != len(header):
            raise GnomonError(f"{path}: row {i + 1} has {len(row)} fields, the header {len(header)}")
    columns = list(zip(*rows[1:], strict=True)) or [()] * len(header)
    return File(path, {n: np.array(c, dtype=np.str_) for n, c in zip(header, columns, strict=True)}, digest)
