"""The transformers of GPT-1, GPT-2 and GPT-3, to be sampled, scored and differentiated beside our own.

LayerNorm with biases, learned positions, GELU (tanh form), a tied head. GPT-1 norms after each addition and has no last
norm. Which rates would carry from one width to another is not claimed: CompleteP is of model/transformer.py.

B batch, T time, S keys seen, D width, H heads, E head width, F MLP width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnomon.common.errors import GnomonError
from gnomon.model.cache import Cache
from gnomon.model.interop.weights import check_names
from gnomon.model.transformer import TiedHead

# Ours -> GPT-2's. Its matrices are stored [in, out].
BLOCK = (
    ("attention_norm", "ln_1"),
    ("attention.qkv", "attn.c_attn"),
    ("attention.out", "attn.c_proj"),
    ("mlp_norm", "ln_2"),
    ("mlp.up", "mlp.c_fc"),
    ("mlp.down", "mlp.c_proj"),
)
MASKS = (".attn.bias", ".attn.masked_bias")  # causal masks that old files carry
MUST_BE: tuple[tuple[str, Any, str], ...] = (
    ("activation_function", "gelu_new", "activation_function other than gelu_new"),
    ("scale_attn_weights", True, "attention without its scale"),
    ("scale_attn_by_inverse_layer_idx", False, "attention scaled by its layer"),
    ("add_cross_attention", False, "cross-attention"),
    ("tie_word_embeddings", True, "head beside its table"),
)


@dataclass(frozen=True)
class ClassicShape:
    """width is a multiple of heads; the MLP is 4 * width wide. post_norm: GPT-1's order."""

    vocab: int
    context: int
    width: int
    depth: int
    heads: int
    post_norm: bool = False
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise GnomonError(f"shape: {self.heads} heads do not divide a width of {self.width}")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def key_heads(self) -> int:
        return self.heads

    @property
    def parameters(self) -> int:
        """Every trained number; the head is the embedding table."""
        width = self.width
        block = 12 * width**2 + 13 * width  # 4 + 8 squares; biases 3 + 1 + 4 + 1, two norms of 2
        return (self.vocab + self.context) * width + self.depth * block + (0 if self.post_norm else 2 * width)


class ClassicAttention(nn.Module):
    def __init__(self, shape: ClassicShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, x_BTD: Tensor, cache: Cache | None, layer: int) -> Tensor:
        q_BHTE, k_BHTE, v_BHTE = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x_BTD).chunk(3, dim=-1)
        )
        if cache is None:
            mixed_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True)
        else:
            k_BHSE, v_BHSE, seen_B1TS = cache.append(layer, k_BHTE, v_BHTE)
            mixed_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=seen_B1TS)
        mixed_BTD: Tensor = self.out(mixed_BHTE.transpose(1, 2).flatten(-2))
        return mixed_BTD


class ClassicMlp(nn.Module):
    def __init__(self, shape: ClassicShape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.width, 4 * shape.width)
        self.down = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = self.down(F.gelu(self.up(x_BTD), approximate="tanh"))
        return out_BTD


class ClassicBlock(nn.Module):
    def __init__(self, shape: ClassicShape) -> None:
        super().__init__()
        self.post_norm = shape.post_norm
        self.attention_norm = nn.LayerNorm(shape.width, shape.norm_eps)
        self.attention = ClassicAttention(shape)
        self.mlp_norm = nn.LayerNorm(shape.width, shape.norm_eps)
        self.mlp = ClassicMlp(shape)

    def forward(self, x_BTD: Tensor, cache: Cache | None, layer: int) -> Tensor:
        if self.post_norm:
            x_BTD = self.attention_norm(x_BTD + self.attention(x_BTD, cache, layer))
            normed_BTD: Tensor = self.mlp_norm(x_BTD + self.mlp(x_BTD))
            return normed_BTD
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), cache, layer)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))


class Classic(nn.Module):
    """Speaks as model.transformer.Transformer does: hidden, head, forward, a Cache."""

    def __init__(self, shape: ClassicShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(ClassicBlock(shape) for _ in range(shape.depth))
        self.norm = nn.Identity() if shape.post_norm else nn.LayerNorm(shape.width, shape.norm_eps)
        self.head = TiedHead(self.embedding)

    def hidden(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """What the head reads, [B, T, D]. See Transformer.hidden."""
        steps = tokens_BT.shape[1]
        if steps > self.shape.context:
            raise GnomonError(f"a row of {steps} tokens; this model reads at most {self.shape.context}")
        at = torch.arange(steps, device=tokens_BT.device) if cache is None else cache.positions(steps)
        x_BTD = self.embedding(tokens_BT) + self.positions(at)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, cache, layer)
        if cache is not None:
            cache.advance(steps)
        normed_BTD: Tensor = self.norm(x_BTD)
        return normed_BTD

    def forward(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each one."""
        return self.head(self.hidden(tokens_BT, cache))


@torch.no_grad()
def from_gpt2(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Tensor], where: str
) -> Classic:
    """GPT2LMHeadModel's weights. config: config.json. Raises GnomonError, one line, for what does not fit."""
    for name, right, words in MUST_BE:
        if config.get(name, right) != right:
            raise GnomonError(f"{where}: {name} is {config[name]!r}; gnomon's GPT-2 has no {words}")
    try:
        shape = ClassicShape(
            vocab=int(config["vocab_size"]),
            context=int(config["n_positions"]),
            width=int(config["n_embd"]),
            depth=int(config["n_layer"]),
            heads=int(config["n_head"]),
            norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        )
    except KeyError as error:
        raise GnomonError(f"{where}: config.json has no {error.args[0]}") from None
    if config.get("n_inner") not in (None, 4 * shape.width):
        raise GnomonError(f"{where}: n_inner is {config['n_inner']}; GPT-2's MLP is 4 * n_embd wide")
    bare = {name.removeprefix("transformer."): name for name in shapes if not name.endswith(MASKS)}
    bare.pop("lm_head.weight", None)  # the table under a second name
    names = gpt2_names(shape)
    check_names(names.values(), bare, where)
    with torch.device("meta"):
        model = Classic(shape)
    model.to_empty(device="cpu")
    for name, parameter in model.named_parameters():
        weight = read(bare[names[name]])
        weight = weight.T if weight.ndim == 2 and name.startswith("blocks.") else weight
        if weight.shape != parameter.shape:
            raise GnomonError(
                f"{where}: weight {names[name]} is {list(weight.shape)}; its configuration says {list(parameter.shape)}"
            )
        parameter.copy_(weight)
    return model.eval()


def gpt2_names(shape: ClassicShape) -> dict[str, str]:
    """Our name -> GPT-2's, without the prefix that some files have."""
    names = {"embedding.weight": "wte.weight", "positions.weight": "wpe.weight"}
    for part in ("weight", "bias"):
        names[f"norm.{part}"] = f"ln_f.{part}"
        for i in range(shape.depth):
            names |= {f"blocks.{i}.{ours}.{part}": f"h.{i}.{theirs}.{part}" for ours, theirs in BLOCK}
    return names
