"""Laws: what loss is as a function of compute, or of parameters and tokens.

Every law here is a sum of non-negative coefficients times columns that depend on a few exponents, so the fit can solve
the coefficients exactly and search over the exponents only (variable projection). To add a law, write its terms
(PowerSum) or subclass Law, and pass it to fit(..., laws=[...]).

Shapes: q exponents, n runs, k coefficients; a leading S stands for any number of problems solved at once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Inputs = Mapping[str, np.ndarray]  # "compute" or "parameters" and "tokens", each [n]


@dataclass(frozen=True)
class Rows:
    """What the loss says of every run, [S, n]: unit turns a loss into a residual ([1, n] where all problems agree);
    pull is the derivative of the objective by that residual; weight is how much its square counts in the curvature."""

    unit: np.ndarray
    pull: np.ndarray
    weight: np.ndarray


class Law:
    """loss = sum of coefficient_k * column_k(exponents, inputs), every coefficient >= 0.

    name, source: what it is called and where it comes from. inputs: ("compute",) for a law of the isoFLOP minima,
    ("parameters", "tokens") for a law of all runs. bounds: where each exponent is searched. prior: (mean, deviation)
    of each exponent, or None where nothing is known.
    """

    name: str
    source: str
    inputs: tuple[str, ...]
    coefficients: tuple[str, ...]
    exponents: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    prior: tuple[tuple[float, float] | None, ...]
    # By how much of log loss it may stray from runs for every e-fold of compute that they lie below the largest.
    stray: float = 0.0

    @property
    def family(self) -> str:
        """What it is fitted to and how: "minima", "surface", or a name of its own. Families share the weight alike."""
        return "minima" if self.inputs == ("compute",) else "surface"

    @property
    def fixed(self) -> dict[str, float]:
        """Constants that centred() took from the table; they are reported beside the fitted ones."""
        return {}

    def centred(self, inputs: Inputs) -> Law:
        """This law about the middle of a table, for laws whose constants depend on one."""
        return self

    def free(self) -> Law:
        """This law without a prior: what the runs alone say."""
        law = copy.copy(self)
        law.prior = (None,) * len(self.exponents)
        return law

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        """[S, n, k]: each coefficient's column."""
        raise NotImplementedError

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        """[S, n, k, q]: derivative of the columns by the exponents. Central differences unless a law knows better."""
        step = 1e-6
        moved = np.eye(len(self.exponents)) * step
        pairs = [
            (self.columns(exponents_Sq + d, inputs) - self.columns(exponents_Sq - d, inputs)) / (2 * step)
            for d in moved
        ]
        return np.stack(pairs, axis=-1)

    def grid(self) -> list[np.ndarray]:
        """Values of each exponent where a search begins: spaced evenly over the bounds, in their logarithm where
        they are positive."""
        points = {1: 40, 2: 14}.get(len(self.exponents), 7)
        return [(np.geomspace if low > 0 else np.linspace)(low, high, points) for low, high in self.bounds]

    @property
    def floors(self) -> tuple[bool, ...]:
        """Which coefficients are constants of the loss: their column is one everywhere."""
        return (False,) * len(self.coefficients)

    def prior_value(self, theta: np.ndarray) -> np.ndarray:
        """Half the squared distance of the exponents [..., q] from their prior, [...]."""
        value = np.zeros(theta.shape[:-1])
        for i, prior in enumerate(self.prior):
            if prior is not None:
                value = value + 0.5 * ((theta[..., i] - prior[0]) / prior[1]) ** 2
        return value

    def prior_slope(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivative [..., q] of prior_value() and its second derivative [q]."""
        slope, curvature = np.zeros_like(theta), np.zeros(theta.shape[-1])
        for i, prior in enumerate(self.prior):
            if prior is not None:
                curvature[i] = prior[1] ** -2
                slope[..., i] = (theta[..., i] - prior[0]) * curvature[i]
        return slope, curvature

    # The two that follow serve newton.py: runs stand last there. PowerSum has a quicker twin of each.

    def parts(self, theta_Sq: np.ndarray, p_Sk: np.ndarray, inputs: Inputs, log_losses: np.ndarray) -> np.ndarray:
        """[S, k, n]: each coefficient times its column, over the losses whose logarithms [1 or S, n] are given."""
        columns = np.ascontiguousarray(self.columns(theta_Sq, inputs).transpose(0, 2, 1))
        return columns * p_Sk[:, :, None] * np.exp(-log_losses)[:, None, :]

    def normal_equations(
        self, theta_Sq: np.ndarray, p_Sk: np.ndarray, inputs: Inputs, parts_Skn: np.ndarray, rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient [S, m] and curvature [S, m, m] of the loss by the coefficients' logarithms (a floor by itself) and
        the exponents, m = k + q. Second derivatives by two exponents are central differences of the slopes."""
        k, q, step = len(self.coefficients), len(self.exponents), 1e-5
        slopes = self.slopes(theta_Sq, inputs)
        by_exponent = (slopes.transpose(0, 3, 1, 2) @ p_Sk[:, None, :, None])[..., 0] * rows.unit[:, None, :]
        unit = np.broadcast_to(rows.unit, rows.pull.shape)
        own = [unit if floor else parts_Skn[:, i] for i, floor in enumerate(self.floors)]
        jacobian = np.concatenate([np.stack(own, axis=1), by_exponent], axis=1)
        gradient = (jacobian @ rows.pull[..., None])[..., 0]
        hessian = (jacobian * rows.weight[:, None, :]) @ jacobian.transpose(0, 2, 1)
        for i in np.flatnonzero(~np.array(self.floors)):
            hessian[:, i, i] += gradient[:, i]
        along = (rows.pull * rows.unit)[:, None, :]

        def summed(theta: np.ndarray) -> np.ndarray:
            moved = self.slopes(theta, inputs)
            return (along @ moved.reshape(*moved.shape[:2], -1)).reshape(len(theta), k, q)

        cross = summed(theta_Sq) * np.where(self.floors, 1.0, p_Sk)[:, :, None]
        hessian[:, :k, k:] += cross
        hessian[:, k:, :k] += cross.transpose(0, 2, 1)
        for j, d in enumerate(np.eye(q) * step):
            bend = ((summed(theta_Sq + d) - summed(theta_Sq - d)) * p_Sk[:, :, None]).sum(1) / (4 * step)
            hessian[:, k + j, k:] += bend
            hessian[:, k:, k + j] += bend
        return gradient, hessian

    @property
    def minimum_points(self) -> int:
        """Fewest points that leave one to check the law: one more than it has constants."""
        return len(self.coefficients) + len(self.exponents) + 1

    def predict(self, constants: Mapping[str, float], /, **inputs: float | np.ndarray) -> np.ndarray:
        """Loss at the inputs (compute=..., or parameters=..., tokens=...), in the unit of the fitted metric."""
        arrays = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in inputs.items()}
        exponents = np.array([[constants[name] for name in self.exponents]])
        coefficients = np.array([constants[name] for name in self.coefficients])
        return self.columns(exponents, arrays)[0] @ coefficients


