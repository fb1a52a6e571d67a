"""The loss that a fit minimises: Huber's, on relative or logarithmic residuals, with its own knee on each side.

An under-tuned run can only be worse than its law, never better, so the side above the law may count less. Rows carry
weights: counts of a bootstrap, or a power of compute for a fit that trusts big runs more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Loss:
    """Weighted Huber loss on r/scale; r = fitted/observed - 1, or ln(fitted/observed) where log is set.

    scale: relative noise of each run, [n]. knee: where squares turn to lines, in units of scale; worse is the knee on
    the side where the run lies above the law. An under-tuned run can only be worse, so a small `worse` keeps such runs
    from pulling the law up. weight: how much each row counts, [n], or [S, n] for S problems; None counts all alike.
    Huber (1964); knee 1e-3 on logarithms with scale 1 is the objective of arXiv:2203.15556 and arXiv:2404.10102.
    """

    scale: np.ndarray
    knee: float = 2.0
    worse: float = 2.0
    weight: np.ndarray | None = None
    log: bool = False

    def residual(self, ratio: np.ndarray) -> np.ndarray:
        """In units of scale, from fitted over observed loss [..., n]."""
        return (np.log(ratio) if self.log else ratio - 1.0) / self.scale

    def knees(self, residual: np.ndarray) -> np.ndarray | float:
        return self.knee if self.knee == self.worse else np.where(residual < 0, self.worse, self.knee)

    def value(self, residual: np.ndarray) -> np.ndarray:
        """Weighted sum over the last axis; residual in units of scale."""
        size = np.abs(residual)
        inner = np.minimum(size, self.knees(residual))
        size -= 0.5 * inner
        return np.einsum("...n,...n->...", inner, size if self.weight is None else np.multiply(size, self.weight, size))

    def slope(self, residual: np.ndarray) -> np.ndarray:
        """Derivative of the loss by each residual, weighted."""
        slope = np.clip(residual, -self.worse, self.knee)
        return slope if self.weight is None else slope * self.weight

    def slope_and_curvature(self, residual_Sn: np.ndarray, damping_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """slope(), and the second derivative by each residual plus damping * weights(), in few passes over memory."""
        slope = np.clip(residual_Sn, -self.worse, self.knee)
        size = np.abs(residual_Sn)
        weight = np.abs(slope)
        inside = size <= weight
        size += 1e-300
        weight /= size
        weight *= damping_S[:, None]
        weight += inside
        if self.weight is not None:
            weight *= self.weight
            slope *= self.weight
        return slope, weight

    def weights(self, residual: np.ndarray) -> np.ndarray:
        """Weights of the parabola that touches the loss here and lies above it everywhere on the same side."""
        size = np.abs(residual)
        weight = np.minimum(1.0, self.knees(residual) / np.maximum(size, 1e-300))
        return weight if self.weight is None else weight * self.weight

    def counted(self, shape: tuple[int, ...]) -> np.ndarray:
        """The rows' weights in that shape, ones where none were given."""
        return np.broadcast_to(np.ones(()) if self.weight is None else self.weight, shape)

    def of(self, problems: np.ndarray | slice) -> Loss:
        """The loss of some of the S problems."""
        if self.weight is None or np.ndim(self.weight) < 2:
            return self
        return replace(self, weight=self.weight[problems])

    def counting(self, counts_Sn: np.ndarray) -> Loss:
        """The same loss with every row taken as often as counted, for S problems."""
        return replace(self, weight=counts_Sn if self.weight is None else self.weight * counts_Sn)


def published_loss(runs: int) -> Loss:
    """Huber with knee 1e-3 on ln(fitted/observed), summed: arXiv:2203.15556 eq. 3 and arXiv:2404.10102."""
    return Loss(np.ones(runs), knee=1e-3, worse=1e-3, log=True)
