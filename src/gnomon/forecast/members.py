"""The laws of one forecast, fitted: to the isoFLOP minima, or to all runs as a surface, with draws of both.

A draw perturbs every run by its own noise and refits everything from there: parabolas, allocation, laws. What comes out
is how far the forecast moves when the ladder is run again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.forecast import isoflop
from gnomon.forecast.fitting import projection
from gnomon.forecast.kriging import Kriged, KrigedSurface, Setting, fit_kriged
from gnomon.forecast.laws import Inputs, Law
from gnomon.forecast.noise import SeedNoise
from gnomon.forecast.runs import Runs

# A relative misfit below this is finer than any law of loss is known to be.
SMALLEST_SCALE = 3e-4
# Residuals beyond two deviations count by their size, not their square.
KNEE = 2.0
UNDER_TUNED_KNEE = 0.5
SURFACE_RUNS, SURFACE_SIZES, SURFACE_LENGTHS = 8, 3, 3


@dataclass(frozen=True)
class Member:
    """A fitted law. family: minima, surface or valley. scale: relative misfit that its noise was taken to be."""

    law: Law
    family: str
    point: projection.Solution | Kriged
    draws: projection.Solution | Kriged | None
    scale: float

    def misfit_deviation(self, inputs: Inputs) -> np.ndarray:
        """[t]: deviation of log loss about the law that the law itself expects at these runs; 0 where it expects
        none."""
        if isinstance(self.point, Kriged):
            return self.point.misfit_deviation(inputs)
        return np.zeros(len(inputs["compute"]))


@dataclass(frozen=True)
class Shape:
    """What the isoFLOP groups say: parabolas, minima, allocation (point and draws), and rows' noise."""

    parabolas: list[isoflop.Parabola]
    minima: list[isoflop.Minimum]
    refused: list[tuple[int, str]]
    allocation: isoflop.Allocation | None
    allocation_draws: isoflop.Allocation | None
    row_deviation: np.ndarray  # [n] of log loss: seeds and scatter
    scatter: float  # deviation beyond the seeds; NaN where it cannot be told

    @property
    def curvature(self) -> float:
        """Of log loss over log size at the minimum, the budgets weighted by how well each knows it."""
        weight = np.array([m.curvature_deviation**-2 for m in self.minima])
        return float((weight * [m.curvature for m in self.minima]).sum() / weight.sum())


def shape_of(runs: Runs, seeds: SeedNoise, log_loss_Bn: np.ndarray | None = None) -> Shape:
    """Parabolas, minima and allocation of the table; draws of the allocation where perturbed log losses are given."""
    fitted, refused = isoflop.parabolas(runs)
    scatter = float(np.sqrt(isoflop.scatter_variance(fitted, seeds.deviation**2)))
    deviation = np.sqrt(seeds.at(runs.compute) ** 2 + (0.0 if np.isnan(scatter) else scatter**2))
    minima = [isoflop.minimum_of(p, runs, deviation**2) for p in fitted]
    if not minima:
        return Shape([], [], refused, None, None, deviation, scatter)
    computes = np.array([m.compute for m in minima])
    spreads = np.array([m.log_size_deviation for m in minima])
    point = isoflop.allocate(computes, np.log([[m.size for m in minima]]), spreads)
    draws = None
    if log_loss_Bn is not None:
        sizes = np.stack([p.minimum(log_loss_Bn)[1] for p in fitted], axis=1)
        draws = isoflop.allocate(computes, sizes, spreads)
    return Shape(fitted, minima, refused, point, draws, deviation, scatter)


def fit_members(
    runs: Runs,
    laws: list[Law],
    shape: Shape,
    seeds: SeedNoise,
    log_loss_Bn: np.ndarray | None = None,
    worse: float = KNEE,
    setting: Setting | None = None,
) -> list[Member]:
    """Every law that the table has enough for: laws of compute need minima, laws of size and tokens need runs.

    worse: the loss's knee for runs above a surface, see projection.Loss. setting: of the surface with a misfit, which
    is left out without one.
    """
    members = []
    for law in laws:
        if law.inputs == ("compute",):
            if len(shape.minima) >= max(3, law.minimum_points - 1):
                members.append(_fit_minima(law, shape, log_loss_Bn))
        elif law.family == "valley":
            if _enough_for_surface(runs) and runs.budgets >= 3:
                members.append(_fit_valley(law, runs, seeds, log_loss_Bn))
        elif isinstance(law, KrigedSurface):
            if setting is not None and _enough_for_surface(runs):
                members.append(_fit_kriged(law, runs, setting, 0 if log_loss_Bn is None else len(log_loss_Bn)))
        elif _enough_for_surface(runs):
            members.append(_fit_surface(law, runs, seeds, log_loss_Bn, worse))
    return members


