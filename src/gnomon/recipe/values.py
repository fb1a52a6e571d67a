"""The recipe: what a user writes in YAML, typed, frozen and checked. An unknown key is an error.

load.py reads it; ladder/family.py turns compute into plans; workflow/ walks the whole way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from gnomon.common.hashing import content_hash

LATER: dict[str, Any] = {"later": True}  # marks a field that was added after recipes had been hashed


class Value(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Later fields at their default are left out: recipes keep the hashes they had before those fields existed."""
        fields = type(self).model_fields
        unset = {n for n, f in fields.items() if f.json_schema_extra == LATER and getattr(self, n) == f.default}
        return {name: value for name, value in write(self).items() if name not in unset}


class SourceBase(Value):
    optional: bool = False  # may be skipped, by name, when it cannot be reached
    limit_mb: float | None = Field(None, gt=0)  # take at most this many million bytes of text
    licence: str = ""  # overrides what the source says of itself


class PythonSource(SourceBase):
    """Python source that pip or the interpreter has put on this machine."""

    kind: Literal["python"]
    package: str  # an import name, or "stdlib"


class FolderSource(SourceBase):
    """A folder of the user's own text: txt, md, html, jsonl, csv, code."""

    kind: Literal["folder"]
    path: str


class DebianSource(SourceBase):
    """Text inside a Debian package, downloaded and unpacked, never installed."""

    kind: Literal["debian"]
    package: str
    format: Literal["text", "rst", "html", "man", "fortune", "dict", "rdata", "pod"] = "text"
    include: str = "**/*"  # glob inside the unpacked package


class NpmSource(SourceBase):
    """Text inside an npm package."""

    kind: Literal["npm"]
    package: str
    version: str
    include: str = "**/*.txt"


class HubSource(SourceBase):
    """A data set in the Hugging Face `datasets` format, streamed; a local folder of it works too."""

    kind: Literal["hub"]
    dataset: str
    subset: str | None = None
    split: str = "train"
    text_column: str = "text"


class TasksSource(SourceBase):
    """Graded code tasks that gnomon makes (corpus/tasks): trained on whole, never held out; tests are made apart."""

    kind: Literal["tasks"]
    limit_mb: float = Field(2.0, gt=0)
    seed: int = 0


Source = Annotated[
    PythonSource | FolderSource | DebianSource | NpmSource | HubSource | TasksSource, Field(discriminator="kind")
]


class HeldOut(Value):
    """What is never trained on. by: how the held-out documents of the training sources are chosen."""

    by: Literal["document", "folder", "date"] = "document"
    fraction: float = Field(0.01, gt=0, lt=0.5)  # of documents, by content hash (by=document)
    folders: tuple[str, ...] = ()  # by=folder: these; empty chooses one and says so
    codebase: Source | None = None  # evaluated only for registered targets
    development: Source | None = None  # what recipes are tuned on


class Quality(Value):
    """What a document of the training sources must be like (corpus/quality.py). The defaults ask for nothing."""

    least_words: int = Field(0, ge=0)
    longest_mean_word: float = Field(1e9, gt=0)  # characters
    least_letters: float = Field(0.0, ge=0, le=1)  # share of what is no white space
    most_repeated_lines: float = Field(1.0, ge=0, le=1)  # share of characters in lines that came before


class CorpusRecipe(Value):
    sources: tuple[Source, ...] = Field(min_length=1)
    held_out: HeldOut = HeldOut()
    vocabulary: int = Field(1024, ge=260, le=200_000)
    tokenizer: str = Field("", json_schema_extra=LATER)  # a tokenizer.json that is taken instead of training one
    limit_mb: float | None = Field(None, gt=0)  # of text over all sources
    near_duplicate_threshold: float = Field(0.8, gt=0, le=1)  # Jaccard of word 5-gram shingles; 1 switches it off
    lost_bytes_allowed: float = Field(0.05, ge=0, le=1)  # share of a source's bytes that may be unreadable
    quality: Quality = Field(Quality(), json_schema_extra=LATER)
    # Held-out 13-grams that make a training document leave; 0 keeps it.
    contamination_grams: int = Field(0, ge=0, json_schema_extra=LATER)


