"""Rate and batch: where the best ones lie as powers of size and tokens, from runs that swept both.

    ln L = h(cell) + (x - x*, z - z*) K (x - x*, z - z*)',   x = ln rate, z = ln batch
    x* = r0 + r_N ln N + r_D ln D,   z* = b0 + b_N ln N + b_D ln D

A cell is one (N, D). arXiv:2503.04715 fits powers to each cell's best run (rate ~ N^-0.713 D^0.307, batch ~ D^0.571);
the best of a grid jumps by whole steps of it, so here one bowl K serves all cells, near their minima, and the powers
are those of its bottom. Everything is linear least squares: K and K x* are coefficients of the same sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.common.errors import GnomonError

SOURCE = "arXiv:2503.04715"
WINDOW = 0.02  # of log loss above a cell's best: how far the bowl is taken for a parabola
ROUNDS = 3
SETTINGS_PER_CELL = 6


@dataclass(frozen=True)
class Tuning:
    """curvature [2, 2] of log loss by log rate and log batch (half of it is K); powers [3, 2]: constant, ln N and ln D
    of log rate and log batch at the bottom. scatter: deviation of log loss about the bowl. cells: how many spoke."""

    curvature: np.ndarray
    powers: np.ndarray
    scatter: float
    cells: int

    def best(self, size: float, tokens: float) -> tuple[float, float]:
        """The rate and the batch, in the units of the table, that reach the lowest loss."""
        rate, batch = np.exp(np.array([1.0, np.log(size), np.log(tokens)]) @ self.powers)
        return float(rate), float(batch)

    def excess(self, size: float, tokens: float, rate: float, batch: float) -> float:
        """Log loss that this rate and batch cost above the best ones: how badly a run is tuned (0 at best)."""
        away = np.log([rate, batch]) - np.log(self.best(size, tokens))
        return float(0.5 * away @ self.curvature @ away)

    def best_rate(self, size: float, tokens: float, batch: float) -> float:
        """The rate to use where the batch is given."""
        rate, best = np.log(self.best(size, tokens))
        along = self.curvature[0, 1] / self.curvature[0, 0]
        return float(np.exp(rate - along * (np.log(batch) - best)))


def fit_tuning(
    size: np.ndarray, tokens: np.ndarray, rate: np.ndarray, batch: np.ndarray, loss: np.ndarray, window: float = WINDOW
) -> Tuning:
    """The bowl and its powers from runs [n] with their rate (any unit) and batch (any unit), all positive.

    Rows of one (size, tokens) form a cell; a cell needs SETTINGS_PER_CELL runs. Runs count the less the higher they
    stand above the bowl's bottom. Raises GnomonError when fewer than two cells remain, or when the runs do not curve
    upwards in both rate and batch.
    """
    arrays = [np.asarray(a, dtype=float) for a in (size, tokens, rate, batch, loss)]
    good = np.all([np.isfinite(a) & (a > 0) for a in arrays], axis=0)
    n, d, x, z, y = (np.log(a[good]) for a in arrays)
    cell = np.unique(np.stack([n, d], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    full = np.bincount(cell, minlength=1) >= SETTINGS_PER_CELL
    keep = full[cell] if len(cell) else np.zeros(0, dtype=bool)
    n, d, x, z, y, cell = (a[keep] for a in (n, d, x, z, y, cell))
    cell = np.unique(cell, return_inverse=True)[1].reshape(-1)
    if not len(cell) or cell.max() < 1:
        raise GnomonError(
            f"rate and batch: {len(np.unique(cell))} cells of one size and length with {SETTINGS_PER_CELL} settings; "
            "two are needed"
        )
    middle = np.array([a.mean() for a in (n, d, x, z)])
    n, d, x, z = (a - m for a, m in zip((n, d, x, z), middle, strict=True))
    best = np.full(cell.max() + 1, np.inf)
    np.minimum.at(best, cell, y)
    above = y - best[cell]
    for _ in range(ROUNDS):
        curvature, powers, fitted, bottom = _bowl(n, d, x, z, y, cell, np.exp(-0.5 * (above / window) ** 2))
        above = np.maximum(fitted - bottom[cell], y - bottom[cell])
    if not (np.linalg.eigvalsh(curvature) > 0).all():
        raise GnomonError("rate and batch: loss does not curve upwards in both; sweep wider, on both sides of the best")
    # From logarithms about the middle to plain ones.
    powers[0] += middle[2:] - middle[:2] @ powers[1:]
    near = above <= window
    scatter = float(np.sqrt(np.mean((y - fitted)[near] ** 2))) if near.any() else float("nan")
    return Tuning(curvature, powers, scatter, int(cell.max()) + 1)


def _bowl(
    n: np.ndarray, d: np.ndarray, x: np.ndarray, z: np.ndarray, y: np.ndarray, cell: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Curvature [2, 2], powers [3, 2], fitted log loss [n] and each cell's lowest [cells]: weighted least squares."""
    cells = np.eye(cell.max() + 1)[cell]
    ones = np.ones_like(x)
    pulls = [a * b for a in (x, z) for b in (ones, n, d)]
    design = np.column_stack([cells, 0.5 * x**2, x * z, 0.5 * z**2, *pulls])
    root = np.sqrt(weight)
    solution = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    level, (xx, xz, zz), pull = solution[: cells.shape[1]], solution[cells.shape[1] :][:3], solution[-6:]
    curvature = np.array([[xx, xz], [xz, zz]])
    # The slope at the origin is -curvature @ bottom, for the constant and for each power.
    powers = np.linalg.lstsq(curvature, -pull.reshape(2, 3), rcond=None)[0].T
    place = np.stack([ones, n, d], axis=1) @ powers
    depth = 0.5 * np.einsum("ni,ij,nj->n", place, curvature, place)
    bottom = np.zeros(cells.shape[1])
    bottom[cell] = level[cell] - depth
    return curvature, powers, design @ solution, bottom
