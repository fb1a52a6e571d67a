"""The whole way on a tiny ladder: every promise of the main loop, seen from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnomon.common.errors import GnomonError
from gnomon.ladder.table import read_result
from gnomon.registry import Registry, run_id_of, seeds_from
from gnomon.workflow.quickstart import Options, quickstart
from gnomon.workflow.verdict import verify_home

RECIPE = """
name: tiny
about: a ladder of seconds
corpus: {vocabulary: 300, sources: [{kind: folder, path: PATH}]}
family:
  context: 32
  head_dim: 8
  depths: {1: 1}
  base: {width: 16, depth: 1, batch_tokens: 128, tokens: 4e4}
  rate: 0.004
  embed_ratio: 8
  beta2: 0.99
  clip: 0
ladder:
  budgets:
    - {compute: 3e8, widths: [8, 16, 24]}
    - {compute: 6e8, widths: [8, 16, 24], seeds: [0, 1], seeded_widths: [16]}
    - {compute: 1.2e9, widths: [8, 16, 24]}
target: {compute: 1.2e10, width: 40}
evals: {subset_tokens: 1000}
"""
KEYS = {
    "wall_s", "peak_rss_gb", "rungs", "ladder_flops", "preregistration_flops", "target_flops",
    "target_over_largest_rung", "forecasts", "registry_ok", "report",
}  # fmt: skip


class Silent:
    """An observer that remembers what it was told, and can stop the way."""

    def __init__(self, stop_at: str = "") -> None:
        self.told: list[str] = []
        self.stop_at = stop_at

    def __getattr__(self, name):
        def hear(*arguments):
            self.told.append(name)
            if name == self.stop_at:
                raise KeyboardInterrupt

        return hear


def options(place: Path, text: Path) -> Options:
    recipe = place / "tiny.yaml"
    recipe.write_text(RECIPE.replace("PATH", str(text)))
    return Options(str(recipe), place / "home", cores=2)


@pytest.fixture(scope="module")
def walked(tmp_path_factory, small_home):
    """One whole way, stopped by Ctrl-C once in the ladder and once before the target's end."""
    text = small_home[0].parent / "text"
    place = tmp_path_factory.mktemp("walk")
    chosen = options(place, text)
    for stop_at in ("rung", "target"):
        with pytest.raises(KeyboardInterrupt):
            quickstart(chosen, Silent(stop_at), 1e11)
    observer = Silent()
    return place, quickstart(chosen, observer, 1e11), observer


def test_the_object_for_machines_has_every_key_and_adds_up(walked):
    _, result, _ = walked
    assert set(result) == KEYS
    assert result["registry_ok"]
    assert result["rungs"] == 10
    assert result["preregistration_flops"] == pytest.approx(result["ladder_flops"])
    assert result["target_over_largest_rung"] == pytest.approx(10, rel=0.05)
    (forecast,) = result["forecasts"]
    assert forecast["metric"] == "bits_per_byte_documents"
    assert forecast["q05"] < forecast["median"] < forecast["q95"]
    assert forecast["error_pct"] == pytest.approx(100 * abs(forecast["median"] / forecast["outcome"] - 1), rel=1e-6)
    assert forecast["inside_90"] == (forecast["q05"] <= forecast["outcome"] <= forecast["q95"])
    json.dumps(result)


def test_the_forecast_was_sealed_before_the_target_and_seeds_it(walked):
    place, _, observer = walked
    registry = Registry(place / "home" / "forecasts.jsonl")
    assert [e.kind for e in registry.entries()] == ["forecast", "outcome"]
    entry = registry.entries("forecast")[0]
    result = read_result(place / "home" / "runs" / run_id_of(entry))
    plan = json.loads((place / "home" / "runs" / result["run_id"] / "plan.json").read_text())
    assert (plan["seed"], plan["order_seed"]) == seeds_from(entry.hash)
    assert result["registry_head"] == entry.hash
    assert entry.body["quantiles"]["bits_per_byte_documents"]["0.5"] > 0
    assert observer.told.index("sealed") < observer.told.index("opened")


def test_the_same_command_again_finds_everything_done(walked):
    place, first, _ = walked
    observer = Silent()
    before = (place / "home" / "forecasts.jsonl").read_bytes()
    again = quickstart(Options(str(place / "tiny.yaml"), place / "home", cores=2), observer, 1e11)
    assert again["forecasts"] == first["forecasts"]
    assert "rung" not in observer.told and "target" not in observer.told
    assert (place / "home" / "forecasts.jsonl").read_bytes() == before


def test_the_report_shows_the_seal_the_outcome_and_the_log_line(walked):
    place, result, _ = walked
    page = Path(result["report"]).read_text()
    registry = Registry(place / "home" / "forecasts.jsonl")
    assert registry.entries("forecast")[0].hash[:12] in page
    assert f"{result['forecasts'][0]['outcome']:.3f}" in page
    assert registry.log().text.split(";")[0] in page
    assert "xz -9" in page


def test_an_edited_forecast_and_a_cut_off_outcome_are_named(walked, tmp_path):
    import shutil

    place, _, _ = walked
    home = tmp_path / "home"
    shutil.copytree(place / "home", home)
    path = home / "forecasts.jsonl"
    lines = path.read_text().splitlines()
    assert verify_home(home).problems == []
    path.write_text(lines[0] + "\n")
    assert any("unreported" in p for p in verify_home(home).problems)
    entry = json.loads(lines[0])
    entry["body"]["quantiles"]["bits_per_byte_documents"]["0.5"] *= 1.01
    path.write_text(json.dumps(entry) + "\n" + lines[1] + "\n")
    assert any("edited" in p for p in verify_home(home).problems)
    path.write_text("")
    assert any("truncated" in p for p in verify_home(home).problems)


def test_a_recipes_target_does_not_start_without_an_entry(walked, tmp_path):
    from gnomon.workflow.display import Display
    from gnomon.workflow.training import Wish, train_one

    place, _, _ = walked
    with pytest.raises(GnomonError, match="refuses to start without an entry"):
        train_one(Wish(what=str(place / "tiny.yaml")), tmp_path / "home", 1, Display())
