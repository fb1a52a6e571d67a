"""How to spend a compute: the best size and tokens, with what is not known about them, and what it all costs.

Where the table is an isoFLOP sweep the best size follows its basins (basin.py); else each law and draw of the fit names
its own. Advice is judged by regret, the loss given away by not running the size that was best after all. With tokens to
be served, what is minimised is training plus serving, c N D + 2 N T, at the loss that the best training run would reach
(arXiv:2401.00448): a smaller model trained longer.

S particles, c computes, n sizes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.advice.basin import Basin, basin_of
from gnomon.forecast.advice.design import NEW, Proposal, next_rung
from gnomon.forecast.advice.posterior import Points, Posterior, posterior
from gnomon.forecast.combine import Fit, fit
from gnomon.forecast.table import RunTable
from gnomon.forecast.values import Target

SERVING = 2.0  # operations a parameter and served token
UTILISATION = 0.4  # share of the peak that training reaches, unless told
SIZES, FURTHEST = 161, 30.0  # sizes tried, up to this factor from the best
COMPUTES, LONGEST = 81, 30.0  # training computes tried for a smaller model, up to this factor
RUNG_SHARE = 0.1  # of the target's compute: what one more rung may cost


@dataclass(frozen=True)
class Price:
    """What a machine does: flops_per_s (peak) of one device, its price an hour, how many, and the share of the peak."""

    flops_per_s: float
    an_hour: float = 0.0
    devices: int = 1
    utilisation: float = UTILISATION

    def __post_init__(self) -> None:
        for name in ("flops_per_s", "devices", "utilisation"):
            if not getattr(self, name) > 0:
                raise GnomonError(f"price: {name} is {getattr(self, name)!r}; a positive number is expected")

    def cost(self, flops: float) -> dict[str, float]:
        """{device_hours, hours, money}."""
        device_hours = flops / (self.flops_per_s * self.utilisation) / 3600
        hours, money = device_hours / self.devices, device_hours * self.an_hour
        return {"device_hours": device_hours, "hours": hours, "money": money}


@dataclass(frozen=True)
class Advice:
    """parameters and tokens to train, with an 80 % interval of the best parameters; loss: quantiles at that run;
    regret_pct: loss expected to be given away because the best size is not known. training_flops, serving_flops: of the
    advised run; plain: parameters, tokens and total FLOPs of the run that is best for training alone, where serving
    changes the advice. chance: P(loss < threshold), None without one. cost: of the total, None without a price.
    """

    compute: float
    parameters: float
    parameters_low: float
    parameters_high: float
    tokens: float
    loss: dict[str, float]
    regret_pct: float
    training_flops: float
    serving_flops: float
    how: str
    plain: dict[str, float] | None = None
    threshold: float | None = None
    chance: float | None = None
    cost: dict[str, float] | None = None
    rung: dict[str, Any] | None = None

    @property
    def target(self) -> Target:
        return Target(self.training_flops, self.parameters, self.tokens)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Terrain:
    """Log loss over compute and size, as a mean and as particles; operations a parameter and token: cost."""

    fit: Fit
    cloud: Posterior
    basin: Basin | None
    cost: float

    def best(self, compute: float) -> tuple[float, np.ndarray]:
        """Log of the best size, and of each particle's own [S]."""
        if self.basin is not None:
            return float(self.basin.best(np.array(compute))), self.basin.best_draws(np.array([compute]))[:, 0]
        sizes = self._sizes(compute)
        values = self.cloud.log_loss(self._points(np.full(len(sizes), compute), sizes))
        own = np.log(sizes[values.argmin(axis=1)])
        return float(np.log(sizes[(self.cloud.weights @ values).argmin()])), own

    def mean(self, compute: np.ndarray, log_size: np.ndarray) -> np.ndarray:
        """Mean log loss at each pair of compute and log size, both [n]."""
        if self.basin is None:
            return self.cloud.mean(self._points(compute, np.exp(log_size)))
        best = self.basin.best(compute)
        floor = self.cloud.mean(self._points(compute, np.exp(best)))
        return floor + self.basin.excess(log_size - best)

    def excess(self, compute: float, log_size: float) -> np.ndarray:
        """[S]: what each particle says is given away at this size."""
        own = self.best(compute)[1]
        if self.basin is not None:
            return self.basin.excess(log_size - own)
        sizes = np.exp(np.append(own, log_size))
        values = self.cloud.log_loss(self._points(np.full(len(sizes), compute), sizes))
        return values[:, -1] - values[np.arange(len(own)), np.arange(len(own))]

    def _sizes(self, compute: float) -> np.ndarray:
        middle = np.sqrt(compute / self.cost / np.median(self.fit.runs.tokens / self.fit.runs.size))
        return np.geomspace(middle / FURTHEST, middle * FURTHEST, 2 * SIZES)

    def _points(self, compute: np.ndarray, sizes: np.ndarray) -> Points:
        return Points(compute, sizes, compute / self.cost / sizes)


