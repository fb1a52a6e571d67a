"""The forecast as a user meets it: right on known laws, intervals that hold, the same for the same table."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from gnomon.common.errors import GnomonError
from gnomon.forecast import Law, PowerSum, RunTable, Target, fit, read, score, standard_laws

FAR = 3e14  # thirty times the largest rung


@pytest.mark.parametrize("name", ["chinchilla_like", "tied", "coupled"])
def test_a_clean_ladder_forecasts_thirty_times_further(make_ladder, laws, metric: str, name: str) -> None:
    ladder = make_ladder(law=laws[name], noise=0.001, seed=1)
    forecast = fit(ladder.table(), metric, draws=60).predict(ladder.target(FAR)[0])
    result = score(forecast, ladder.target(FAR)[1])
    assert result.error_pct < 1.0 and result.error_pct < result.last_point_error_pct / 10
    assert result.inside_90 and forecast.half_width_pct < 4
    assert {c["family"] for c in forecast.components} == {"minima", "surface", "valley"}
    assert sum(c["weight"] for c in forecast.components) == pytest.approx(1)
    assert sum(forecast.shares.values()) == pytest.approx(1)
    assert set(forecast.shares) == {"seed", "evaluation", "minimum", "form", "outcome"}
    levels = list(forecast.quantiles.values())
    assert levels == sorted(levels) and forecast.median == forecast.quantiles["0.5"]


def coverage(make_ladder, laws, metric: str, ladders: int) -> tuple[float, float]:
    """Share of outcomes inside the 80 and 90 % intervals, over laws and seeds; an outcome is one noisy run."""
    inside = []
    for name, law in laws.items():
        for seed in range(ladders):
            ladder = make_ladder(law=law, noise=0.003, seed=seed)
            target, loss = ladder.target(FAR)
            rng = np.random.default_rng([len(name), seed])
            result = score(fit(ladder.table(), metric, draws=30).predict(target), loss * np.exp(0.003 * rng.normal()))
            inside.append((result.inside_80, result.inside_90))
    return tuple(np.mean(inside, axis=0))  # type: ignore[return-value]  # two columns give two means


def test_intervals_cover(make_ladder, laws, metric: str) -> None:
    """Nine ladders of three laws; the slow test below says more."""
    at_80, at_90 = coverage(make_ladder, laws, metric, ladders=3)
    assert at_80 >= 0.6 and at_90 >= 0.8


@pytest.mark.slow
def test_intervals_cover_and_are_no_wider_than_need_be(make_ladder, laws, metric: str) -> None:
    at_80, at_90 = coverage(make_ladder, laws, metric, ladders=40)
    assert 0.7 <= at_80 <= 0.99 and at_90 >= 0.84


def test_the_same_table_gives_the_same_forecast_in_any_order_and_format(make_ladder, metric: str, tmp_path) -> None:
    ladder = make_ladder(budgets=(1e11, 3e11, 1e12, 3e12))
    table = ladder.table()
    target = ladder.target(1e14)[0]
    forecast = fit(table, metric, draws=20).predict(target)
    table.write(tmp_path / "t.csv")
    shuffled = read(tmp_path / "t.csv").select(np.random.default_rng(0).permutation(len(table)))
    again = fit(shuffled, metric, draws=20).predict(target)
    assert again.seen["table_hash"] == forecast.seen["table_hash"] == table.hash
    assert again.quantiles == pytest.approx(forecast.quantiles, rel=1e-6)
    json.dumps(forecast.to_dict(), allow_nan=False)


def test_noisier_seeds_widen_the_interval_and_take_a_larger_share(make_ladder, metric: str) -> None:
    quiet, loud = (make_ladder(noise=s, seed=2) for s in (0.0005, 0.008))
    narrow, wide = (fit(x.table(), metric, draws=40).predict(x.target(FAR)[0]) for x in (quiet, loud))
    assert wide.half_width_pct > 1.5 * narrow.half_width_pct
    own = {f.median: f.shares["seed"] + f.shares["outcome"] + f.shares["minimum"] for f in (narrow, wide)}
    assert own[wide.median] > own[narrow.median]


def test_an_evaluation_on_other_rows_widens_the_interval(make_ladder, metric: str) -> None:
    ladder = make_ladder(noise=0.0005)
    fitted = fit(ladder.table(), metric, draws=20)
    target = ladder.target(FAR)[0]
    same, other = fitted.predict(target), fitted.predict(target, outcome_stderr=0.03)
    assert other.half_width_pct > 1.5 * same.half_width_pct and same.shares["evaluation"] == 0
    assert other.shares["evaluation"] > 0.5


@pytest.mark.parametrize("off", [0.4, 2.5])
def test_a_target_off_the_best_size_is_forecast_worse_than_the_best(make_ladder, metric: str, off: float) -> None:
    ladder = make_ladder(noise=0.0005)
    fitted = fit(ladder.table(), metric, draws=20)
    target, loss = ladder.target(FAR, off=off)
    forecast = fitted.predict(target)
    best = fitted.predict(ladder.target(FAR)[0])
    assert forecast.median > best.median
    assert forecast.median == pytest.approx(loss, rel=0.012)
    minima = [[c["median"] for c in f.components if c["family"] == "minima"] for f in (forecast, best)]
    assert all(a > b for a, b in zip(*minima, strict=True))


def test_runs_without_isoflop_groups_are_forecast_by_surfaces(make_ladder, metric: str) -> None:
    rng = np.random.default_rng(0)
    ladder = make_ladder()
    rows = []
    for i in range(16):
        size, tokens = np.exp(rng.uniform(8.5, 13)), np.exp(rng.uniform(13, 16.5))
        value = float(ladder.law(size, tokens) * np.exp(0.002 * rng.normal()))
        rows.append(
            {"run_id": str(i), "parameters_total": size, "tokens": tokens, "flops": 6 * size * tokens, metric: value}
        )
    fitted = fit(RunTable.from_rows(rows), metric, draws=30)
    target, loss = ladder.target(FAR)
    forecast = fitted.predict(target)
    assert {c["family"] for c in forecast.components} == {"surface"} and fitted.size_column == "parameters_total"
    assert score(forecast, loss).inside_90
    assert fitted.best_size(4 * FAR) == pytest.approx(2 * fitted.best_size(FAR))  # as the best run divides its compute


def test_a_law_of_ones_own_is_fitted_beside_the_others(make_ladder, metric: str) -> None:
    class Logarithm(Law):
        """Loss falls by the same amount per e-fold, with a floor far away: c / (1 + b log(C/C0)). No slopes given."""

        name, source = "logarithm", "here"
        inputs = ("compute",)
        coefficients, exponents = ("c",), ("b",)
        bounds, prior = ((0.01, 1.0),), (None,)

        def columns(self, exponents_Sq, inputs):
            return 1 / (1 + exponents_Sq[:, :1, None] * np.log(inputs["compute"] / 1e9)[None, :, None])

    floor = PowerSum("fixed floor", "here", (("a", "compute", "b"), ("c", "", "")), ((0.1, 0.2),), (None,))
    ladder = make_ladder(noise=0.0005)
    fitted = fit(ladder.table(), metric, laws=[*standard_laws(), Logarithm(), floor], draws=20)
    names = [c["name"] for c in fitted.predict(ladder.target(FAR)[0]).components]
    assert {"logarithm", "fixed floor"} < set(names)
    one = fit(ladder.table(), metric, laws=[Logarithm()], draws=20)
    expected = one.members[0].law.predict(one.members[0].point.parameters(), compute=1e13)[0]
    assert expected == pytest.approx(one.minima[-1].loss, rel=0.1)


def test_the_curve_passes_the_minima_and_fans_out(make_ladder, metric: str) -> None:
    fitted = fit(make_ladder(noise=0.001).table(), metric, draws=30)
    curve = fitted.curve([m.compute for m in fitted.minima] + [1e14, 1e15])
    for row, minimum in zip(curve, fitted.minima, strict=False):
        assert row["median"] == pytest.approx(minimum.loss, rel=0.01)
    widths = [row["q95"] / row["q05"] for row in curve]
    assert widths[-1] > widths[-2] > widths[2]


def test_a_target_inside_the_table_or_absurdly_far_is_flagged(make_ladder, metric: str) -> None:
    ladder = make_ladder()
    fitted = fit(ladder.table(), metric, draws=20)
    assert any("inside the table" in w for w in fitted.predict(ladder.target(1e12)[0]).warnings)
    assert any("10,000" in w for w in fitted.predict(ladder.target(1e25)[0]).warnings)
    assert any("off the best one" in w for w in fitted.predict(ladder.target(FAR, off=30)[0]).warnings)
    assert not fitted.predict(ladder.target(FAR)[0]).warnings
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(GnomonError, match="target compute"):
            Target(bad, 1e6, 1e8)


def test_three_budgets_are_a_law_with_a_wide_interval_that_says_so(make_ladder, metric: str) -> None:
    ladder = make_ladder(budgets=(1e11, 1e12, 1e13), noise=0.0005, repeated=(0, 1))
    forecast = fit(ladder.table(), metric, draws=20).predict(ladder.target(FAR)[0])
    assert any("assumption" in w for w in forecast.warnings) and forecast.half_width_pct > 3
    assert score(forecast, ladder.target(FAR)[1]).inside_90


def test_importing_loads_no_heavy_library() -> None:
    heavy = ("torch", "scipy", "pyarrow", "matplotlib")
    code = f"import sys, gnomon.forecast; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
