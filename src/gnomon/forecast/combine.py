"""The forecast of a table: every law that it can carry, weighed and combined.

Three families speak: laws of the isoFLOP minima (loss as a function of compute at its best size), surfaces (loss as a
function of size and tokens) fitted to all runs, and the valley, which is both. All are shown. Published ladders show no
winner, so weights come from how well each law forecast the table's own top budgets from the rest, and from its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gnomon.forecast import diagnosis, intervals
from gnomon.forecast.diagnosis.appraisal import appraise
from gnomon.forecast.diagnosis.targets import declared
from gnomon.forecast.diagnosis.trouble import Outlook
from gnomon.forecast.fallback import fallback_member, operations, usual_size
from gnomon.forecast.isoflop import Allocation, Minimum
from gnomon.forecast.kriging import KrigedSurface
from gnomon.forecast.laws import Law, standard_laws
from gnomon.forecast.laws.valley import Valley
from gnomon.forecast.learned import Learned, method_version
from gnomon.forecast.learned import learned as learned_part
from gnomon.forecast.members import KNEE, UNDER_TUNED_KNEE, Member, Shape, fit_members, shape_of
from gnomon.forecast.noise import SeedNoise, seed_noise
from gnomon.forecast.record import expected_errors, is_small, tested_ratios
from gnomon.forecast.rolling import Trial, trials
from gnomon.forecast.runs import Runs, admissible, size_column
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import LEVELS, Finding, Forecast, Target, unit_of

DRAWS = 120
# A target within this factor of the best size, in logs, of a table with this many minima is forecast as an optimum.
NEAR_BEST_SIZE, FEWEST_MINIMA = float(np.log(2.0)), 3
# Distance for which the weights of a fit are quoted where no target is named.
USUAL_DECADES = 1.5


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
    rate: float = 0.0  # error per decade of extrapolation, see intervals.error_rate
    learned: Learned = field(default_factory=learned_part)
    factor: float = 1.0  # on the width, from closed forecasts: intervals.updated_factor
    common: Mapping[str, object] = field(default_factory=dict)  # what the runs share that no law sees
    left_out: tuple[str, ...] = ()

    @cached_property
    def outlook(self) -> Outlook:
        """How hard a target is, from the runs alone."""
        return Outlook.of(self.runs)

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
        """Parameters that reach the lowest loss at this compute: from the minima, or else along the valley's bed, or
        else as the best runs divide their compute (fallback.usual_size)."""
        if self.shape.allocation is None:
            for member in self.members:
                if isinstance(member.law, Valley):
                    return member.law.best_size(member.point.parameters(), compute)
            return usual_size(self.runs, compute)
        return float(np.exp(self.shape.allocation.log_size(compute)[0]))

    def predict(self, target: Target, outcome_stderr: float = 0.0) -> Forecast:
        """The target's metric, with its interval.

        outcome_stderr: standard error (in the metric's unit) of the outcome's evaluation over rows, where these are not
        the rows that the rungs were read on; see also bridge().
        """
        points, draws = self.laws_at(target)
        weights = self.weights_at(target)
        result = self._spread(target, points, draws, weights, outcome_stderr)
        first = int(weights.argmax())
        quantiles = {str(level): float(q) for level, q in zip(LEVELS, result.quantiles(), strict=True)}
        forecast = Forecast(
            metric=self.metric,
            unit=unit_of(self.metric),
            median=quantiles["0.5"],
            quantiles=quantiles,
            law=self.members[first].law.name,
            parameters=self.members[first].point.parameters(),
            shares=intervals.shares(result.variances),
            components=self._components(target, points, weights),
            warnings=self._warnings(target),
            last_point=self.last_point,
            seen=self._seen(target, max(result.variances, key=lambda name: result.variances[name])),
            target={"compute": target.compute, "parameters": target.parameters, "tokens": target.tokens},
        )
        return appraise(forecast, self.runs, self.findings, self.common, target, self.outlook, self.left_out)

    def spread(self, target: Target, outcome_stderr: float = 0.0) -> intervals.Spread:
        """What the target's log loss may be, as a sample; see predict()."""
        return self._spread(target, *self.laws_at(target), self.weights_at(target), outcome_stderr)

    def _spread(
        self, target: Target, points: np.ndarray, draws: np.ndarray, weights: np.ndarray, outcome_stderr: float
    ) -> intervals.Spread:
        decades = self.decades(target)
        variance = max(self.row_deviation**2, 1e-300)
        small = is_small(self.runs)
        return intervals.spread(
            points,
            draws,
            self._misfits(target),
            weights,
            intervals.Reach(
                decades,
                None if small or self.members[0].family == "fallback" else self.learned.width,
                intervals.SPREAD_PER_TRIAL_ERROR * self.rate * max(decades, 0.0),
                self.factor,
            ),
            seed_share=min(1.0, self.noise.deviation**2 / variance),
            evaluation=outcome_stderr / float(np.exp(weights @ points)),
            outcome=float(self.noise.at(target.compute)),
            seed=self.seed + 1,
        )

    def expected_deviation(self, target: Target) -> float:
        """Of log loss, as the fit itself expects it: draws, misfit and disagreement of its laws."""
        points, draws = self.laws_at(target)
        parts = intervals.expected_variances(points, draws, self._misfits(target), self.weights_at(target))
        return float(np.sqrt(sum(parts)))

    def _misfits(self, target: Target) -> np.ndarray:
        at = {name: np.array([getattr(target, name)]) for name in ("compute", "parameters", "tokens")}
        return np.array([float(member.misfit_deviation(at)[0]) for member in self.members])

    def decades(self, target: Target) -> float:
        """From the largest run to the target, in powers of ten of compute; negative inside the table."""
        return float(np.log10(target.compute / self.runs.compute.max()))

    def weights_at(self, target: Target) -> np.ndarray:
        """Weight of each member for this target: by its errors in the table's trials, and by its record on other
        ladders at the target's ratio."""
        return combined_weights(
            self.members, self.trials, self.runs, self.learned, self.decades(target), self._kind(target)
        )

    def _kind(self, target: Target) -> str:
        """Which record counts: a target near the best size of a table with isoFLOP minima is an "optimum"."""
        allocation = self.shape.allocation
        if allocation is None or len(self.shape.minima) < FEWEST_MINIMA:
            return "any"
        off = abs(float(np.log(target.parameters) - allocation.log_size(target.compute)[0]))
        return "optimum" if off < NEAR_BEST_SIZE else "any"

    def _seen(self, target: Target, largest: str) -> dict[str, object]:
        """What the forecast rests on, kept with it. largest: the largest share of its variance."""
        seen: dict[str, object] = {"rows": len(self.runs), "table_hash": self.table_hash}
        seen |= {"largest_share": largest, "shrink": intervals.SHRINK[largest]}
        seen |= {"rate_per_decade": self.rate, "method": method_version(), "width_factor": self.factor}
        if is_small(self.runs):
            return seen
        ratio = min(self.learned.coverage, key=lambda k: abs(np.log10(float(k)) - self.decades(target)))
        return seen | {
            "learned_from": list(self.learned.sources),
            "coverage_record": {"ratio": float(ratio), **self.learned.coverage[ratio]},
        }

    def target(self, compute: float, parameters: float | None = None) -> Target:
        """The run of that compute and size; the best size when parameters is None, tokens as in the table's runs."""
        size = self.best_size(compute) if parameters is None else parameters
        return Target(compute, size, compute / size / operations(self.runs, size))

    def curve(self, computes: Sequence[float]) -> list[dict[str, float]]:
        """The forecast along the best allocation, for a figure: {compute, median, q05, q25, q75, q95} at each."""
        rows = []
        for compute in computes:
            q = self.predict(self.target(compute)).quantiles
            row = {"q05": q["0.05"], "q25": q["0.25"], "q75": q["0.75"], "q95": q["0.95"]}
            rows.append({"compute": compute, "median": q["0.5"], **row})
        return rows

    def laws_at(self, target: Target) -> tuple[np.ndarray, np.ndarray]:
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

    def _components(self, target: Target, points: np.ndarray, weights: np.ndarray) -> list[dict[str, object]]:
        names = [member.law.name for member in self.members]
        expected = expected_errors(names, self.runs, self.learned, self.decades(target), self._kind(target))
        return [
            {
                "name": member.law.name,
                "family": member.family,
                "median": float(np.exp(point)),
                "weight": float(weight),
                "rolling_error_pct": none_if_nan(100 * intervals.member_error(self.trials, member.law.name)),
                "expected_error_pct": 100 * error,
                "tested_at": tested_ratios(self.runs),
                "parameters": member.point.parameters(),
            }
            for member, point, weight, error in zip(self.members, points, weights, expected, strict=True)
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
    left_out: Iterable[str] | str = (),
    factor: float = 1.0,
) -> Fit:
    """Fit every law that the table can carry. draws: bootstrap refits; seed: of the draws.

    under_tuned: some runs may have a bad rate or batch, and a run can only be worse for it; the surfaces then follow
    the lower edge of the runs.
    laws: instead of the standard ones (laws.standard_laws(), to which your own may be appended).
    left_out: sources that the learned part must not have seen, such as the one that is being scored. factor: on the
    interval's width, as intervals.updated_factor() makes it from closed forecasts.
    Raises GnomonError, in one line, where no run can be used at all; short of that, a number that is not worth much is
    flagged by predict().
    """
    findings = diagnosis.doctor(table, metric)
    diagnosis.require_sound(findings)
    worse = UNDER_TUNED_KNEE if under_tuned else KNEE
    chosen = list(laws) if laws is not None else [*standard_laws(left_out), KrigedSurface()]
    known = learned_part(left_out)
    runs = admissible(table, metric)
    noise = seed_noise(runs)
    # Rows are perturbed by their noise in the order of their names, so the forecast does not depend on the rows' order.
    runs = runs.select(np.argsort(runs.ids.astype(str), kind="stable"))
    deviation = _row_deviation(runs, chosen, noise)
    rng = np.random.default_rng(seed)
    log_loss = np.log(runs.loss) + deviation * rng.standard_normal((draws, len(runs)))
    shape = shape_of(runs, noise, log_loss)
    members = fit_members(runs, chosen, shape, noise, log_loss, worse, known.setting)
    if not members:
        members = [fallback_member(runs, draws, seed)]
    tried = trials(runs, chosen, shape, noise, worse, known.setting)
    kind = "optimum" if len(shape.minima) >= FEWEST_MINIMA else "any"
    weight = combined_weights(members, tried, runs, known, USUAL_DECADES, kind)
    names = [m.law.name for m in members]
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
        learned=known,
        factor=factor,
        common=declared(table),
        left_out=(left_out,) if isinstance(left_out, str) else tuple(left_out),
    )


def _row_deviation(runs: Runs, laws: list[Law], noise: SeedNoise) -> np.ndarray:
    """Of each run's log loss: seeds and scatter; where no parabola tells the scatter, the best surface's misfit."""
    first = shape_of(runs, noise)
    if not np.isnan(first.scatter):
        return first.row_deviation
    plain = [law for law in laws if law.family == "surface"]
    misfits = [m.scale for m in fit_members(runs, plain, first, noise)]
    return np.maximum(first.row_deviation, min(misfits)) if misfits else first.row_deviation


def combined_weights(
    members: list[Member], tried: list[Trial], runs: Runs, known: Learned, decades: float, kind: str
) -> np.ndarray:
    """Weight of each member, from its errors in the table's trials and its record elsewhere at this distance."""
    names = [m.law.name for m in members]
    small = is_small(runs)
    return intervals.weights(
        [m.family for m in members] if small else names,
        [intervals.member_error(tried, n) for n in names],
        expected_errors(names, runs, known, decades, kind),
    )