def _enough_for_surface(runs: Runs) -> bool:
    return (
        len(runs) >= SURFACE_RUNS
        and len(np.unique(runs.size)) >= SURFACE_SIZES
        and len(np.unique(runs.tokens)) >= SURFACE_LENGTHS
    )


def _fit_minima(law: Law, shape: Shape, log_loss_Bn: np.ndarray | None) -> Member:
    inputs = {"compute": np.array([m.compute for m in shape.minima])}
    losses = np.array([m.loss for m in shape.minima])
    law = law.centred(inputs)
    spread = np.maximum([m.log_loss_deviation for m in shape.minima], SMALLEST_SCALE)
    spread = isoflop.aged(spread, inputs["compute"], law.stray)
    point = projection.solve(law, inputs, losses, projection.Loss(spread))
    # When the law misses its minima by more than they are uncertain, the law is what is uncertain.
    misfit = max(1.0, float(np.sqrt(2 * point.objective[0] / max(1, len(losses) - law.minimum_points + 1))))
    loss = projection.Loss(spread * misfit)
    point = projection.solve(law, inputs, losses, loss, near=point)
    draws = None
    if log_loss_Bn is not None:
        drawn = np.exp(np.stack([p.minimum(log_loss_Bn)[0] for p in shape.parabolas], axis=1))
        draws = projection.solve(law, inputs, drawn, loss, near=point)
    return Member(law, "minima", point, draws, float(spread.mean() * misfit))


def _fit_valley(law: Law, runs: Runs, seeds: SeedNoise, log_loss_Bn: np.ndarray | None) -> Member:
    """The runs near their budget's minimum, each counted the less the higher it stands above it."""
    nearness = isoflop.nearness(runs)
    kept = nearness > isoflop.SMALLEST_NEARNESS
    runs, far = runs.select(kept), 1 / np.sqrt(nearness[kept])
    inputs = {name: values for name, values in runs.inputs().items() if name in law.inputs}
    law = law.centred(inputs)
    spare = max(1, len(runs) - len(law.coefficients) - len(law.exponents))
    scale, point = max(seeds.deviation, 0.003), None
    for _ in range(3):  # the misfit of one fit is the noise of the next
        spread = isoflop.aged(scale * far, runs.compute, law.stray)
        loss = projection.Loss(spread, KNEE, KNEE)
        point = projection.solve(law, inputs, runs.loss, loss, near=point)
        residual = np.abs(point.predict(inputs)[0] / runs.loss - 1) * scale / spread
        robust = 1.4826 * float(np.median(residual)) * np.sqrt(len(runs) / spare)
        scale = max(robust, seeds.deviation, SMALLEST_SCALE)
    assert point is not None
    draws = None
    if log_loss_Bn is not None:
        draws = projection.solve(law, inputs, np.exp(log_loss_Bn[:, kept]), loss, near=point)
    return Member(law, law.family, point, draws, scale)


def _fit_kriged(law: Law, runs: Runs, setting: Setting, draws: int) -> Member:
    point = fit_kriged(runs, setting)
    residual = np.abs(np.log(point.predict(runs.inputs())[0] / runs.loss))
    scale = max(1.4826 * float(np.median(residual)), SMALLEST_SCALE)
    return Member(law, law.family, point, point.drawn(draws, seed=0) if draws else None, scale)


def _fit_surface(law: Law, runs: Runs, seeds: SeedNoise, log_loss_Bn: np.ndarray | None, worse: float) -> Member:
    inputs = {name: values for name, values in runs.inputs().items() if name in law.inputs}
    law = law.centred(inputs)
    constants = law.minimum_points - 1
    scale = max(seeds.deviation, 0.003)
    loss = projection.Loss(np.full(len(runs), scale), KNEE, worse)
    point = projection.solve(law, inputs, runs.loss, loss)
    for _ in range(2):  # the misfit of one fit is the noise of the next
        residual = np.abs(point.predict(inputs)[0] / runs.loss - 1)
        robust = 1.4826 * float(np.median(residual)) * np.sqrt(len(runs) / max(1, len(runs) - constants))
        scale = max(robust, seeds.deviation, SMALLEST_SCALE)
        loss = projection.Loss(np.full(len(runs), scale), KNEE, worse)
        point = projection.solve(law, inputs, runs.loss, loss, near=point)
    draws = None
    if log_loss_Bn is not None:
        draws = projection.solve(law, inputs, np.exp(log_loss_Bn), loss, near=point)
    return Member(law, law.family, point, draws, scale)