class Base(Value):
    """The size at which rates are tuned and from which every rule departs."""

    width: int = Field(64, ge=1)
    depth: int = Field(2, ge=1)
    batch_tokens: int = Field(1024, ge=1)
    tokens: float = Field(1e6, gt=0)
    tokens_per_parameter: float = Field(25.0, gt=0)  # D0/N0 of the decay timescale's law


class Exponents(Value):
    """How the tuned numbers move away from the base; sources in model/parametrization.py and ladder/family.py."""

    batch_tokens: float = 0.383  # B = B0 q^x, q = D/D0
    rate_batch: float = 0.5  # h = h0 k^x, k = B/B0
    rate_tokens: float = -0.32  # h = h0 q^x
    timescale: float = -0.5  # tau = tau0 ((D/N)/(D0/N0))^x
    embedding_width: float = -0.5  # embedding rate = r h m^x
    hidden_width: float = -1.0  # hidden, output and head rates = h m^x


class FamilyRecipe(Value):
    context: int = Field(256, ge=2)
    head_dim: int = Field(16, ge=2)
    mlp_ratio: float = Field(3.0, gt=0)
    qk_norm: bool = True
    qk_gain: float = Field(1.0, gt=0)
    rope_base: float = Field(10_000.0, gt=1)
    depths: dict[int, int] = {1: 2}  # from this width on, this many blocks
    base: Base = Base()
    rate: float = Field(0.006, gt=0)  # h0
    embed_ratio: float = Field(1.0, gt=0)  # r
    timescale: float = Field(0.3, gt=0)  # tau0
    exponents: Exponents = Exponents()
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, gt=0, lt=1)  # at the base batch; 1 - beta2 grows with the batch
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    decay_fraction: float = Field(0.8, ge=0, le=1)
    decay_shape: Literal["linear", "sqrt"] = "linear"
    clip: float = Field(1.0, ge=0)
    z_loss: float = Field(1e-4, ge=0)
    # of the products; auto: what is fastest here for the target (`gnomon bench cpu`), and so not the same everywhere
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    optimiser: Literal["adamw", "muon"] = Field("adamw", json_schema_extra=LATER)  # of the matrices of the blocks
    muon_rate: float = Field(0.005, gt=0, json_schema_extra=LATER)  # h0 of Muon's updates
    muon_momentum: float = Field(0.95, ge=0, lt=1, json_schema_extra=LATER)
    spike_sigmas: float = Field(6.0, ge=0, json_schema_extra=LATER)  # what the guard calls a spike; 0: learn from all


class Budget(Value):
    """One isoFLOP budget: the same compute spent on several widths."""

    compute: float = Field(gt=0)
    widths: tuple[int, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)  # seeds of every width in seeded_widths; the first is everyone's
    seeded_widths: tuple[int, ...] = ()  # empty: only the first seed is run


class LadderRecipe(Value):
    budgets: tuple[Budget, ...] = Field(min_length=1)
    tuning_flops: float = Field(0.0, ge=0)  # spent to find this recipe, on the development set; counted, not hidden


class TargetRecipe(Value):
    compute: float = Field(gt=0)
    width: int = Field(ge=1)


class EvalRecipe(Value):
    subset_tokens: int = Field(200_000, ge=1)  # of each held-out set, for the rungs


class Recipe(Value):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    about: str = ""
    corpus: CorpusRecipe
    family: FamilyRecipe = FamilyRecipe()
    ladder: LadderRecipe
    target: TargetRecipe
    evals: EvalRecipe = EvalRecipe()
    seed: int = 1  # shifts every seed of the study; the target's own comes from its registry entry

    @property
    def hash(self) -> str:
        return content_hash(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
