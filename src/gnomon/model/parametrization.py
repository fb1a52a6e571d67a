"""Which init, rate, decay and epsilon each weight gets, decided by its name: one role table, no attributes on tensors.

CompleteP with alpha = 1 (arXiv:2505.01618), the decay as a timescale of the run (arXiv:2405.13698), embedding rate
falling with the root of the width (arXiv:2506.15025). m = width / base_width; 1/l sits in shape.branch_multiplier.
Optimisation.rate is h: batch and horizon are already in it (ladder/family.py).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import nn

from gnomon.common.errors import GnomonError
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Optimisation


class Role(StrEnum):
    EMBEDDING = "embedding"
    HIDDEN = "hidden"  # reads the stream: q, k, v, gate, up
    OUTPUT = "output"  # writes to the stream: attention out, mlp down
    GAIN = "gain"
    HEAD = "head"
    TIED = "tied"  # embedding and head in one


ROLE_OF_NAME: tuple[tuple[str, Role], ...] = (
    (r"embedding\.weight", Role.EMBEDDING),
    (r"blocks\.\d+\.attention\.[qkv]\.weight", Role.HIDDEN),
    (r"blocks\.\d+\.mlp\.(gate|up)\.weight", Role.HIDDEN),
    (r"blocks\.\d+\.attention\.out\.weight", Role.OUTPUT),
    (r"blocks\.\d+\.mlp\.down\.weight", Role.OUTPUT),
    (r"blocks\.\d+\.(attention_norm|mlp_norm|attention\.q_norm|attention\.k_norm)\.weight", Role.GAIN),
    (r"norm\.weight", Role.GAIN),
    (r"head\.weight", Role.HEAD),
)
QK_GAIN = r"blocks\.\d+\.attention\.[qk]_norm\.weight"


@dataclass(frozen=True)
class Setting:
    """What one weight gets.

    init_std: standard deviation of its first values; 0 for constants (a gain's constant is initial_gain).
    rate: the optimiser's rate at schedule 1. decay: the share of itself it loses per step at schedule 1, whatever the
    rate.
    eps: AdamW's epsilon. optimiser: "adamw", or "muon", whose update carries sqrt(fan_out / fan_in) in itself.
    """

    role: Role
    init_std: float
    rate: float
    decay: float
    eps: float
    optimiser: str = "adamw"


def role_of(name: str, tied: bool = False) -> Role:
    """The role of the parameter with this name. tied: the head is the embedding table.

    Raises GnomonError when no role is known for it.
    """
    for pattern, role in ROLE_OF_NAME:
        if re.fullmatch(pattern, name):
            return Role.TIED if tied and role is Role.EMBEDDING else role
    raise GnomonError(f"parameter {name}: no role is known for it; name its role in model/parametrization.py")


def roles(model: nn.Module, tied: bool = False) -> dict[str, Role]:
    """The role of every parameter by name. Raises GnomonError for a parameter that the table does not know."""
    return {name: role_of(name, tied) for name, _ in model.named_parameters()}


def effective_decay(timescale: float, steps: int) -> float:
    """Fraction by which a decayed weight shrinks per step at schedule 1.

    timescale: fraction of the run over which updates are averaged (tau in arXiv:2405.13698), dimensionless.
    steps: optimiser steps in the run. Raises GnomonError when either is not positive.
    """
    if timescale <= 0 or steps <= 0:
        raise GnomonError(f"timescale {timescale} over {steps} steps; both are greater than 0")
    return 1 / (timescale * steps)


def setting(role: Role, fan_in: int, width: int, optimisation: Optimisation, steps: int) -> Setting:
    """One row of the role table. fan_in: length of the weight's rows, what it multiplies.

    Muon takes the matrices of the blocks at one rate for all widths, with AdamW's decay (arXiv:2512.05620).
    A tied table starts as small as a hidden weight and learns as the head does; its transfer is not claimed.
    """
    h, m, r = optimisation.rate, width / optimisation.base_width, optimisation.embed_ratio
    matrix = h * m**optimisation.width_exponent
    decay = effective_decay(optimisation.timescale, steps)
    init_std, rate, decay = {
        Role.EMBEDDING: (1.0, r * h * m**optimisation.embedding_exponent, 0.0),
        Role.HIDDEN: (fan_in**-0.5, matrix, decay),
        Role.OUTPUT: (0.0, matrix, decay),
        Role.GAIN: (0.0, h, 0.0),
        Role.HEAD: (0.0, r * matrix, 0.0),
        Role.TIED: (fan_in**-0.5, r * matrix, 0.0),
    }[role]
    muon = optimisation.optimiser == "muon" and role in (Role.HIDDEN, Role.OUTPUT)
    if muon:
        rate = optimisation.muon_rate
    return Setting(role, init_std, rate, decay, optimisation.eps, "muon" if muon else "adamw")


def settings(shape: ModelShape, optimisation: Optimisation, steps: int) -> dict[str, Setting]:
    """The setting of every parameter of a shape's model, by name, for a run of `steps` steps."""
    with torch.device("meta"):
        model = Transformer(shape)
    return {
        name: setting(role_of(name, shape.tied), parameter.shape[-1], shape.width, optimisation, steps)
        for name, parameter in model.named_parameters()
    }


def initial_gain(name: str, shape: ModelShape) -> float:
    """What a gain starts from: shape.qk_gain inside attention, 1 elsewhere."""
    return shape.qk_gain if re.fullmatch(QK_GAIN, name) else 1.0


@torch.no_grad()
def initialise(model: Transformer, optimisation: Optimisation, seed: int) -> None:
    """Give every parameter its first values, each from a generator of its own seeded by (seed, name).

    So neither the order of the parameters nor the device matters. Raises GnomonError for unknown names.
    """
    for name, parameter in model.named_parameters():
        role = role_of(name, model.shape.tied)
        std = setting(role, parameter.shape[-1], model.shape.width, optimisation, steps=1).init_std
        if role is Role.GAIN:
            parameter.fill_(initial_gain(name, model.shape))
        elif std == 0:
            parameter.zero_()
        else:
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def parameter_groups(
    model: nn.Module, shape: ModelShape, optimisation: Optimisation, steps: int
) -> list[dict[str, Any]]:
    """The model's parameters grouped by equal optimiser, rate, decay and epsilon, in the model's order.

    Each group: params (tensors), names (in the same order), rate, decay, eps, optimiser. Raises GnomonError for unknown
    names.
    """
    groups: dict[tuple[str, float, float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        row = setting(role_of(name, shape.tied), parameter.shape[-1], shape.width, optimisation, steps)
        key = (row.optimiser, row.rate, row.decay, row.eps)
        shared = {"optimiser": row.optimiser, "rate": row.rate, "decay": row.decay, "eps": row.eps}
        group = groups.setdefault(key, {"params": [], "names": [], **shared})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())
