"""The schedule: its corners, its shapes, what it refuses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Optimisation
from gnomon.train import schedule

BASE = Optimisation(rate=0.01, base_width=16, base_depth=1, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95)


def curve(steps: int, **changes: object) -> list[float]:
    return [schedule.multiplier(t, steps, replace(BASE, **changes)) for t in range(steps)]  # type: ignore[arg-type]


def test_warmup_rises_to_one_and_the_decay_would_reach_zero_after_the_last_step() -> None:
    s = curve(100, warmup_fraction=0.1, decay_fraction=0.5)
    assert s[:10] == pytest.approx([(t + 1) / 10 for t in range(10)])
    assert s[10:51] == [1.0] * 41
    assert s[-1] == pytest.approx(1 / 50)
    assert s[75] == pytest.approx(0.5)


def test_one_minus_root_falls_faster_at_first() -> None:
    line = curve(100, decay_fraction=0.5)
    root = curve(100, decay_fraction=0.5, decay_shape="sqrt")
    assert root[75] == pytest.approx(1 - 0.5**0.5)
    assert root[50] == line[50] == 1.0 and all(r < x for r, x in zip(root[51:], line[51:], strict=True))


def test_a_trunk_never_decays() -> None:
    assert curve(50, decay_fraction=0.0)[10:] == [1.0] * 40


@given(
    steps=st.integers(1, 3000),
    warmup=st.floats(0, 1),
    share=st.floats(0, 1),
    shape=st.sampled_from(["linear", "sqrt"]),
)
def test_it_stays_between_zero_and_one_and_has_one_summit(steps: int, warmup: float, share: float, shape: str) -> None:
    optimisation = replace(BASE, warmup_fraction=warmup, decay_fraction=share * (1 - warmup), decay_shape=shape)
    schedule.check(optimisation)
    s = [schedule.multiplier(t, steps, optimisation) for t in range(0, steps, max(1, steps // 97))]
    assert all(0 < x <= 1 for x in s)
    top = s.index(max(s))
    assert s[: top + 1] == sorted(s[: top + 1]) and s[top:] == sorted(s[top:], reverse=True)


@pytest.mark.parametrize("changes", [{"warmup_fraction": 0.5}, {"decay_fraction": -0.1}, {"decay_shape": "cosine"}])
def test_what_is_no_schedule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(GnomonError, match="schedule"):
        schedule.check(replace(BASE, **changes))  # type: ignore[arg-type]


def test_a_step_outside_the_run_is_refused() -> None:
    with pytest.raises(GnomonError, match="step 10 of a run of 10"):
        schedule.multiplier(10, 10, BASE)
