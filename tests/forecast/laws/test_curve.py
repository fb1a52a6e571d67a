"""Laws of one learning curve: slopes agree with differences, limits and defining equations hold."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast.laws.curve import M2, M3, M4, Broken, Curve, curve_laws

U = np.linspace(-6, 2, 17)


@pytest.mark.parametrize("law", curve_laws(), ids=lambda law: law.name)
def test_slopes_are_the_derivatives_of_the_curve(law: Curve) -> None:
    rng = np.random.default_rng(3)
    theta = rng.normal(scale=0.6, size=(5, len(law.constants)))
    slopes = law.log_loss(theta, U)[1]
    for p in range(theta.shape[1]):
        move = np.zeros_like(theta)
        move[:, p] = 1e-6
        difference = (law.log_loss(theta + move, U)[0] - law.log_loss(theta - move, U)[0]) / 2e-6
        np.testing.assert_allclose(slopes[..., p], difference, atol=2e-6)


def test_m4_obeys_its_equation() -> None:
    floor, width, alpha, t, c = 0.2, 0.75, 0.6, 0.3, 0.35
    theta = np.array([[np.log(floor), np.log(width), np.log(alpha), t, np.log(c)]])
    y = np.exp(M4().log_loss(theta, U)[0][0])
    ratio = (y - floor) / (floor + width - y) ** alpha
    steps = np.diff(np.log(ratio)) / np.diff(U)
    np.testing.assert_allclose(steps, -c, rtol=1e-6)


def test_m4_without_a_ceiling_is_a_power_law_with_a_floor() -> None:
    """alpha -> 0 leaves (y - e) = b x^-c."""
    theta = np.array([[np.log(0.3), np.log(50.0), -40.0, -4.0, np.log(0.4)]])
    plain = np.array([[np.log(0.3), np.log(50.0) - 4.0, np.log(0.4)]])
    np.testing.assert_allclose(M4().log_loss(theta, U)[0], M2().log_loss(plain, U)[0], rtol=0.02, atol=0.02)


def test_m3_levels_off_beyond_its_end() -> None:
    y = M3().log_loss(np.array([[0.0, 3.0, np.log(0.5)]]), np.array([20.0, 40.0]))[0][0]
    np.testing.assert_allclose(y, 1.5, rtol=1e-9)


def test_a_broken_law_has_one_slope_before_and_another_after() -> None:
    theta = np.array([[-60.0, 0.0, 0.1, 0.5, -2.0, np.log(0.2)]])
    far = np.array([-12.0, -11.0, 8.0, 9.0])
    steps = np.diff(Broken(1).log_loss(theta, far)[0][0])[[0, 2]]
    np.testing.assert_allclose(steps, [-0.1, -0.6], atol=1e-3)
