"""The measurement of transfer finds optima, shifts and regrets that were put there, and runs end to end."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.ladder.family import Family
from gnomon.recipe.values import Base, CorpusRecipe, FamilyRecipe, FolderSource, HeldOut
from gnomon.workflow.transfer import FACTORS, plan_of, sizes, summarise, transfer, valley_of


def valley(where: float, lowest: float = 3.0, width: float = 0.01) -> list[float]:
    """Losses at FACTORS of a parabola with its vertex at log2(factor) = where."""
    return [lowest + width * (math.log2(f) - where) ** 2 for f in FACTORS]


@given(where=st.floats(-1.9, 1.9), lowest=st.floats(3, 8))
@settings(deadline=None)
def test_the_best_of_a_parabola_is_its_vertex(where, lowest):
    found = valley_of(FACTORS, valley(where, lowest))
    assert found.best == pytest.approx(where, abs=1e-6)
    assert found.loss == pytest.approx(lowest, abs=1e-6)
    assert found.bracketed
    for x in (where - 1, where, where + 0.7):
        assert found.at(x) == pytest.approx(lowest + 0.01 * (x - where) ** 2, abs=1e-6)
    for x, loss in zip((-3, -2, 2, 3), (found.y[i] for i in (0, 1, 5, 6)), strict=True):
        assert found.at(x) == pytest.approx(loss, abs=1e-6)
    assert found.at(3.1) == math.inf


def test_a_valley_at_the_edge_is_not_called_bracketed():
    found = valley_of(FACTORS, valley(3.4))
    assert (found.best, found.bracketed) == (3.0, False)
    assert not valley_of(FACTORS, valley(-3.4)).bracketed


def test_a_cliff_beside_the_best_rate_does_not_deepen_the_valley():
    """As measured at width 16: the next rate is 10 % worse, and a parabola through it would dip below every run."""
    losses = [5.277, 5.219, 5.187, 5.204, 5.744, 5.706, 5.983]
    found = valley_of(FACTORS, losses)
    assert found.loss == pytest.approx(min(losses), abs=0.01)
    assert -1.5 < found.best < 0
    assert found.at(found.best) == found.loss
    assert found.at(1.0) == pytest.approx(5.744)


def test_divergence_beyond_a_rate_is_a_side_of_the_valley():
    found = valley_of(FACTORS, [*valley(1.0)[:5], math.inf, math.inf])
    assert found.bracketed
    assert found.best == pytest.approx(1.0)
    assert found.at(2.5) == math.inf
    with pytest.raises(GnomonError, match="every run of a size diverged"):
        valley_of(FACTORS, [math.inf] * 7)


def test_shift_and_regret_are_found():
    """Width 64's valley lies one octave above width 16's: an octave a fourfold width, a regret of 0.01 of 3 nats."""
    runs = [
        {"axis": "width", "value": width, "factor": f, "seed": seed, "loss_nats": loss + 0.001 * seed}
        for width, where in ((16, -0.5), (64, 0.5))
        for seed in (0, 1)
        for f, loss in zip(FACTORS, valley(where), strict=True)
    ]
    small, large = summarise(runs, own=0.004)
    assert small["shift_octaves"] == 0
    assert small["regret_pct"] == pytest.approx(0, abs=1e-6)
    assert small["best"] == pytest.approx(0.004 * 2**-0.5)
    assert large["shift_octaves"] == pytest.approx(1)
    assert large["octaves_per_4x"] == pytest.approx(1)
    assert large["shift_stderr"] == pytest.approx(0, abs=1e-6)
    assert large["regret_pct"] == pytest.approx(100 * 0.01 / 3.0005, abs=1e-4)
    assert large["recipe_regret_pct"] == pytest.approx(100 * 0.0025 / 3.0005, abs=1e-4)


def test_a_rate_at_which_the_larger_size_diverges_has_no_regret_in_numbers():
    losses = {16: valley(1.5), 64: [*valley(0.0)[:4], math.inf, math.inf, math.inf]}
    runs = [
        {"axis": "width", "value": w, "factor": f, "seed": 0, "loss_nats": loss if math.isfinite(loss) else None}
        for w, column in losses.items()
        for f, loss in zip(FACTORS, column, strict=True)
    ]
    assert summarise(runs, own=1.0)[1]["regret_pct"] is None


FAMILY = FamilyRecipe(
    context=16,
    head_dim=8,
    base=Base(width=16, depth=2, batch_tokens=64, tokens=4096, tokens_per_parameter=1),
    exponents={"batch_tokens": 0.383},
)


def test_only_the_axis_and_the_knob_change():
    family = Family(FAMILY, vocab=64, corpus="c" * 64)
    found = sizes(family, widths=(32, 8, 16), depths=(4, 2), tokens=4096, horizons=(2048, 8192), batches=(2, 8))
    assert [(s.axis, s.value) for s in found] == [
        ("width", 8), ("width", 16), ("width", 32), ("depth", 2), ("depth", 4),
        ("tokens", 2048), ("tokens", 8192), ("batch", 32), ("batch", 128),
    ]  # fmt: skip
    assert [s.shape.branch_multiplier for s in found if s.axis == "depth"] == [1.0, 0.5]
    assert {s.shape.width for s in found if s.axis != "width"} == {16}
    one, two = (plan_of(family, found[0], factor, 0, "rate") for factor in (1.0, 2.0))
    assert two == replace(one, optimisation=replace(one.optimisation, rate=2 * one.optimisation.rate))
    assert plan_of(family, found[0], 1.0, 1, "rate").seed != one.seed
    longer = plan_of(family, found[6], 1.0, 0, "rate")
    assert longer.tokens == 8192
    assert longer.optimisation.rate == pytest.approx(FAMILY.rate * 2**-0.32)
    with pytest.raises(GnomonError, match="one size; a shift needs at least two"):
        sizes(family, widths=(8,), depths=(), tokens=4096)


def test_end_to_end_on_a_folder_of_text(tmp_path):
    from gnomon.corpus.build import build_corpus

    text = tmp_path / "text"
    text.mkdir()
    for i in range(40):
        words = " ".join(str((i * 7 + j * j) % 100) for j in range(120))
        (text / f"{i}.txt").write_text(words)
    recipe = CorpusRecipe(
        sources=(FolderSource(kind="folder", path=str(text)),), vocabulary=270, held_out=HeldOut(fraction=0.2)
    )
    corpus = build_corpus(recipe, tmp_path / "home")
    heard: list[float] = []
    ask = {
        "widths": (8, 16), "tokens": 1024, "factors": (0.25, 1.0, 4.0), "seeds": (0,), "subset_tokens": 500,
        "progress": lambda _, share: heard.append(share),
    }  # fmt: skip
    rows = transfer(FAMILY, corpus, tmp_path / "home", tmp_path / "out", **ask)
    assert [(row["axis"], row["value"]) for row in rows] == [("width", 8), ("width", 16)]
    assert heard[-1] == pytest.approx(1) and len(heard) == 6
    stored = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert stored["rows"] == rows and len(stored["runs"]) == 6
    assert all(0 < run["loss_nats"] < math.log(270) + 0.5 for run in stored["runs"])
    assert "<svg" in (tmp_path / "out" / "transfer-width.svg").read_text()
    heard.clear()
    again = transfer(FAMILY, corpus, tmp_path / "home", tmp_path / "again", **ask)
    assert again == rows and heard == [], "a finished run was repeated"
