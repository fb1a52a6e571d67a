"""A family of models: compute and a width in, a run's full plan out. That is what lets small runs speak for big ones.

Rules (each exponent is configuration; sources in docs/architecture.md): with q = D/D0 tokens and k = B/B0 batch against
the base, B = B0 q^0.383 rounded to whole rows, h = h0 k^0.5 q^-0.32, tau = tau0 ((D/N)/(D0/N0))^-0.5,
1 - beta2 = (1 - beta2_0) k, beta2 within [0.9, 0.998]. Width and depth rules belong to model/parametrization.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.recipe.flops import matmul_parameters, train_flops_per_token
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.recipe.values import FamilyRecipe

Allocation = Callable[[float], int]  # compute in FLOPs -> width


@dataclass(frozen=True)
class Derived:
    """One derived setting: what it is, its value, and the rule that gave it."""

    name: str
    value: float | int | str
    reason: str


@dataclass(frozen=True)
class Family:
    """Everything the runs of one study share.

    vocab: of the corpus's tokenizer. corpus: its hash. seed: the study's; every run's seeds follow from it.
    """

    recipe: FamilyRecipe
    vocab: int
    corpus: str
    seed: int = 1

    def shape(self, width: int) -> ModelShape:
        """The model of that width. Raises GnomonError when heads do not divide it."""
        recipe = self.recipe
        depth = self._depth(width)
        return ModelShape(
            vocab=self.vocab,
            context=recipe.context,
            width=width,
            depth=depth,
            head_dim=recipe.head_dim,
            mlp_ratio=recipe.mlp_ratio,
            qk_norm=recipe.qk_norm,
            qk_gain=recipe.qk_gain,
            rope_base=recipe.rope_base,
            branch_multiplier=recipe.base.depth / depth if depth else 1.0,
        )

    def _depth(self, width: int) -> int:
        starts = [w for w in sorted(self.recipe.depths) if w <= width]
        if not starts:
            raise GnomonError(
                f"family.depths starts at width {min(self.recipe.depths, default=0)}; width {width} has no depth"
            )
        return self.recipe.depths[starts[-1]]

    def at(self, compute: float, allocation: int | Allocation, seed: int = 0) -> Plan:
        """The run that spends compute on the width that allocation gives; tokens follow, whole steps, within 1 %.

        compute: counted training FLOPs. seed: 0, 1, 2 … within the study. Raises GnomonError when the compute buys
        no step at that width.
        """
        width = allocation if isinstance(allocation, int) else allocation(compute)
        shape = self.shape(width)
        tokens = compute / train_flops_per_token(shape)
        rows = self.batch_rows(tokens)
        steps = round(tokens / (rows * shape.context))
        if steps < 1:
            raise GnomonError(
                f"compute {compute:.3g} FLOPs buys {tokens:.0f} tokens at width {width}, less than one step of "
                f"{rows * shape.context}; a budget here is at least "
                f"{rows * shape.context * train_flops_per_token(shape):.2g}"
            )
        return Plan(
            shape=shape,
            optimisation=self.optimisation(shape, steps * rows * shape.context, rows),
            steps=steps,
            batch_rows=rows,
            seed=derived_seed("weights", self.seed, seed),
            order_seed=derived_seed("order", self.seed, seed),
            corpus=self.corpus,
            dtype=self.recipe.dtype,
        )

    def batch_rows(self, tokens: float) -> int:
        """Rows of a batch for a run of that many tokens, at least one."""
        base, exponent = self.recipe.base, self.recipe.exponents.batch_tokens
        return max(1, round(base.batch_tokens * (tokens / base.tokens) ** exponent / self.recipe.context))

    def optimisation(self, shape: ModelShape, tokens: int, batch_rows: int) -> Optimisation:
        """Rates for a run of that many tokens, after every rule."""
        recipe, base, exponents = self.recipe, self.recipe.base, self.recipe.exponents
        k = batch_rows * recipe.context / base.batch_tokens
        q = tokens / base.tokens
        tokens_per_parameter = tokens / matmul_parameters(shape)
        muon: dict[str, Any] = {}
        if recipe.optimiser == "muon":
            muon_rate = recipe.muon_rate * k**exponents.rate_batch * q**exponents.rate_tokens
            muon = {"optimiser": "muon", "muon_rate": muon_rate, "muon_momentum": recipe.muon_momentum}
        return Optimisation(
            rate=recipe.rate * k**exponents.rate_batch * q**exponents.rate_tokens,
            base_width=base.width,
            base_depth=base.depth,
            embed_ratio=recipe.embed_ratio,
            embedding_exponent=exponents.embedding_width,
            width_exponent=exponents.hidden_width,
            timescale=recipe.timescale * (tokens_per_parameter / base.tokens_per_parameter) ** exponents.timescale,
            beta1=recipe.beta1,
            beta2=min(0.998, max(0.9, 1 - (1 - recipe.beta2) * k)),
            warmup_fraction=recipe.warmup_fraction,
            decay_fraction=recipe.decay_fraction,
            decay_shape=recipe.decay_shape,
            clip=recipe.clip,
            z_loss=recipe.z_loss,
            spike_sigmas=recipe.spike_sigmas,
            **muon,
        )

    def explain(self, plan: Plan) -> list[Derived]:
        """Every derived setting of a plan with the rule that gave it, in the order a reader asks."""
        base, exponents, shape, rates = self.recipe.base, self.recipe.exponents, plan.shape, plan.optimisation
        m, q, k = shape.width / base.width, plan.tokens / base.tokens, plan.batch_tokens / base.batch_tokens
        parameters = matmul_parameters(shape)
        per_token = train_flops_per_token(shape)
        muon = [
            Derived("muon_rate", rates.muon_rate, f"h0 {self.recipe.muon_rate:g} k^{exponents.rate_batch:g} "
                    f"q^{exponents.rate_tokens:g} at every width; the matrices of the blocks, their update times "
                    "sqrt(fan_out / fan_in)"),
        ]  # fmt: skip
        return [
            Derived(
                "width", shape.width, f"{shape.heads} heads of {shape.head_dim}; m = {m:.3g} of the base's {base.width}"
            ),
            Derived(
                "depth", shape.depth, f"family.depths; branches count {shape.branch_multiplier:.3g} (1/l, CompleteP)"
            ),
            Derived("matmul_parameters", parameters, "blocks and head, no embedding table"),
            Derived("flops", per_token * plan.tokens, f"{per_token:.4g} a token, counted from the shapes"),
            Derived("batch_tokens", plan.batch_tokens, f"B0 q^{exponents.batch_tokens:g}, q = {q:.3g}, whole rows"),
            Derived(
                "steps", plan.steps, f"{plan.tokens:,} tokens, {plan.tokens / parameters:.1f} per matmul parameter"
            ),
            Derived(
                "rate",
                rates.rate,
                f"h0 {self.recipe.rate:g} k^{exponents.rate_batch:g} q^{exponents.rate_tokens:g}, k = {k:.3g}; "
                f"hidden takes m^{exponents.hidden_width:g} of it",
            ),
            Derived(
                "timescale",
                rates.timescale,
                f"tau0 {self.recipe.timescale:g} ((D/N)/{base.tokens_per_parameter:g})^{exponents.timescale:g}",
            ),
            Derived("beta2", rates.beta2, f"1 - {1 - self.recipe.beta2:.3g} k within [0.9, 0.998], k = {k:.3g}"),
            *(muon if rates.optimiser == "muon" else []),
        ]


def derived_seed(purpose: str, study: int, run: int) -> int:
    """A 63-bit seed that depends on all three."""
    digest = hashlib.sha256(f"{purpose}/{study}/{run}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
