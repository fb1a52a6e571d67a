"""Laws: what loss is as a function of compute, or of parameters and tokens.

Every law here is a sum of non-negative coefficients times columns that depend on a few exponents, so the fit can solve
the coefficients exactly and search over the exponents only (variable projection). To add a law, write its terms
(PowerSum) or subclass Law, and pass it to fit(..., laws=[...]).

Shapes: q exponents, n runs, k coefficients; a leading S stands for any number of problems solved at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Inputs = Mapping[str, np.ndarray]  # "compute" or "parameters" and "tokens", each [n]


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
