"""Laws of one learning curve: loss y as a function of one amount x (samples, tokens, steps), all else held.

Every law is written in u = ln(x / last x) and returns ln y, so that residuals are relative errors and the constants
are of order one on any curve. Constants are free real numbers (amounts that must be positive are kept as logarithms),
which lets one damped Gauss-Newton serve all of them. arXiv:2209.06640 names M1 to M4; arXiv:2210.14891 the broken law.

S starts, n points, p constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FREE = float("inf")
Slopes = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """A law of one curve. constants: their names; centre, spread: of the weak prior on each (FREE: none)."""

    name: str
    source: str
    constants: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]

    def starts(self, u_n: np.ndarray, log_n: np.ndarray) -> np.ndarray:
        """[S, p]: where the search begins, from the first and last points of a curve."""
        raise NotImplementedError

    def log_loss(self, theta_Sp: np.ndarray, u_n: np.ndarray) -> Slopes:
        """ln y [S, n] and its derivative by the constants [S, n, p]."""
        raise NotImplementedError


class M1(Curve):
    """y = a x^-b."""

    def __init__(self) -> None:
        super().__init__("M1", "arXiv:2209.06640 §3", ("ln a", "b"), (0.0, 0.0), (FREE, FREE))

    def starts(self, u_n: np.ndarray, log_n: np.ndarray) -> np.ndarray:
        return np.array([[log_n[-1], 0.1]])

    def log_loss(self, theta_Sp: np.ndarray, u_n: np.ndarray) -> Slopes:
        one = np.ones((len(theta_Sp), len(u_n)))
        return theta_Sp[:, :1] - theta_Sp[:, 1:] * u_n, np.stack([one, -u_n * one], axis=-1)


class M2(Curve):
    """y = c + a x^-b."""

    def __init__(self) -> None:
        super().__init__("M2", "arXiv:2209.06640 §3", ("ln c", "ln a", "ln b"), (0.0, 0.0, -1.2), (FREE, FREE, 2.0))

    def starts(self, u_n: np.ndarray, log_n: np.ndarray) -> np.ndarray:
        floor, b = _grid((0.05, 0.4, 0.8), (-2.0, -0.9, 0.0))
        return np.stack([log_n[-1] + np.log(floor), log_n[-1] + np.log1p(-floor), b], axis=-1)

    def log_loss(self, theta_Sp: np.ndarray, u_n: np.ndarray) -> Slopes:
        c, a, b = theta_Sp[:, :1], theta_Sp[:, 1:2], np.exp(theta_Sp[:, 2:])
        power = a - b * u_n
        share = sigmoid(power - c)
        return np.logaddexp(c, power), np.stack([1 - share, share, -share * b * u_n], axis=-1)


class M3(Curve):
    """y = a (1/x + 1/d)^b: a power law that ends where x reaches d."""

    def __init__(self) -> None:
        names = ("ln a", "ln 1/d", "ln b")
        super().__init__("M3", "arXiv:2209.06640 §3", names, (0.0, 0.0, -1.2), (FREE, 6.0, 2.0))

    def starts(self, u_n: np.ndarray, log_n: np.ndarray) -> np.ndarray:
        end, b = _grid((-4.0, -1.5, 0.0, 1.5), (-2.0, -1.0, 0.0))
        return np.stack([log_n[-1] - np.exp(b) * softplus(end), end, b], axis=-1)

    def log_loss(self, theta_Sp: np.ndarray, u_n: np.ndarray) -> Slopes:
        a, end, b = theta_Sp[:, :1], theta_Sp[:, 1:2], np.exp(theta_Sp[:, 2:])
        lift = np.logaddexp(-u_n, end)
        return a + b * lift, np.stack([np.ones_like(lift), b * sigmoid(end + u_n), b * lift], axis=-1)


class M4(Curve):
    """(y - e) / (y0 - y)^alpha = b x^-c: from chance y0 down to a floor e.

    With v, the log odds of where y lies between floor and chance, the law reads
    ln sigmoid(v) + alpha softplus(v) = t - c u. The left side is monotone and convex or concave, so Newton's method
    finds v from any start, and the derivatives of v follow from the equation itself.
    """

    def __init__(self) -> None:
        names = ("ln e", "ln (y0 - e)", "ln alpha", "t", "ln c")
        super().__init__("M4", "arXiv:2209.06640 §3", names, (0.0, 0.0, 0.0, 0.0, -1.0), (FREE, FREE, 1.5, FREE, 2.0))

    def starts(self, u_n: np.ndarray, log_n: np.ndarray) -> np.ndarray:
        share, alpha, c = _grid((0.1, 0.5, 0.85), (-1.0, 0.5), (-1.5, -0.3))
        last = np.exp(log_n[-1])
        floor = last * share
        width = np.exp(log_n.max()) * 1.02 - floor
        v = np.log((last - floor) / (width + floor - last))
        return np.stack([np.log(floor), np.log(width), alpha, _bend(v, np.exp(alpha)), c], axis=-1)

    def log_loss(self, theta_Sp: np.ndarray, u_n: np.ndarray) -> Slopes:
        floor, width, t = theta_Sp[:, :1], theta_Sp[:, 1:2], theta_Sp[:, 3:4]
        alpha, c = np.exp(theta_Sp[:, 2:3]), np.exp(theta_Sp[:, 4:])
        goal = t - c * u_n
        v = np.where(goal < 0, goal, goal / alpha)
        for _ in range(30):
            s = sigmoid(v)
            move = (_bend(v, alpha) - goal) / (1 - s + alpha * s)
            v = v - move
            if not np.abs(move).max(initial=0.0) > 1e-8:
                break
        s = sigmoid(v)
        excess = width - softplus(-v)
        log_y = np.logaddexp(floor, excess)
        share = np.exp(excess - log_y)
        by_goal = share * (1 - s) / (1 - s + alpha * s)
        slopes = [1 - share, share, -by_goal * alpha * softplus(v), by_goal, -by_goal * c * u_n]
        return log_y, np.stack(slopes, axis=-1)


class Broken(Curve):
    """y = a + b x^-c0 prod_i (1 + (x/d_i)^(1/f_i))^(-c_i f_i): a power law of `breaks` smooth breaks."""

    def __init__(self, breaks: int = 1) -> None:
        names = ["ln a", "ln b", "c0"] + [f"{k}{i + 1}" for i in range(breaks) for k in ("c", "ln d", "ln f")]
        centre = (0.0, 0.0, 0.0, *(0.0, -1.0, -0.5) * breaks)
        spread = (FREE, FREE, FREE, *(2.0, 3.0, 1.5) * breaks)
        super().__init__(f"BNSL-{breaks}", "arXiv:2210.14891 eq. 1", tuple(names), centre, spread)

    def starts(self, u_n: np.ndarray, log_n: np.ndarray) -> np.ndarray:
        breaks = (len(self.constants) - 3) // 3
        floor, at, sharpness = _grid((0.1, 0.5, 0.85), (0.2, 0.5, 0.8), (-1.5, 0.0))
        columns = [log_n[-1] + np.log(floor), log_n[-1] + np.log1p(-floor), np.full_like(at, 0.05)]
        for i in range(breaks):
            columns += [np.full_like(at, 0.3 / breaks), u_n[0] * (at + (1 - at) * i / breaks), sharpness]
        return np.stack(columns, axis=-1)

    def log_loss(self, theta_Sp: np.ndarray, u_n: np.ndarray) -> Slopes:
        one = np.ones((len(theta_Sp), len(u_n)))
        floor, power = theta_Sp[:, :1], theta_Sp[:, 1:2] - theta_Sp[:, 2:3] * u_n
        slopes = [one, -u_n * one]
        for i in range(3, theta_Sp.shape[1], 3):
            c, d, f = theta_Sp[:, i : i + 1], theta_Sp[:, i + 1 : i + 2], np.exp(theta_Sp[:, i + 2 : i + 3])
            z = (u_n - d) / f
            soft, s = softplus(z), sigmoid(z)
            power = power - c * f * soft
            slopes += [-f * soft, c * s, -c * f * (soft - s * z)]
        share = sigmoid(power - floor)
        return np.logaddexp(floor, power), np.stack([1 - share, *(share * s for s in slopes)], axis=-1)


def curve_laws() -> list[Curve]:
    """Every law of this page, in the order of their number of constants."""
    return [M1(), M2(), M3(), M4(), Broken(1), Broken(2)]


def softplus(z: np.ndarray) -> np.ndarray:
    """ln(1 + e^z) without overflow."""
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z) without overflow."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


def _bend(v: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Left side of M4: ln sigmoid(v) + alpha softplus(v)."""
    return alpha * softplus(v) - softplus(-v)


def _grid(*axes: tuple[float, ...]) -> list[np.ndarray]:
    """Every combination of the axes, one flat array an axis."""
    return [a.ravel() for a in np.meshgrid(*axes, indexing="ij")]
