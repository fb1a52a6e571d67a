"""Per-budget minima: where they are, how well they are known, and which budgets do not count."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.forecast import RunTable, doctor
from gnomon.forecast.isoflop import allocate, parabolas
from gnomon.forecast.members import shape_of
from gnomon.forecast.noise import seed_noise
from gnomon.forecast.runs import Runs, admissible


def shape(table: RunTable, metric: str):
    runs = admissible(table, metric)
    return shape_of(runs, seed_noise(runs))


@pytest.mark.parametrize("sizes", [3, 4, 5, 6])
def test_minima_are_those_of_the_law(make_ladder, metric: str, sizes: int) -> None:
    ladder = make_ladder(sizes=sizes, noise=0.0, width=2.5 if sizes == 3 else 3.2)
    found = shape(ladder.table(), metric)
    assert len(found.minima) == len(ladder.budgets) and not found.refused
    for minimum in found.minima:
        target, loss = ladder.target(minimum.compute)
        assert minimum.loss == pytest.approx(loss, rel=1e-3)
        assert minimum.size == pytest.approx(target.parameters, rel=0.25)
        assert minimum.tokens * minimum.size * 6 == pytest.approx(minimum.compute, rel=0.01)


def test_stated_deviation_is_that_of_repeated_ladders(make_ladder, metric: str) -> None:
    """The same ladder with other seeds: the scatter of a minimum is what the delta method said."""
    rng = np.random.default_rng(0)
    clean = admissible(make_ladder(noise=0.0).table(), metric)
    runs = admissible(make_ladder(noise=0.004, repeated=(0, 1, 2, 3, 4)).table(), metric)
    stated = shape_of(runs, seed_noise(runs)).minima[2]
    losses = np.log(clean.loss) + 0.004 * rng.standard_normal((2000, len(clean)))
    parabola = shape_of(clean, seed_noise(clean)).parabolas[2]
    height, size = parabola.minimum(losses)
    # Clean and noisy ladder differ in seeds per size; with one run a size the height is known to about 0.004/sqrt(2).
    assert 0.6 * height.std() < stated.log_loss_deviation < 1.5 * height.std()
    assert stated.log_size_deviation == pytest.approx(size.std(), rel=0.6)


def test_runs_of_a_budget_are_brought_to_one_compute(make_ladder, metric: str) -> None:
    """1 % more compute is 0.07 % of loss: more than the noise of a mean, were it left in."""
    rows = make_ladder(noise=0.0).rows()
    rng = np.random.default_rng(1)
    ladder = make_ladder()
    for row in rows:
        row["tokens"] = round(row["tokens"] * np.exp(0.03 * rng.standard_normal()))
        row["flops"] = 6.0 * row["parameters_matmul"] * row["tokens"]
        row[metric] = float(ladder.law(np.array(row["parameters_matmul"]), np.array(row["tokens"])))
    found = shape(RunTable.from_rows(rows), metric)
    for minimum in found.minima:
        assert minimum.loss == pytest.approx(ladder.target(minimum.compute)[1], rel=1e-3)


def test_an_unbracketed_budget_does_not_count_and_is_named(make_ladder, metric: str) -> None:
    rows = make_ladder(noise=0.0).rows()
    rows = [r for r in rows if not (r["budget"] == 1e12 and r["run_id"] in ("b2k3s0", "b2k4s0"))]
    table = RunTable.from_rows(rows)
    assert [round(np.log10(m.compute), 1) for m in shape(table, metric).minima] == [11.0, 11.5, 12.5, 13.0]
    found = [f for f in doctor(table, metric) if f.code == "unbracketed"]
    assert len(found) == 1 and found[0].severity == "warning"
    assert set(found[0].rows) == {"b2k0s0", "b2k1s0", "b2k2s0"} and "add a larger one" in found[0].message


def test_two_sizes_bracket_nothing(make_ladder, metric: str) -> None:
    rows = [r for r in make_ladder().rows() if r["budget"] != 1e13 or str(r["run_id"])[3] in "01"]
    found = [f for f in doctor(RunTable.from_rows(rows), metric) if f.code == "unbracketed"]
    assert "three are the fewest" in found[0].message


def test_allocation_exponent(make_ladder, metric: str) -> None:
    """With alpha 0.28 and beta 0.3 the best size grows as compute to 0.3/0.58."""
    found = shape(make_ladder(noise=0.0, sizes=6).table(), metric)
    assert found.allocation.exponent[0] == pytest.approx(0.3 / 0.58, abs=0.08)
    one = allocate(np.array([1e12]), np.log([[1e5]]), np.array([0.1]))
    assert one.exponent[0] == pytest.approx(0.5) and np.exp(one.log_size(1e14)[0]) == pytest.approx(1e6)


def test_seed_noise_is_pooled_and_falls_with_compute_only_if_shown(make_ladder, metric: str) -> None:
    runs = admissible(make_ladder(noise=0.005, repeated=(0, 1, 2, 3, 4), seed=4).table(), metric)
    noise = seed_noise(runs)
    assert noise.degrees == 10 and noise.deviation == pytest.approx(0.005, rel=0.5)
    assert 0.4 < noise.at(3e14) / noise.deviation < 2.01
    alone = seed_noise(admissible(make_ladder(repeated=()).table(), metric))
    assert alone.degrees == 0 and alone.deviation > 0


def steep_walled(lucky: float = 0.0) -> Runs:
    """Three budgets of ten sizes whose small side is a steep wall, as in careless sweeps; lucky: log loss taken from
    one size beside the minimum."""
    budgets, u = np.array([1e17, 1e18, 1e19]), np.linspace(-2.4, 2.1, 10)
    size = (3e7 * (budgets / 1e17)[:, None] ** 0.5 * np.exp(u)).ravel()
    log_loss = np.log(3.0) - 0.05 * np.log(budgets / 1e17)[:, None] + 0.03 * u**2 + 0.02 * np.minimum(u, 0) ** 4
    log_loss[:, 3] -= lucky
    compute, n = np.repeat(budgets, 10), 30
    group = np.repeat(np.arange(3), 10)
    return Runs(np.arange(n), compute, size, compute / 6 / size, np.exp(log_loss.ravel()), group, np.arange(n))


def test_steep_walls_do_not_lower_the_minimum() -> None:
    for found, budget in zip(parabolas(steep_walled())[0], (1e17, 1e18, 1e19), strict=True):
        height, size = found.minimum(np.log(steep_walled().loss)[None])
        assert height[0] == pytest.approx(np.log(3.0) - 0.05 * np.log(budget / 1e17), abs=2e-3)
        assert size[0] == pytest.approx(np.log(3e7) + 0.5 * np.log(budget / 1e17), abs=0.12)


def test_of_one_run_s_luck_less_than_a_third_reaches_the_minimum() -> None:
    runs = steep_walled(lucky=0.05)
    for found, plain in zip(parabolas(runs)[0], parabolas(steep_walled())[0], strict=True):
        height = found.minimum(np.log(runs.loss)[None])[0]
        assert height[0] == pytest.approx(plain.minimum(np.log(steep_walled().loss)[None])[0][0], abs=0.05 / 3)


def test_a_best_run_at_the_edge_is_bracketed_by_the_curve_of_many() -> None:
    """Noise puts the smallest of eight sizes ahead by a hair; the curve through all still turns between them."""
    runs = steep_walled()
    u = np.tile(np.linspace(-0.5, 1.8, 10), 3)
    loss = runs.loss.min() * np.exp(0.03 * u**2)
    loss[::10] *= np.exp(-0.009)
    flat = Runs(runs.ids, runs.compute, 1e8 * np.exp(u), runs.tokens, loss, runs.budget, runs.setting)
    fitted, refused = parabolas(flat)
    assert len(fitted) == 3 and not refused
    few = flat.select(np.isin(np.arange(30) % 10, (0, 4, 8, 9)))
    assert not parabolas(few)[0] and "add a smaller one" in parabolas(few)[1][0][1]