class PowerSum(Law):
    """A sum of terms coefficient * input^(-exponent); a term without an input is a constant (a floor).

    terms: (coefficient, input or "", exponent or ""). Two terms may share an exponent.
    """

    def __init__(
        self,
        name: str,
        source: str,
        terms: tuple[tuple[str, str, str], ...],
        bounds: tuple[tuple[float, float], ...],
        prior: tuple[tuple[float, float] | None, ...],
    ) -> None:
        self.name, self.source, self.terms, self.bounds, self.prior = name, source, terms, bounds, prior
        self.inputs = tuple(dict.fromkeys(given for _, given, _ in terms if given))
        self.coefficients = tuple(coefficient for coefficient, _, _ in terms)
        self.exponents = tuple(dict.fromkeys(exponent for _, _, exponent in terms if exponent))

    def columns(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        first = np.asarray(next(iter(inputs.values())))
        ones = np.ones((len(exponents_Sq), first.shape[-1]))
        columns = []
        for _, source, exponent in self.terms:
            if not source:
                columns.append(ones)
                continue
            power = exponents_Sq[:, self.exponents.index(exponent), None]
            columns.append(np.exp(-power * np.log(inputs[source])))
        return np.stack(columns, axis=-1)

    def slopes(self, exponents_Sq: np.ndarray, inputs: Inputs) -> np.ndarray:
        columns = self.columns(exponents_Sq, inputs)
        slopes = np.zeros((*columns.shape, len(self.exponents)))
        for k, (_, source, exponent) in enumerate(self.terms):
            if source:
                slopes[..., k, self.exponents.index(exponent)] = -np.log(inputs[source]) * columns[..., k]
        return slopes

    @property
    def floors(self) -> tuple[bool, ...]:
        return tuple(not given for _, given, _ in self.terms)

    def parts(self, theta_Sq: np.ndarray, p_Sk: np.ndarray, inputs: Inputs, log_losses: np.ndarray) -> np.ndarray:
        # The logarithm of a part is a product of [ln p, theta, 1] and [1, -ln input, -ln loss]: one thin product.
        parts = np.empty((len(theta_Sq), len(self.terms), log_losses.shape[1]))
        log_p, ones = np.log(np.maximum(p_Sk, 5e-324)), np.ones(log_losses.shape[1])
        for k, (_, given, exponent) in enumerate(self.terms):
            if not given:
                np.multiply(p_Sk[:, k, None], np.exp(-log_losses), out=parts[:, k])
                continue
            variables = np.stack([log_p[:, k], theta_Sq[:, self.exponents.index(exponent)]], axis=1)
            log_part = variables @ np.stack([ones, -np.log(inputs[given])])
            log_part -= log_losses
            np.exp(log_part, out=parts[:, k])
        return parts

    def normal_equations(
        self, theta_Sq: np.ndarray, p_Sk: np.ndarray, inputs: Inputs, parts_Skn: np.ndarray, rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        # A term's derivative by its exponent is the term times -ln(input), so every entry is a moment of the products
        # of two terms: thin matrix products, about ten times quicker than the Jacobian's.
        k, m = len(self.terms), len(self.terms) + len(self.exponents)
        gradient, hessian = np.zeros((len(p_Sk), m)), np.zeros((len(p_Sk), m, m))
        logs = [-np.log(inputs[given]) if given else None for _, given, _ in self.terms]
        at = [[i] + ([k + self.exponents.index(e)] if e else []) for i, (_, _, e) in enumerate(self.terms)]
        own = [parts_Skn[:, i] if given else rows.unit for i, (_, given, _) in enumerate(self.terms)]
        weighted, product = np.empty_like(rows.pull), np.empty_like(rows.pull)
        for i, log in enumerate(logs):
            np.multiply(own[i], rows.pull, out=product)
            if log is None:
                gradient[:, i] = product.sum(1)
            else:
                moments = product @ np.stack([np.ones_like(log), log, log**2], axis=1)
                gradient[:, at[i]] += moments[:, :2]
                hessian[:, at[i], at[i]] += moments[:, [0, 2]]
                hessian[:, at[i], at[i][::-1]] += moments[:, 1:2]
            np.multiply(own[i], rows.weight, out=weighted)
            for j in range(i + 1):
                np.multiply(weighted, own[j], out=product)
                _add_products(hessian, product, at[i], at[j], log, logs[j])
        return gradient, hessian


def _add_products(
    hessian: np.ndarray,
    product_Sn: np.ndarray,
    here: list[int],
    there: list[int],
    log: np.ndarray | None,
    other: np.ndarray | None,
) -> None:
    """Add the moments of two terms' product at rows `here` and columns `there`, and mirrored where they differ."""
    ones = np.ones(product_Sn.shape[1])
    left = [ones] if log is None else [ones, log]
    right = [ones] if other is None else [ones, other]
    moments = product_Sn @ np.stack([a * b for a in left for b in right], axis=1)
    for (row, column), moment in zip([(r, c) for r in here for c in there], moments.T, strict=True):
        hessian[:, row, column] += moment
        if here[0] != there[0]:
            hessian[:, column, row] += moment
