"""Recipes: every shipped one loads, overrides reach every depth, mistakes are named with their mend."""

import pytest

from gnomon.common.errors import GnomonError
from gnomon.ladder.budgets import rungs
from gnomon.ladder.family import Family
from gnomon.recipe.flops import train_flops
from gnomon.recipe.load import load_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_makes_a_ladder_below_its_target(name):
    recipe = load_recipe(name)
    family = Family(recipe.family, recipe.corpus.vocabulary, "corpus", recipe.seed)
    ladder = rungs(recipe.ladder.budgets, family)
    target = family.at(recipe.target.compute, recipe.target.width)
    assert train_flops(target) > max(train_flops(r.plan) for r in ladder)
    assert len({r.budget for r in ladder}) >= 3
    assert recipe.name == name


def test_an_override_changes_one_value_and_the_hash():
    plain = load_recipe("smoke")
    changed = load_recipe("smoke", ["family.base.width=64", "target.compute=5e11"])
    assert changed.family.base.width == 64
    assert changed.target.compute == 5e11
    assert changed.family.base.depth == plain.family.base.depth
    assert changed.hash != plain.hash
    assert load_recipe("smoke").hash == plain.hash


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("family.widht=3", r"unknown key family\.widht"),
        ("corpus.vocabluary=300", r"unknown key corpus\.vocabluary; did you mean vocabulary\?"),
        ("family.base.batch_token=3", r"unknown key family\.base\.batch_token; did you mean batch_tokens\?"),
        ("target.compute=-1", r"target\.compute is -1; input should be greater than 0"),
        ("target.width=wide", r"target\.width is 'wide'"),
        ("ladder.budgets=[]", r"ladder\.budgets"),
        ("family.base.width", r"write it as key=value"),
        ("corpus.sources.package=x", r"sources is a list"),
        ("name.x=1", r"name is a value, not a group"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_the_key(override, message):
    with pytest.raises(GnomonError, match=message) as error:
        load_recipe("smoke", [override])
    assert "\n" not in str(error.value)


def test_an_unknown_key_of_a_source_names_the_nearest_of_that_kind(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ncorpus:\n  sources:\n    - {kind: npm, package: a, version: '1', inclde: '*'}\n"
        "ladder: {budgets: [{compute: 1e10, widths: [16]}]}\ntarget: {compute: 1e12, width: 16}\n"
    )
    with pytest.raises(GnomonError, match=r"mine\.yaml: unknown key .*inclde; did you mean include\?"):
        load_recipe(str(path))


def test_a_missing_recipe_lists_the_shipped_ones():
    with pytest.raises(GnomonError, match=r"no such file, and the shipped recipes are .*quickstart"):
        load_recipe("quikstart")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_a_file_that_is_no_recipe_is_named(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(GnomonError, match=r"recipe odd\.yaml"):
        load_recipe(str(path))


def test_a_recipe_takes_from_the_one_it_extends_what_it_does_not_say(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: smoke\ntarget: {compute: 9e11, width: 48}\n")
    mine, smoke = load_recipe(str(path)), load_recipe("smoke")
    assert mine.target.compute == 9e11
    assert (mine.family, mine.ladder, mine.corpus) == (smoke.family, smoke.ladder, smoke.corpus)
    path.write_text(f"name: mine\nextends: {path}\n")
    with pytest.raises(GnomonError, match="no recipe twice"):
        load_recipe(str(path))
