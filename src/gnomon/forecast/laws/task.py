"""Laws of a task's score, between chance and one: score = chance + (1 - chance) p, and p a law of the run.

Inputs are logarithms against the largest run seen (parameters n, tokens d, compute c) and the loss itself (l), so the
constants are of order one on any table. Constants are free real numbers (amounts that must be positive are kept as
logarithms) with a weak prior each. p = e^-z wherever z is a sum of powers: z is then minus the log score of
arXiv:2512.08894, and tends to chance, as it should, where runs are small.

S starts, n runs, p constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gnomon.forecast.laws.curve import sigmoid

Values = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TaskLaw:
    """inputs: which of n, d, c, l it reads; centre, spread: prior of each constant; begin [S, p]: starts."""

    name: str
    source: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    begin: tuple[tuple[float, ...], ...]

    def share(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Values:
        """p [S, n], the score's place between chance and one, and its derivative by the constants [S, n, p]."""
        raise NotImplementedError

    def score(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray], chance: float) -> Values:
        share, slopes = self.share(theta_Sp, inputs)
        return chance + (1 - chance) * share, (1 - chance) * slopes


class Direct(TaskLaw):
    """p = exp(-(E + A/N^a + B/D^b)): the direct law in size and length."""

    def __init__(self) -> None:
        begin = tuple(
            (e, a, b, -1.2, -1.2)
            for e, a, b in (
                (-3.0, -0.5, -0.5),
                (-1.5, -0.5, -0.5),
                (-3.0, 0.7, 0.7),
                (-1.5, 0.7, -1.0),
                (-1.5, -1.0, 0.7),
            )
        )
        names = ("ln E", "ln A", "ln B", "ln a", "ln b")
        super().__init__(
            "direct",
            "arXiv:2512.08894 with the sum of arXiv:2203.15556",
            ("n", "d"),
            names,
            (-2.0, 0.0, 0.0, -1.2, -1.2),
            (2.0, 3.0, 3.0, 0.5, 0.5),
            begin,
        )

    def surprise(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Values:
        """z = E + A/N^a + B/D^b [S, n] and its derivative; serves losses too."""
        floor, size, length, a, b = (np.exp(theta_Sp[:, k : k + 1]) for k in range(5))
        in_size, in_length = size * np.exp(-a * inputs["n"]), length * np.exp(-b * inputs["d"])
        steps = [floor + 0 * in_size, in_size, in_length, -a * inputs["n"] * in_size, -b * inputs["d"] * in_length]
        return floor + in_size + in_length, np.stack(steps, axis=-1)

    def share(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Values:
        return _fading(*self.surprise(theta_Sp, inputs))


class ComputePower(TaskLaw):
    """p = exp(-a C^-b)."""

    def __init__(self) -> None:
        super().__init__(
            "power of compute",
            "arXiv:2303.08774 §3.2",
            ("c",),
            ("ln a", "ln b"),
            (0.0, -1.8),
            (3.0, 0.7),
            ((0.0, -1.5), (1.0, -2.0), (1.5, -1.5)),
        )

    def share(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Values:
        size, b = np.exp(theta_Sp[:, :1]), np.exp(theta_Sp[:, 1:])
        z = size * np.exp(-b * inputs["c"])
        return _fading(z, np.stack([z, -b * inputs["c"] * z], axis=-1))


class Logistic(TaskLaw):
    """p = top sigmoid(k (ln C - c0))."""

    def __init__(self) -> None:
        begin = tuple((-0.7, c, top) for c in (-2.0, 2.0, 5.0) for top in (0.0, 3.0))
        super().__init__(
            "logistic in compute",
            "arXiv:2405.10938 §3",
            ("c",),
            ("ln k", "c0", "logit top"),
            (-0.7, 2.0, 2.0),
            (0.7, 5.0, 1.5),
            begin,
        )

    def share(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Values:
        k, top = np.exp(theta_Sp[:, :1]), sigmoid(theta_Sp[:, 2:])
        z = k * (inputs["c"] - theta_Sp[:, 1:2])
        s = sigmoid(z)
        bend = s * (1 - s)
        return top * s, np.stack([top * bend * z, -top * bend * k, s * top * (1 - top)], axis=-1)


class ThroughLoss(TaskLaw):
    """p = exp(-(L / L1)^q): the second of two steps, anchored, since a loss of nothing answers everything."""

    def __init__(self) -> None:
        begin = tuple((q, l1) for q in (1.0, 1.8) for l1 in (0.2, 0.7, 1.2))
        super().__init__(
            "through the loss",
            "two steps as in arXiv:2412.04403, anchored",
            ("l",),
            ("ln q", "ln L1"),
            (1.2, 1.0),
            (0.7, 2.0),
            begin,
        )

    def share(self, theta_Sp: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Values:
        q, off = np.exp(theta_Sp[:, :1]), np.log(inputs["l"]) - theta_Sp[:, 1:]
        z = np.exp(np.clip(q * off, -50.0, 50.0))
        return _fading(z, np.stack([z * q * off, -q * z], axis=-1))


def task_laws() -> tuple[TaskLaw, ...]:
    """Every law of this page."""
    return (Direct(), ComputePower(), Logistic(), ThroughLoss())


def _fading(z: np.ndarray, slopes: np.ndarray) -> Values:
    share = np.exp(-z)
    return share, -share[..., None] * slopes
