"""A recipe in words: every setting, every derived number with its reason, before anything is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gnomon.corpus.shards import Corpus
from gnomon.ladder.budgets import rungs
from gnomon.ladder.family import Derived, Family
from gnomon.recipe.flops import train_flops
from gnomon.recipe.values import Recipe


def explain(recipe: Recipe, vocab: int = 0) -> Iterator[str]:
    """Lines: the recipe's own settings, then what follows from them for the smallest rung, the largest and the target.

    vocab: of the built corpus, where it differs from the recipe's wish; 0 takes the wish.
    """
    yield f"recipe {recipe.name}  hash {recipe.hash[:16]}"
    if recipe.about:
        yield recipe.about
    yield ""
    yield "settings"
    yield from (f"  {key:38} {value}" for key, value in _leaves("", recipe.to_dict()) if key not in ("name", "about"))
    family = Family(recipe.family, vocab or recipe.corpus.vocabulary, "corpus", recipe.seed)
    found = rungs(recipe.ladder.budgets, family)
    plans = sorted((rung.plan for rung in found), key=train_flops)
    target = family.at(recipe.target.compute, recipe.target.width)
    total = sum(map(train_flops, plans))
    yield ""
    yield f"ladder: {len(plans)} runs, {total:.3g} FLOPs, {total / train_flops(target):.0%} of the target's"
    for name, plan in (("smallest rung", plans[0]), ("largest rung", plans[-1]), ("target", target)):
        yield ""
        yield f"{name}: derived settings"
        yield from (f"  {d.name:18} {_shown(d):>14}  {d.reason}" for d in family.explain(plan))


def card_lines(corpus: Corpus) -> Iterator[str]:
    """A corpus card in lines."""
    from gnomon.corpus.card import describe, make_card

    yield f"corpus {corpus.hash[:16]}  {corpus.folder}"
    yield from describe(make_card(corpus.manifest))


def _shown(derived: Derived) -> str:
    value = derived.value
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else key, inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield (
                prefix + f"[{index}]",
                ", ".join(f"{k} {v}" for k, v in inner.items() if v not in (None, "", [], False)),
            )
    else:
        yield prefix, value
