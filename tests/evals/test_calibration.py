"""A model that means what it says has no calibration error, and one temperature mends one that shouts."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.evals import calibration as cal


def honest(items, seed, sharpen=1.0):
    """Choice log-probabilities whose shares are the true chances, then overstated by `sharpen`."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, 1.5, (items, 4))
    gold = [int(rng.choice(4, p=cal.probabilities(row))) for row in logs]
    return (logs * sharpen).tolist(), gold


@pytest.mark.parametrize("claims", [cal.per_choice, cal.top_label])
@pytest.mark.parametrize("kind", ["equal", "adaptive"])
def test_an_honest_model_has_little_error_and_a_loud_one_has_much(claims, kind):
    logs, gold = honest(20_000, 1)
    loud, _ = honest(20_000, 1, sharpen=3.0)
    quiet_ece = cal.reliability(*claims([cal.probabilities(r) for r in logs], gold), kind=kind).ece
    loud_ece = cal.reliability(*claims([cal.probabilities(r) for r in loud], gold), kind=kind).ece
    assert quiet_ece < 0.012 and loud_ece > 0.08


def test_per_choice_has_four_claims_a_question_and_top_label_one():
    logs, gold = honest(500, 2)
    shares = [cal.probabilities(r) for r in logs]
    assert cal.reliability(*cal.per_choice(shares, gold)).claims == 2000
    assert cal.reliability(*cal.top_label(shares, gold)).claims == 500


def test_worked_by_hand():
    shares, gold = [np.array([0.8, 0.2]), np.array([0.6, 0.4])], [0, 1]
    top = cal.reliability(*cal.top_label(shares, gold), bins=2)
    assert top.ece == pytest.approx(abs(0.7 - 0.5)) and top.worst == pytest.approx(0.2)
    assert cal.brier(shares, gold) == pytest.approx(((0.04 + 0.04) + (0.36 + 0.36)) / 2)
    each = cal.reliability(*cal.per_choice(shares, gold), bins=2)
    assert each.ece == pytest.approx(0.5 * abs(0.3 - 0.5) + 0.5 * abs(0.7 - 0.5))


def test_the_temperature_that_was_hidden_is_found():
    logs, gold = honest(5_000, 3, sharpen=2.5)
    assert cal.fit_temperature(logs, gold) == pytest.approx(2.5, rel=0.05)


def test_adaptive_bins_hold_like_counts():
    logs, gold = honest(4_000, 4)
    bins = cal.reliability(*cal.per_choice([cal.probabilities(r) for r in logs], gold), kind="adaptive").bins
    assert len(bins) == 10 and max(b.count for b in bins) <= 1.1 * min(b.count for b in bins)


def test_halves_do_not_depend_on_order():
    ids = [f"item{i}" for i in range(1000)]
    flags = dict(zip(ids, cal.halves(ids), strict=True))
    assert all(flags[i] == f for i, f in zip(ids[::-1], cal.halves(ids[::-1]), strict=True))
    assert 400 < sum(flags.values()) < 600


def test_bad_input():
    with pytest.raises(GnomonError, match="right answer is number 2"):
        cal.per_choice([np.array([0.5, 0.5])], [2])
    with pytest.raises(GnomonError, match="finite"):
        cal.probabilities([0.0, float("-inf")])
