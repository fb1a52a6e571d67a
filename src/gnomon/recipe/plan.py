"""A run's full plan: everything that decides its numbers, and nothing else.

Two runs with the same plan, corpus and numerics are the same run, and have the same id. A field that is added is
`later`: at its default it is left out of hash and plan.json, so the runs that came before it keep their ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash, later, plain

PLAN_SCHEMA_VERSION = 1
# Raised whenever tests/train/test_golden_loss.py changes: an old row is never reused for new numerics.
NUMERICS_VERSION = 1
OPTIMISERS = ("adamw", "muon")


@dataclass(frozen=True)
class ModelShape:
    """The transformer's shape.

    Unless said otherwise width is a multiple of head_dim, there are width / head_dim heads, each with keys of its own,
    and mlp_width = mlp_ratio * width. Models from elsewhere say otherwise: query_heads heads whatever the width
    (Qwen3), kv_heads heads of keys and values that groups of query heads share (arXiv:2305.13245), an exact_mlp width,
    and tied: the head is the embedding table (arXiv:1608.05859).
    """

    vocab: int
    context: int  # tokens a row predicts
    width: int
    depth: int  # blocks
    head_dim: int = 16
    mlp_ratio: float = 3.0
    qk_norm: bool = True
    qk_gain: float = 1.0  # initial value of the qk-norm gain
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6
    embedding_norm: bool = True  # token rows are RMS-normalised on the way in
    branch_multiplier: float = 1.0  # what a block adds to the stream is multiplied by this (1/l)
    query_heads: int = later(0)  # 0: width / head_dim
    kv_heads: int = later(0)  # 0: as many as query heads
    exact_mlp: int = later(0)  # 0: mlp_ratio * width
    tied: bool = later(False)

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise GnomonError(f"family.depth is {self.depth}; a depth is at least 1")
        if self.width < 1 or (self.width % self.head_dim and not self.query_heads):
            raise GnomonError(
                f"family.width is {self.width}, which heads of {self.head_dim} do not divide; "
                f"a width is a multiple of {self.head_dim}"
            )
        if self.vocab < 2 or self.context < 2:
            raise GnomonError(f"vocabulary {self.vocab} and context {self.context} must both be at least 2")
        for name in ("query_heads", "kv_heads", "exact_mlp"):
            if getattr(self, name) < 0:
                raise GnomonError(f"shape.{name} is {getattr(self, name)}; it is 0 (the usual) or more")
        if self.heads % self.key_heads:
            raise GnomonError(
                f"shape.kv_heads is {self.kv_heads}, which does not divide {self.heads} query heads; "
                "each head of keys serves equally many of them"
            )

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.query_heads or self.width // self.head_dim

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def query_width(self) -> int:
        """Rows of q, and what attention's out reads."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Rows of k and of v."""
        return self.key_heads * self.head_dim

    @property
    def mlp_width(self) -> int:
        return self.exact_mlp or round(self.mlp_ratio * self.width)


@dataclass(frozen=True)
class Optimisation:
    """The rates after every rule has been applied (see gnomon.model.parametrization for what each role makes of them).

    rate: h, the hidden rate at base width, for this batch and horizon. base_width: where m = width/base_width is 1.
    embed_ratio: r, what embedding and head take of h. timescale: tau, the fraction of the run over which
    AdamW averages updates (arXiv:2405.13698). Fractions are of the run's steps.
    """

    rate: float
    base_width: int
    base_depth: int
    embed_ratio: float
    timescale: float
    beta1: float
    beta2: float
    eps: float = 1e-12
    warmup_fraction: float = 0.05
    decay_fraction: float = 0.8
    decay_shape: str = "linear"  # linear | sqrt: what the rate does from its plateau to zero
    clip: float = 1.0  # largest norm of the whole gradient; 0 switches it off
    z_loss: float = 1e-4
    embedding_exponent: float = -0.5  # the embedding's rate is r h m^x (arXiv:2506.15025)
    width_exponent: float = -1.0  # hidden, output and head take h m^x; -1 is CompleteP (arXiv:2505.01618)
    spike_sigmas: float = later(6.0)  # a loss so far above the last 128 is not learned from; 0: learn from every step
    optimiser: str = later("adamw")  # adamw | muon: of the matrices; the rest are AdamW's (train/muon.py)
    muon_rate: float = later(0.0)  # of Muon's orthogonal updates, at every width
    muon_momentum: float = later(0.95)

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise GnomonError(f"optimiser is {self.optimiser!r}; it is one of {', '.join(OPTIMISERS)}")
        if self.optimiser == "muon" and self.muon_rate <= 0:
            raise GnomonError(f"muon_rate is {self.muon_rate:g}; Muon needs a rate greater than 0, 0.005 for example")


@dataclass(frozen=True)
class Plan:
    """Everything one run needs. tokens = steps * batch_rows * shape.context."""

    shape: ModelShape
    optimisation: Optimisation
    steps: int
    batch_rows: int
    seed: int  # weights
    order_seed: int  # order of the rows
    corpus: str  # hash of the corpus manifest: shards, splits, tokenizer
    dtype: str = "float32"
    numerics: int = NUMERICS_VERSION
    parent: str = ""  # "RUN@STEP" of a branch
    study: str = ""  # the study a target belongs to; empty for rungs, which studies may share
    init: str = later("")  # hash of the weights that it starts from (model/interop/store.py); "": those of its seed

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_rows < 1:
            raise GnomonError(
                f"a plan of {self.steps} steps of {self.batch_rows} rows trains nothing; both are at least 1"
            )

    @property
    def batch_tokens(self) -> int:
        return self.batch_rows * self.shape.context

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_tokens

    @property
    def run_id(self) -> str:
        """Sixteen hexadecimal digits that name this run: the hash of all of the above."""
        return content_hash(self)[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are hashed and stored."""
        value: dict[str, Any] = plain(self)
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Plan:
        """The plan that to_dict wrote. Raises GnomonError when fields are missing or unknown."""
        body = {k: v for k, v in value.items() if k != "schema_version"}
        try:
            shape = ModelShape(**body.pop("shape"))
            optimisation = Optimisation(**body.pop("optimisation"))
            return cls(shape=shape, optimisation=optimisation, **body)
        except (KeyError, TypeError) as error:
            raise GnomonError(f"plan: {error}; this is not a plan that this gnomon wrote") from None
