"""The card has the keys that machines read, is the same twice, and prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gnomon.cli import app
from gnomon.common.errors import GnomonError
from gnomon.forecast.scorecard.baselines import LastPoint
from gnomon.forecast.scorecard.card import methods_named, protocols_named, score
from gnomon.forecast.scorecard.families import Collection, Family
from gnomon.forecast.scorecard.gnomon_method import Gnomon
from gnomon.forecast.scorecard.method import Answer, Question
from gnomon.forecast.scorecard.show import lines


class NearlyRight(LastPoint):
    """The law that the families follow, one percent off; its intervals come from the other sources."""

    name = "nearly_right"
    conformal = True

    def forecast(self, question: Question) -> Answer:
        return Answer.points(1.01 * (1.7 + 400 * question.params**-0.34 + 400 * question.tokens**-0.28))


def test_the_keys_that_machines_read(collection: Collection) -> None:
    done: list[int] = []
    methods = [LastPoint(), NearlyRight()]
    protocols = ["rolling_origin", "isoflop", "coverage"]
    card = score(collection, methods, protocols, refits=2, progress=lambda what, n, total: done.append(total - n))
    assert done[-1] == 0
    prior = card["methods"]["nearly_right"]
    keys = {"family_median_ape", "pooled_median_ape", "pooled_p90_ape", "crps", "targets", "families", "sources"}
    assert keys <= set(prior["rolling_origin"]["10"])
    assert prior["rolling_origin"]["10"]["sources"] == 4
    assert {"median_ape", "p90_ape"} <= set(prior["isoflop"]["10"])
    assert {"80", "90", "half_width_80", "winkler_80"} <= set(prior["coverage"]["10"])
    assert "coverage" not in card["methods"]["last_point"]
    assert prior["rolling_origin"]["10"]["family_median_ape"] < 2.0
    assert card["methods"]["last_point"]["rolling_origin"]["10"]["family_median_ape"] > 5.0
    json.dumps(card)
    text = "\n".join(lines(card))
    assert "nearly_right" in text
    assert "Any run, rolling origin, 10 times" in text


def test_two_cards_are_alike(collection: Collection) -> None:
    first, second = (score(collection, [NearlyRight()], ["coverage", "isoflop"])["methods"] for _ in range(2))
    assert first == second


def test_unknown_names_are_named() -> None:
    with pytest.raises(GnomonError, match="no method 'magic'; there are gnomon, last_point"):
        methods_named(["magic"])
    with pytest.raises(GnomonError, match="no protocol 'luck'; there are rolling_origin"):
        protocols_named(["luck"])


def test_gnomon_is_asked_through_its_own_door(family: Callable[..., Family], tmp_path: Path) -> None:
    small = Collection(tmp_path, (family(budgets=5, noise=0.002),), (), (), {}, {})
    card = score(small, [Gnomon()], ["isoflop"])
    figures = card["methods"]["gnomon"]["isoflop"]["10"]
    assert figures["unanswered"] == 0
    assert figures["median_ape"] < 2.0


def test_the_command_writes_the_card(tmp_path: Path) -> None:
    rows = ["family,run_id,params_N,tokens_D,loss,is_final"]
    for i in range(8):
        for j in range(8):
            n, d = 1e7 * 2.2**i, 3e8 * 2.2**j
            rows.append(f"a,{i}.{j},{n},{d},{1.7 + 400 * n**-0.34 + 400 * d**-0.28},1")
    data = tmp_path / "data"
    data.mkdir()
    (data / "mylab_runs.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "card.json"
    options = ["--protocol", "rolling_origin", "--method", "last_point", "--json", str(out)]
    result = CliRunner().invoke(app, ["forecast", "scorecard", "--data", str(data), *options])
    assert result.exit_code == 0, result.output
    assert "rolling origin" in result.output
    card = json.loads(out.read_text())
    assert card["methods"]["last_point"]["rolling_origin"]["10"]["families"] == 1
    assert card["data"]["sources"] == ["mylab"]
