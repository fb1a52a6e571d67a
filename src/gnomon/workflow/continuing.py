"""`gnomon train --init MODEL`: go on from weights that others trained, and say what it was worth.

The text is read with the model's own tokenizer. Held-out loss is measured before and after, and, where asked for, on a
model that was trained from scratch on the same text, with the same tokenizer and the same compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.build import build_corpus
from gnomon.corpus.shards import Corpus
from gnomon.ladder.evaluation import evaluation_set
from gnomon.ladder.family import Family, derived_seed
from gnomon.recipe.flops import train_flops
from gnomon.recipe.load import load_recipe
from gnomon.recipe.plan import Optimisation, Plan
from gnomon.recipe.values import Recipe
from gnomon.workflow.display import Display
from gnomon.workflow.quickstart import folder_corpus

if TYPE_CHECKING:
    from gnomon.model.interop.store import Origin

# What a recipe for tiny models from scratch says otherwise: small rates, no decay of what is already learnt. An
# override on the command line comes after these.
GENTLE = (
    "family.context=256", "family.base.batch_tokens=1024", "family.rate=1e-4", "family.embed_ratio=1",
    "family.timescale=1e6", "family.beta2=0.99", "family.warmup_fraction=0.1", "family.decay_fraction=0.9",
    "family.clip=1", "family.z_loss=0", "evals.subset_tokens=16384",
)  # fmt: skip
STEPS = 40


@dataclass(frozen=True)
class Continuation:
    """what: a folder of text or a recipe, whose corpus is read. init: as model/interop/imported.py opens it.

    beside: width of the model from scratch, 0 for none. steps: 0 takes STEPS.
    """

    what: str
    init: str
    overrides: tuple[str, ...] = ()
    steps: int = 0
    beside: int = 0


Train = Callable[..., str]  # workflow/training.py's way to train one plan, returns its line


def continue_training(wish: Continuation, home: Path, display: Display, train: Train) -> str:
    """Train on, and return the lines that say how good it became.

    train(plan, corpus, subset): trains one plan and returns its line. Raises GnomonError for a model or text that
    will not do.
    """
    from gnomon.model.interop.imported import open_model
    from gnomon.model.interop.store import keep

    if not wish.what:
        raise GnomonError("train --init: give a folder of text or a recipe whose text is to be read")
    recipe = _recipe(wish, GENTLE)
    kept = keep(open_model(wish.init, home), home)
    corpus = _corpus(recipe, kept, home, display)
    plan = plan_of(recipe, kept, corpus, wish.steps or STEPS)
    subset = recipe.evals.subset_tokens
    before = held_out_loss(kept, corpus, plan, subset, home)
    lines = [
        f"before {kept.source}: bits per byte: {_shown(before)}",
        train(plan, corpus, subset),
    ]
    if wish.beside:
        lines.append("from scratch: " + train(scratch_plan(wish, plan, corpus), corpus, subset))
    return "\n".join(lines)


def scratch_plan(wish: Continuation, plan: Plan, corpus: Corpus) -> Plan:
    """A model of width wish.beside from scratch, with the rates of the recipe and the compute and context of plan."""
    bare = replace(wish, overrides=tuple(o for o in wish.overrides if not o.startswith("family.")))
    recipe = _recipe(bare, (f"family.context={plan.shape.context}",))
    return Family(recipe.family, corpus.vocab, corpus.hash, recipe.seed).at(train_flops(plan), wish.beside)


def _recipe(wish: Continuation, settings: tuple[str, ...]) -> Recipe:
    folder = Path(wish.what)
    recipe = load_recipe("quickstart" if folder.is_dir() else wish.what, (*settings, *wish.overrides))
    if folder.is_dir():
        recipe = recipe.model_copy(update={"name": "folder", "corpus": folder_corpus(recipe.corpus, folder)})
    return recipe


def _corpus(recipe: Recipe, kept: Origin, home: Path, display: Display) -> Corpus:
    """The recipe's text in the tokens of the model."""
    wanted = recipe.corpus.model_copy(update={"tokenizer": str(kept.tokenizer_file)})
    corpus = build_corpus(wanted, home, display.reading)
    if not corpus.has("documents"):
        raise GnomonError("train --init: the text holds out no documents; raise corpus.held_out.fraction")
    return corpus


def plan_of(recipe: Recipe, kept: Origin, corpus: Corpus, steps: int) -> Plan:
    """The run that goes on from kept. Every weight moves at the same rate: width rules are of models from scratch."""
    family = recipe.family
    if family.context > kept.shape.context:
        most = f"{kept.source} reads at most {kept.shape.context} tokens"
        raise GnomonError(f"family.context is {family.context}; {most}")
    shape = replace(kept.shape, context=family.context)
    optimisation = Optimisation(
        rate=family.rate, base_width=shape.width, base_depth=shape.depth, embed_ratio=family.embed_ratio,
        timescale=family.timescale, beta1=family.beta1, beta2=family.beta2, warmup_fraction=family.warmup_fraction,
        decay_fraction=family.decay_fraction, decay_shape=family.decay_shape, clip=family.clip, z_loss=family.z_loss,
    )  # fmt: skip
    return Plan(
        shape=shape,
        optimisation=optimisation,
        steps=steps,
        batch_rows=max(1, round(family.base.batch_tokens / family.context)),
        seed=0,  # there is nothing to draw
        order_seed=derived_seed("order", recipe.seed, 0),
        corpus=corpus.hash,
        dtype=family.dtype,
        init=kept.hash,
    )


def held_out_loss(kept: Origin, corpus: Corpus, plan: Plan, subset: int, home: Path) -> dict[str, Any]:
    """What the weights are worth on the held-out rows before a step is taken."""
    from gnomon.common.hashing import plain
    from gnomon.model.interop.store import initial_weights
    from gnomon.model.transformer import Transformer
    from gnomon.train.evaluate import evaluate

    model = Transformer.unfilled(plan.shape)
    model.load_state_dict(initial_weights(plan, home))
    rows = evaluation_set(corpus, "documents", plan.shape.context, subset)
    value: dict[str, Any] = plain(evaluate(model.eval(), rows, corpus.token_bytes))
    return value


def _shown(evaluation: dict[str, Any]) -> str:
    return f"{evaluation['name']} {evaluation['bits_per_byte']:.4f}"
