"""The same weights under other names and in another order.

Rotary positions turn neighbouring coordinates (2i, 2i + 1) here and in llama.cpp's llama, and halves (i, i + E/2) in
Hugging Face's models and llama.cpp's qwen3. Both are the same rotation with the rows of q and k in another order.

E head width, D what a weight reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnomon.common.errors import GnomonError
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape

# Ours, Hugging Face's, GGUF's. A block's are followed by .weight and preceded by the block's own name.
BLOCK = (
    ("attention_norm", "input_layernorm", "attn_norm"),
    ("attention.q", "self_attn.q_proj", "attn_q"),
    ("attention.k", "self_attn.k_proj", "attn_k"),
    ("attention.v", "self_attn.v_proj", "attn_v"),
    ("attention.out", "self_attn.o_proj", "attn_output"),
    ("attention.q_norm", "self_attn.q_norm", "attn_q_norm"),
    ("attention.k_norm", "self_attn.k_norm", "attn_k_norm"),
    ("mlp_norm", "post_attention_layernorm", "ffn_norm"),
    ("mlp.gate", "mlp.gate_proj", "ffn_gate"),
    ("mlp.up", "mlp.up_proj", "ffn_up"),
    ("mlp.down", "mlp.down_proj", "ffn_down"),
)
OUTSIDE = (
    ("embedding", "model.embed_tokens", "token_embd"),
    ("norm", "model.norm", "output_norm"),
    ("head", "lm_head", "output"),
)
TURNED = ("attention.q", "attention.k", "attention.q_norm", "attention.k_norm")
LARGEST_CONTEXT = 1 << 20  # tokens; the table of rotations is made whole
OUTPUTS = ("attention.out", "mlp.down")  # what 1/l is folded into


@dataclass(frozen=True)
class House:
    """How a format calls the weights. block: its name for a block. halves: q and k are in the order of halves."""

    column: int
    block: str
    halves: bool


HUGGING_FACE = House(1, "model.layers.{}", True)
GGUF_LLAMA = House(2, "blk.{}", False)
GGUF_QWEN3 = House(2, "blk.{}", True)


def their_names(shape: ModelShape, house: House) -> dict[str, str]:
    """Our name -> theirs, of every weight that a model of this shape has."""
    names = {
        f"{row[0]}.weight": f"{row[house.column]}.weight" for row in OUTSIDE if not (shape.tied and row[0] == "head")
    }
    for i in range(shape.depth):
        for row in BLOCK:
            if shape.qk_norm or "_norm" not in row[0] or row[0] in ("attention_norm", "mlp_norm"):
                names[f"blocks.{i}.{row[0]}.weight"] = f"{house.block.format(i)}.{row[house.column]}.weight"
    return names


def kind_of(name: str) -> str:
    """blocks.3.attention.q.weight -> attention.q"""
    parts = name.removesuffix(".weight").split(".")
    return ".".join(parts[2:] if parts[0] == "blocks" else parts)


def pairs_from_halves(weight: Tensor, head_dim: int) -> Tensor:
    """Rows (i, i + E/2) of every head become rows (2i, 2i + 1). weight: [heads * E, ...]."""
    return weight.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def halves_from_pairs(weight: Tensor, head_dim: int) -> Tensor:
    """The inverse of pairs_from_halves."""
    return weight.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)


def check_names(wanted: Iterable[str], found: Iterable[str], where: str) -> None:
    """Raises GnomonError when a weight is missing, or there is one that the model would not use."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    for names, what in ((missing, "is missing"), (extra, "has no place in this model")):
        if names:
            others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise GnomonError(
                f"{where}: weight {names[0]} {what}{others}; the file and its configuration are of different models"
            )


@torch.no_grad()
def take(
    shape: ModelShape, house: House, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Tensor], where: str
) -> Transformer:
    """A model of that shape with the weights of another house, in fp32.

    shapes: of every weight there, by their name. read: gives one. Raises GnomonError for a weight that is missing,
    beyond what the shape has, or of another shape.
    """
    if shape.depth > len(shapes):  # before names are made for so many
        raise GnomonError(f"{where}: its configuration says {shape.depth} blocks, and there are {len(shapes)} weights")
    if shape.context > LARGEST_CONTEXT:
        raise GnomonError(f"{where}: its context is {shape.context}; gnomon reads models of up to {LARGEST_CONTEXT}")
    names = their_names(shape, house)
    check_names(names.values(), shapes, where)
    with torch.device("meta"):
        described = {name: tuple(p.shape) for name, p in Transformer(replace(shape, context=2)).named_parameters()}
    for name, wanted in described.items():
        if tuple(shapes[names[name]]) != wanted:
            raise GnomonError(
                f"{where}: weight {names[name]} is {list(shapes[names[name]])}; its configuration says {list(wanted)}"
            )
    model = Transformer.unfilled(shape)
    for name, parameter in model.named_parameters():
        theirs = names[name]
        weight = read(theirs).to(torch.float32)
        turned = house.halves and kind_of(name) in TURNED
        parameter.copy_(pairs_from_halves(weight, shape.head_dim) if turned else weight)
    return model.eval()


@torch.no_grad()
def give(model: Transformer, house: House) -> dict[str, Tensor]:
    """The weights under the names of another house, in fp32, with what it has no place for folded in.

    The norm of token rows goes into the table (so a tied head becomes one of its own), 1/l into what blocks write.
    """
    shape = model.shape
    given: dict[str, Tensor] = {}
    names = their_names(exported_shape(shape), house)
    ours = dict(model.named_parameters())
    for name, theirs in names.items():
        weight = (model.head.weight if name == "head.weight" else ours[name]).detach().to("cpu", torch.float32)
        kind = kind_of(name)
        if name == "embedding.weight" and shape.embedding_norm:
            weight = torch.nn.functional.rms_norm(weight, (shape.width,), None, shape.norm_eps)
        if kind in OUTPUTS:
            weight = weight * shape.branch_multiplier
        if house.halves and kind in TURNED:
            weight = halves_from_pairs(weight, shape.head_dim)
        given[theirs] = weight.clone(memory_format=torch.contiguous_format)
    return given


def exported_shape(shape: ModelShape) -> ModelShape:
    """The shape that other houses' files describe: no norm of token rows, no multiplier; tied where still true."""
    return replace(shape, embedding_norm=False, branch_multiplier=1.0, tied=shape.tied and not shape.embedding_norm)


def weights_hash(model: torch.nn.Module) -> str:
    """SHA-256 over names, shapes and fp32 values of all parameters: the same weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {list(parameter.shape)}\0".encode())
        digest.update(parameter.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()
