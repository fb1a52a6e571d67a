"""The forecast of a table: every law that it can carry, weighed and combined.

Three families speak: laws of the isoFLOP minima (loss as a function of compute at its best size), surfaces (loss as a
function of size and tokens) fitted to all runs, and the valley, which is both. All are shown. Published ladders show no
winner, so weights come from how well each law forecast the table's own top budgets from the rest, and from its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast import diagnosis, intervals
from gnomon.forecast.isoflop import Allocation, Minimum
from gnomon.forecast.laws import Law, standard_laws
from gnomon.forecast.laws.valley import Valley
from gnomon.forecast.members import KNEE, UNDER_TUNED_KNEE, Member, Shape, fit_members, shape_of
from gnomon.forecast.noise import SeedNoise, seed_noise
from gnomon.forecast.record import expected_errors
from gnomon.forecast.rolling import Trial, trials
from gnomon.forecast.runs import Runs, admissible, size_column
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import LEVELS, Finding, Forecast, Target, unit_of

DRAWS = 300


@dataclass(frozen=True)
class Fit:
    """What the table says. predict(target) asks it; minima, allocation, noise, trials and findings show why."""

    metric: str
    size_column: str
    runs: Runs
    members: list[Member]
    weights: np.ndarray
    shape: Shape
    noise: SeedNoise
    trials: list[Trial]
    findings: list[Finding]
    table_hash: str
    seed: int = 0
    rate: float = field(default=0.0)  # error per decade of extrapolation, see intervals.error_rate

    @property
    def minima(self) -> list[Minimum]:
        return self.shape.minima

    @property
    def last_point(self) -> float:
        """The best loss among the runs."""
        return float(self.runs.loss.min())

    @property
    def row_deviation(self) -> float:
        """Deviation of one run's log loss about the law: seeds and scatter."""
        scatter = [m.scale for m in self.members if m.family == "surface"] or [self.noise.deviation]
        known = self.shape.scatter
        return float(np.hypot(self.noise.deviation, known)) if not np.isnan(known) else float(max(scatter))

    def best_size(self, compute: float) -> float:
        """Parameters that reach the lowest loss at this compute: from the minima, or else along the valley's bed.

        Raises GnomonError when no budget brackets its minimum and there is no valley.
        """
        if self.shape.allocation is None:
            for member in self.members:
                if isinstance(member.law, Valley):
                    return member.law.bed(member.point.parameters(), compute)
            raise GnomonError("best size: no budget brackets its minimum; add sizes on both sides of the best one")
        return float(np.exp(self.shape.allocation.log_size(compute)[0]))

    def predict(self, target: Target, outcome_stderr: float = 0.0) -> Forecast:
        """The target's metric, with its interval.

        outcome_stderr: standard error (in the metric's unit) of the outcome's evaluation over rows, where these are not
        the rows that the rungs were read on; see also bridge().
        """
        points, _ = self._laws_at(target)
        result = self.spread(target, outcome_stderr)
        first = int(self.weights.argmax())
        quantiles = {str(level): float(q) for level, q in zip(LEVELS, result.quantiles(), strict=True)}
        return Forecast(
            metric=self.metric,
            unit=unit_of(self.metric),
            median=quantiles["0.5"],
            quantiles=quantiles,
            law=self.members[first].law.name,
            parameters=self.members[first].point.parameters(),
            shares=intervals.shares(result.variances),
            components=self._components(points),
            warnings=self._warnings(target),
            last_point=self.last_point,
            seen={"rows": len(self.runs), "table_hash": self.table_hash, "rate_per_decade": self.rate},
            target={"compute": target.compute, "parameters": target.parameters, "tokens": target.tokens},
        )

    def spread(self, target: Target, outcome_stderr: float = 0.0) -> intervals.Spread:
        """What the target's log loss may be, as a sample; see predict()."""
        points, draws = self._laws_at(target)
        distance = float(np.log10(target.compute / self.runs.compute.max()))
        variance = max(self.row_deviation**2, 1e-300)
        return intervals.spread(
            points,
            draws,
            self.weights,
            reach=intervals.SPREAD_PER_TRIAL_ERROR * self.rate * max(distance, 0.0),
            seed_share=min(1.0, self.noise.deviation**2 / variance),
            evaluation=outcome_stderr / float(np.exp(self.weights @ points)),
            outcome=float(self.noise.at(target.compute)),
            seed=self.seed + 1,
        )

    def target(self, compute: float, parameters: float | None = None) -> Target:
        """The run of that compute and size; the best size when parameters is None, tokens as in the table's runs.

        Raises GnomonError when a best size is wanted and the table knows none, see best_size().
        """
        size = self.best_size(compute) if parameters is None else parameters
        cost = np.log(self.runs.compute / self.runs.size / self.runs.tokens)  # operations a parameter and token
        slope, level = np.polyfit(np.log(self.runs.size), cost, 1)
        return Target(compute, size, compute / size / float(np.exp(level + slope * np.log(size))))

    def curve(self, computes: Sequence[float]) -> list[dict[str, float]]:
        """The forecast along the best allocation, for a figure: {compute, median, q05, q25, q75, q95} at each compute.

        Raises GnomonError as best_size() does.
        """
        rows = []
        for compute in computes:
            q = self.predict(self.target(compute)).quantiles
            row = {"q05": q["0.05"], "q25": q["0.25"], "q75": q["0.75"], "q95": q["0.95"]}
            rows.append({"compute": compute, "median": q["0.5"], **row})
        return rows

    def _laws_at(self, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Log loss of each law at the target: points [M], draws [M, B]."""
        at = {name: np.array([getattr(target, name)]) for name in ("compute", "parameters", "tokens")}
        point_penalty, draw_penalty = self._off_optimum(target)
        points, draws = [], []
        for member in self.members:
            assert member.draws is not None  # fit() always draws
            minima = member.family == "minima"
            points.append(np.log(member.point.predict(at)[0, 0]) + (point_penalty if minima else 0.0))
            draws.append(np.log(member.draws.predict(at)[:, 0]) + (draw_penalty if minima else 0.0))
        return np.array(points), np.stack(draws)

    def _off_optimum(self, target: Target) -> tuple[float, np.ndarray]:
        """What log loss gains because the target is not of the best size: curvature * (log distance)^2."""
        point, draws = self.shape.allocation, self.shape.allocation_draws
        if point is None or draws is None:
            return 0.0, np.zeros(1)
        return float(self._penalty(point, target)[0]), self._penalty(draws, target)

    def _penalty(self, allocation: Allocation, target: Target) -> np.ndarray:
        return self.shape.curvature * (np.log(target.parameters) - allocation.log_size(target.compute)) ** 2

    def _components(self, points: np.ndarray) -> list[dict[str, object]]:
        return [
            {
                "name": member.law.name,
                "family": member.family,
                "median": float(np.exp(point)),
                "weight": float(weight),
                "rolling_error_pct": none_if_nan(100 * intervals.member_error(self.trials, member.law.name)),
                "parameters": member.point.parameters(),
            }
            for member, point, weight in zip(self.members, points, self.weights, strict=True)
        ]

    def _warnings(self, target: Target) -> list[str]:
        said = [f.message for f in self.findings if f.severity == "warning"]
        said += [f.message for f in diagnosis.about_target(self.runs, target)]
        if self.shape.allocation is not None:
            off = abs(np.log(target.parameters / self.best_size(target.compute)))
            if off > np.log(4):
                said.append(
                    f"the target's size is {np.exp(off):.1f} times off the best one for its compute; "
                    "the laws of the minima are stretched to reach it"
                )
        if not self.trials:
            said.append("too few budgets to hide one and forecast it: the interval's width is an assumption")
        return said


def none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def fit(
    table: RunTable,
    metric: str = "bits_per_byte_codebase",
    laws: Sequence[Law] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    under_tuned: bool = False,
) -> Fit:
    """Fit every law that the table can carry. draws: bootstrap refits; seed: of the draws.

    under_tuned: some runs may have a bad rate or batch, and a run can only be worse for it; the surfaces then follow
    the lower edge of the runs.
    laws: instead of the standard ones (laws.standard_laws(), to which your own may be appended).
    Raises GnomonError, in one line, with the doctor's first fatal finding.
    """
    findings = diagnosis.doctor(table, metric)
    diagnosis.require_sound(findings)
    worse = UNDER_TUNED_KNEE if under_tuned else KNEE
    chosen = list(laws) if laws is not None else standard_laws()
    runs = admissible(table, metric)
    noise = seed_noise(runs)
    # Rows are perturbed by their noise in the order of their names, so the forecast does not depend on the rows' order.
    runs = runs.select(np.argsort(runs.ids.astype(str), kind="stable"))
    first = shape_of(runs, noise)
    deviation = first.row_deviation
    if np.isnan(first.scatter):
        surface = [m.scale for m in fit_members(runs, chosen, first, noise) if m.family == "surface"]
        deviation = np.maximum(deviation, min(surface)) if surface else deviation
    rng = np.random.default_rng(seed)
    log_loss = np.log(runs.loss) + deviation * rng.standard_normal((draws, len(runs)))
    shape = shape_of(runs, noise, log_loss)
    members = fit_members(runs, chosen, shape, noise, log_loss, worse)
    if not members:
        raise GnomonError(
            f"{metric}: a ladder with too few rungs for a law: {len(runs)} runs at {len(np.unique(runs.size))} sizes, "
            f"{len(shape.minima)} bracketed budgets; a law needs 3 of these, or 8 runs of 3 sizes and 3 lengths"
        )
    tried = trials(runs, chosen, shape, noise, worse)
    names = [m.law.name for m in members]
    errors = [intervals.member_error(tried, n) for n in names]
    weight = intervals.weights([m.family for m in members], errors, expected_errors(names, runs))
    return Fit(
        metric=metric,
        size_column=size_column(table),
        runs=runs,
        members=members,
        weights=weight,
        shape=shape,
        noise=noise,
        trials=tried,
        findings=findings,
        table_hash=table.hash,
        seed=seed,
        rate=intervals.error_rate(tried, names, weight),
    )