def terrain_of(fitted: Fit) -> Terrain:
    """Raises GnomonError when nothing in the table says how loss depends on size."""
    runs = fitted.runs
    basin = basin_of(runs, fitted.seed)
    if basin is None and not any("parameters" in member.law.inputs for member in fitted.members):
        raise GnomonError(
            f"allocation: {len(runs)} runs at {len(np.unique(runs.size))} sizes do not say how loss depends on size; "
            "three sizes at each of three computes would"
        )
    cost = float(np.exp(np.log(runs.compute / runs.size / runs.tokens).mean()))
    return Terrain(fitted, posterior(fitted), basin, cost)


def allocate(
    table: RunTable | Fit,
    compute: float,
    metric: str = "bits_per_byte_codebase",
    serve_tokens: float = 0.0,
    threshold: float | None = None,
    price: Price | None = None,
    rung: bool = False,
) -> Advice:
    """The size and tokens for a compute.

    serve_tokens: to be served over the model's life; the advice then reaches the loss of the best training run of
    `compute` FLOPs at the least training plus serving. threshold: a loss, in the metric's unit, whose chance is wanted.
    rung: also what one more rung costs and by how much it narrows the forecast.
    Raises GnomonError when the compute is not positive, or no law fits the table.
    """
    if not (np.isfinite(compute) and compute > 0):
        raise GnomonError(f"compute is {compute!r}; a positive number of FLOPs is expected")
    if not (np.isfinite(serve_tokens) and serve_tokens >= 0):
        raise GnomonError(f"tokens to be served are {serve_tokens!r}; zero or more are expected")
    terrain = terrain_of(table if isinstance(table, Fit) else fit(table, metric))
    best, own = terrain.best(compute)
    size, training = (float(np.exp(best)), compute)
    plain = None
    if serve_tokens > 0:
        plain = {"parameters": size, "tokens": compute / terrain.cost / size, "flops": compute}
        plain["flops"] += SERVING * size * serve_tokens
        size, training = serving_best(terrain, compute, best, serve_tokens)
        own = own + np.log(size) - best
    low, high = (float(np.exp(q)) for q in np.quantile(own, [0.1, 0.9]))
    # A served model is trained until it is as good as the best training run: that one's loss is the forecast of both.
    target = Target(compute, float(np.exp(best)), compute / terrain.cost / float(np.exp(best)))
    forecast = terrain.fit.predict(target)
    serving = SERVING * size * serve_tokens
    return Advice(
        compute=compute,
        parameters=size,
        parameters_low=min(low, size),
        parameters_high=max(high, size),
        tokens=training / terrain.cost / size,
        loss=dict(forecast.quantiles),
        regret_pct=100 * float(np.mean(terrain.excess(compute, best))),
        training_flops=training,
        serving_flops=serving,
        how="isoFLOP basins" if terrain.basin is not None else "laws of size and tokens",
        plain=plain,
        threshold=threshold,
        chance=None if threshold is None else chance_below(terrain.fit, target, threshold),
        cost=None if price is None else price.cost(training + serving),
        rung=_one_more(terrain.fit, target, price) if rung else None,
    )


