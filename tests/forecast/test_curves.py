"""One learning curve carried on: known curves are met, intervals hold what they say, bad curves are refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast.curves import fit_curve, fit_law
from gnomon.forecast.laws.curve import M2, Broken
from gnomon.forecast.slope import fit_slope

X = np.geomspace(4e6, 1e9, 50)
AHEAD = np.geomspace(1.1e9, 2e9, 8)
SHAPES = {
    "power and floor": lambda x: 0.25 + 0.5 * (x / 1e8) ** -0.4,
    "levelling off": lambda x: (1e6 / x + 1e-4) ** 0.2,
    "from chance down": lambda x: 0.95 - 0.7 / (1 + (x / 6e7) ** -0.6),
    "broken": lambda x: 0.2 + 0.6 * (x / 1e7) ** -0.05 * (1 + (x / 5e7) ** 2) ** -0.15,
    "plain power": lambda x: (x / 1e7) ** -0.08,
}


def noisy(shape: str, noise: float, seed: int = 0) -> np.ndarray:
    return SHAPES[shape](X) * np.exp(np.random.default_rng(seed).normal(scale=noise, size=len(X)))


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_as_far_is_met_whatever_the_shape(shape: str) -> None:
    median = fit_curve(X, noisy(shape, 0.002)).predict(AHEAD).median
    error = np.sqrt(np.mean(np.log(median / SHAPES[shape](AHEAD)) ** 2))
    last = np.sqrt(np.mean(np.log(SHAPES[shape](X[-1]) / SHAPES[shape](AHEAD)) ** 2))
    assert error < 0.01
    assert error < last / 2


def test_eighty_percent_of_noisy_curves_end_inside_the_eighty_percent_interval() -> None:
    inside = []
    for seed in range(6):
        for shape in ("power and floor", "from chance down"):
            forecast = fit_curve(X, noisy(shape, 0.01, seed)).predict(AHEAD, levels=(0.1, 0.9))
            seen = SHAPES[shape](AHEAD) * np.exp(np.random.default_rng(100 + seed).normal(scale=0.01, size=8))
            inside.append((seen > forecast.quantiles[0.1]) & (seen < forecast.quantiles[0.9]))
    assert 0.7 < np.mean(inside) < 0.99


def test_more_noise_and_more_distance_widen_the_interval() -> None:
    def width(noise: float, x: float) -> float:
        quantiles = fit_curve(X, noisy("power and floor", noise)).predict(x).quantiles
        return float(np.log(quantiles[0.95] / quantiles[0.05])[0])

    assert width(0.002, 1.1e9) < width(0.002, 2e9) < width(0.02, 2e9)


def test_units_and_order_of_the_points_do_not_matter() -> None:
    y = noisy("broken", 0.003)
    plain = fit_curve(X, y).predict(AHEAD).median
    order = np.random.default_rng(1).permutation(len(X))
    moved = fit_curve(X[order] / 1e6, 100 * y[order]).predict(AHEAD / 1e6).median
    np.testing.assert_allclose(moved, 100 * plain, rtol=1e-4)


def test_a_million_points_are_thinned_and_say_the_same() -> None:
    x = np.linspace(1e6, 1e9, 1_000_000)
    y = SHAPES["power and floor"](x) * np.exp(np.random.default_rng(2).normal(scale=0.01, size=len(x)))
    fit = fit_curve(x, y)
    assert len(fit.x) <= 301
    np.testing.assert_allclose(fit.predict(2e9).median, SHAPES["power and floor"](2e9), rtol=0.01)


def test_components_show_what_each_member_says_and_weighs() -> None:
    forecast = fit_curve(X, noisy("broken", 0.003)).predict(AHEAD)
    assert [row["name"] for row in forecast.components] == ["slope", "M4", "BNSL-1", "M3", "M2"]
    assert sum(row["weight"] for row in forecast.components) == pytest.approx(1)
    assert all(row["source"] for row in forecast.components)


def test_far_inside_and_rising_are_said() -> None:
    fit = fit_curve(X, noisy("broken", 0.003))
    assert "times the last" in " ".join(fit.predict(1e12).warnings)
    inside = fit.predict(X[10])
    assert "inside the curve" in " ".join(inside.warnings)
    assert inside.median[0] == pytest.approx(fit.y[10])
    assert "rises" in " ".join(fit_curve(X, 1 / noisy("broken", 0.003)).predict(AHEAD).warnings)


def test_a_constant_curve_stays_where_it_is() -> None:
    median = fit_curve(X, np.full(len(X), 2.5)).predict(AHEAD).median
    np.testing.assert_allclose(median, 2.5, rtol=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([1, 2, 3, 4, 5], [1, 1, 1, 1], "5 x but 4 y"),
        ([1, 2, 3, 4, 5], [1, 1, 0, 1, 1], "y[2] is 0"),
        ([1, 2, 3, 4, float("nan")], [1, 1, 1, 1, 1], "x[4] is nan"),
        ([1, 1, 2, 2, 2, 3], [1, 1, 1, 1, 1, 1], "3 different x"),
        (["a", 2, 3, 4, 5], [1, 1, 1, 1, 1], "not a number"),
    ],
)
def test_a_curve_that_cannot_be_fitted_is_refused_in_one_line(x: list, y: list, said: str) -> None:
    with pytest.raises(GnomonError, match=said.replace("[", r"\[")):
        fit_curve(x, y)


def test_asking_at_nothing_is_refused() -> None:
    with pytest.raises(GnomonError, match="positive"):
        fit_curve(X, noisy("broken", 0.003)).predict([1e9, -1])


def test_a_law_finds_its_own_constants_again() -> None:
    u = np.log(X / X[-1])
    theta = np.array([[np.log(0.3), np.log(0.2), np.log(0.4)]])
    found, value = fit_law(M2(), u, M2().log_loss(theta, u)[0][0])
    np.testing.assert_allclose(found[0], theta[0], atol=0.02)
    assert value[0] <= value[-1]
    broken = np.array([[np.log(0.2), np.log(0.3), 0.05, 0.4, -2.0, -0.5]])
    log = Broken(1).log_loss(broken, u)[0][0]
    np.testing.assert_allclose(Broken(1).log_loss(fit_law(Broken(1), u, log)[0][:1], u)[0][0], log, atol=1e-3)


def test_the_filter_equals_the_textbook_one() -> None:
    """Slow twin: one pair at a time, matrices, the process covariance by quadrature."""
    u = np.log(X / X[-1])
    log = np.log(noisy("from chance down", 0.01))
    fit = fit_slope(u, log)
    for g in (0, 24, 48):
        decay, volatility, noise = fit.decay[g], fit.volatility[g], fit.noise
        scale = noise / _point_noise(log)
        mean, spread = np.array([log[0], 0.0]), np.diag([noise**2, (0.3 * scale) ** 2])
        for i in range(1, len(u)):
            step = u[i] - u[i - 1]
            move = np.array([[1, (1 - np.exp(-decay * step)) / decay], [0, np.exp(-decay * step)]])
            s = np.linspace(0, step, 2001)
            push = volatility * np.stack([(1 - np.exp(-decay * s)) / decay, np.exp(-decay * s)])
            mean, spread = move @ mean, move @ spread @ move.T + np.trapezoid(push[:, None] * push[None], s, axis=-1)
            gain = spread[:, 0] / (spread[0, 0] + noise**2)
            mean, spread = mean + gain * (log[i] - mean[0]), spread - np.outer(gain, spread[0])
        np.testing.assert_allclose(fit.mean[g], mean, rtol=1e-5)
        np.testing.assert_allclose(fit.covariance[g], [spread[0, 0], spread[0, 1], spread[1, 1]], rtol=1e-4)


def _point_noise(log: np.ndarray) -> float:
    return float(np.median(np.abs(np.diff(log, 2)))) / 0.6745 / 6**0.5


def test_the_python_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs/curves.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/curves.md", "exec"), {})
