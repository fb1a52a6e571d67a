"""The known models have the parameters that are told, counted on the meta device."""

from __future__ import annotations

import re

import pytest
import torch

from gnomon.model.classic import Classic, ClassicShape
from gnomon.model.presets import PRESETS
from gnomon.model.transformer import Transformer
from gnomon.recipe.flops import total_parameters


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_counted_parameters_are_those_told(name):
    preset = PRESETS[name]
    with torch.device("meta"):
        model = (Classic if isinstance(preset.shape, ClassicShape) else Transformer)(preset.shape)
    assert sum(p.numel() for p in model.parameters()) == preset.parameters
    formula = preset.shape.parameters if isinstance(preset.shape, ClassicShape) else total_parameters(preset.shape)
    assert formula == preset.parameters


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_paper_s_figure_is_the_count_or_the_note_says_why_not(name):
    preset = PRESETS[name]
    number, unit = re.fullmatch(r"([\d.]+)([MB])", preset.said).groups()
    said = float(number) * {"M": 1e6, "B": 1e9}[unit]
    assert preset.note or abs(preset.parameters - said) / said < 0.02
    assert abs(preset.parameters - said) / said < 0.07