def serving_best(terrain: Terrain, compute: float, best: float, serve_tokens: float) -> tuple[float, float]:
    """Size and training compute of the cheapest model, served tokens counted, that is as good as the best training run.

    Each smaller size is trained for as long as it takes; sizes that cannot get there within 30 times the compute drop
    out.
    """
    wished = float(terrain.mean(np.array([compute]), np.array([best]))[0])
    log_sizes = best + np.linspace(-np.log(FURTHEST), 0.0, SIZES)
    computes = compute * np.geomspace(1.0, LONGEST, COMPUTES)
    grid_c, grid_n = (a.ravel() for a in np.meshgrid(computes, log_sizes, indexing="ij"))
    loss = terrain.mean(grid_c, grid_n).reshape(COMPUTES, SIZES)
    loss = np.minimum.accumulate(loss, axis=0)  # longer is never worse
    needed = np.full(SIZES, np.inf)
    for k in range(SIZES):
        column = loss[:, k]
        if column[-1] <= wished:
            needed[k] = np.exp(np.interp(-wished, -column, np.log(computes)))
    needed[-1] = compute
    total = needed + SERVING * np.exp(log_sizes) * serve_tokens
    at = int(total.argmin())
    return float(np.exp(log_sizes[at])), float(needed[at])


def chance_below(fitted: Fit, target: Target, threshold: float) -> float:
    """P(loss of the target < threshold), the target's own seed counted."""
    if not threshold > 0:
        raise GnomonError(f"threshold is {threshold!r}; a positive loss is expected")
    return float((fitted.spread(target).log_sample < np.log(threshold)).mean())


def _one_more(fitted: Fit, target: Target, price: Price | None) -> dict[str, Any] | None:
    """The best rung of a tenth of the target's compute, its cost and how much it narrows; None if there is none."""
    try:
        proposals = next_rung(fitted, target, RUNG_SHARE * target.compute, most=1)
    except GnomonError:
        return None
    if not proposals:
        return None
    first: Proposal = proposals[0]
    money = {} if price is None else price.cost(first.cost_flops)
    return {**first.to_dict(), **money}


def advice_lines(advice: Advice, metric: str) -> list[str]:
    """For people: the decision, in one line, and what stands behind it."""
    loss = advice.loss
    lines = [
        f"train {advice.parameters:.3g} parameters on {advice.tokens:.3g} tokens ({advice.training_flops:.3g} FLOPs): "
        f"{metric} {loss['0.5']:.4g}, 90 % between {loss['0.05']:.4g} and {loss['0.95']:.4g}",
        f"the best size is between {advice.parameters_low:.3g} and {advice.parameters_high:.3g} parameters (80 %), "
        f"from {advice.how}; not knowing it better costs {advice.regret_pct:.3f} % of loss",
    ]
    if advice.plain is not None:
        saved = 1 - (advice.training_flops + advice.serving_flops) / advice.plain["flops"]
        lines.append(
            f"for training alone {advice.plain['parameters']:.3g} parameters on {advice.plain['tokens']:.3g} tokens "
            f"would be best; with serving this saves {100 * saved:.0f} % of all FLOPs at the same loss"
        )
    decision = decision_line(advice)
    return [*lines, decision] if decision else lines


def decision_line(advice: Advice) -> str:
    """P(loss < threshold), what the run costs, what one more rung costs and does: whatever of these is known."""
    parts = []
    if advice.chance is not None:
        parts.append(f"P(loss < {advice.threshold:g}) = {advice.chance:.2f}")
    if advice.cost is not None:
        parts.append(_money("the run", advice.cost))
    if advice.rung is not None:
        before, after = advice.rung["half_width_before_pct"], advice.rung["half_width_after_pct"]
        what = "one more rung" if advice.rung["kind"] == NEW else advice.rung["kind"]
        price = f"{what} costs {advice.rung['cost_flops']:.3g} FLOPs"
        if "money" in advice.rung:
            price = _money(what, advice.rung)
        parts.append(f"{price} and narrows ±{before:.2f} % to ±{after:.2f} %")
    return "; ".join(parts)


def _money(what: str, cost: dict[str, Any]) -> str:
    hours = f"{cost['hours']:.3g} hours ({cost['device_hours']:.3g} device hours)"
    return f"{what} costs {cost['money']:,.2f} and {hours}" if cost["money"] else f"{what} costs {hours}"
