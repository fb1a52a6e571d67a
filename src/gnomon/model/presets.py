"""Known models as shapes, with the parameters that they have and the paper that says so.

GPT-1: https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf. GPT-2: Language
Models are Unsupervised Multitask Learners, table 2. GPT-3: arXiv:2005.14165, table 2.1. SmolLM2: arXiv:2502.02737.
"""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.model.classic import ClassicShape
from gnomon.recipe.plan import ModelShape


@dataclass(frozen=True)
class Preset:
    """parameters: counted from the shape, a tied head once. said: the paper's own figure. note: where they part."""

    shape: ModelShape | ClassicShape
    parameters: int
    said: str
    note: str = ""


def _gpt2(width: int, depth: int, heads: int) -> ClassicShape:
    return ClassicShape(50257, 1024, width, depth, heads)


def _gpt3(width: int, depth: int, heads: int) -> ClassicShape:
    return ClassicShape(50257, 2048, width, depth, heads)


# GPT-3's blocks alternate dense and banded attention, which changes no count; every block here sees everything.
PRESETS: dict[str, Preset] = {
    "gpt1": Preset(ClassicShape(40478, 512, 768, 12, 12, post_norm=True), 116_534_784, "117M"),
    "gpt2-124m": Preset(
        _gpt2(768, 12, 12), 124_439_808, "117M", "table 2 says 117M and was corrected by its authors: 124M"
    ),
    "gpt2-355m": Preset(_gpt2(1024, 24, 16), 354_823_168, "345M", "corrected by its authors: 355M"),
    "gpt2-774m": Preset(_gpt2(1280, 36, 20), 774_030_080, "762M", "corrected by its authors: 774M"),
    "gpt2-1.5b": Preset(_gpt2(1600, 48, 25), 1_557_611_200, "1542M", "corrected by its authors: 1.5B, 1558M"),
    "gpt3-125m": Preset(_gpt3(768, 12, 12), 125_226_240, "125M"),
    "gpt3-350m": Preset(_gpt3(1024, 24, 16), 355_871_744, "350M"),
    "gpt3-760m": Preset(_gpt3(1536, 24, 16), 760_300_032, "760M"),
    "gpt3-1.3b": Preset(
        _gpt3(2048, 24, 16), 1_315_723_264, "1.3B", "the table's 24 heads of 128 are 3072, not 2048: 16 heads here"
    ),
    "gpt3-2.7b": Preset(_gpt3(2560, 32, 32), 2_651_553_280, "2.7B"),
    "gpt3-6.7b": Preset(_gpt3(4096, 32, 32), 6_658_404_352, "6.7B"),
    "gpt3-13b": Preset(
        _gpt3(5120, 40, 40), 12_853_386_240, "13.0B", "the table's width 5140 is not 40 heads of 128: 5120 here"
    ),
    "gpt3-175b": Preset(_gpt3(12288, 96, 96), 174_604_259_328, "175.0B"),
    "smollm2-135m": Preset(
        ModelShape(
            vocab=49152, context=8192, width=576, depth=30, head_dim=64, kv_heads=3, exact_mlp=1536, qk_norm=False,
            rope_base=100_000.0, norm_eps=1e-5, embedding_norm=False, tied=True,
        ),
        134_515_008,
        "135M",
    ),
}  # fmt: skip
