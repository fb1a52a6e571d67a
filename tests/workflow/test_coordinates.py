"""Small runs speak for big ones: what moves, and how well it learns, as width and depth grow (T1, T3, T4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnomon.workflow.coordinates import (
    DEPTHS,
    MUON,
    OPTIMISATION,
    SEEDS,
    SHAPE,
    WIDTHS,
    coordinates,
    depth_slopes,
    over_depth,
    over_width,
    random_walk,
    train_steps,
    width_slopes,
)


def test_what_a_step_moves_does_not_depend_on_width():
    """T1: widths 32 to 256, ten steps at four times the rate."""
    slopes = width_slopes(over_width())
    assert abs(slopes.pop("head")) <= 0.15
    assert slopes.pop("embedding") == pytest.approx(OPTIMISATION.embedding_exponent, abs=0.1)
    assert len(slopes) == SHAPE.depth * 9
    odd = {module: round(slope, 3) for module, slope in slopes.items() if abs(slope) > 0.1}
    assert not odd


def test_the_check_sees_standard_parametrisation_fail():
    """T1's control: with one rate for all, wider models move further, everywhere in the blocks."""
    slopes = width_slopes(over_width(WIDTHS[:3], seeds=(0, 1), control=True))
    assert min(slope for module, slope in slopes.items() if module.startswith("blocks.0.")) > 0.3
    assert max(slopes.values()) > 0.8


def test_what_muon_moves_depends_on_neither_width_nor_depth():
    """T1 under Muon: one rate at every width, AdamW's rules for the rest."""
    slopes = width_slopes(over_width(seeds=SEEDS[:3], base=MUON))
    assert slopes.pop("embedding") == pytest.approx(MUON.embedding_exponent, abs=0.1)
    odd = {module: round(slope, 3) for module, slope in slopes.items() if abs(slope) > 0.1}
    assert not odd and len(slopes) == SHAPE.depth * 9 + 1
    depth = depth_slopes(over_depth(DEPTHS[:3], seeds=(0, 1), base=MUON))
    assert depth["added"] == pytest.approx(-1, abs=0.15)
    assert abs(depth["stream"]) <= 0.1 and abs(depth["head"]) <= 0.15


@pytest.mark.parametrize("depths", [DEPTHS, pytest.param((*DEPTHS, 32), marks=pytest.mark.slow)])
def test_blocks_share_what_is_learnt_whatever_the_depth(depths):
    """T1 over depth: a block adds in proportion to 1/depth, the stream after the last block does not change."""
    slopes = depth_slopes(over_depth(depths))
    assert slopes["added"] == pytest.approx(-1, abs=0.15)
    assert abs(slopes["stream"]) <= 0.1
    assert abs(slopes["head"]) <= 0.15


def test_without_the_branch_multiplier_depth_is_seen():
    """The control over depth: full branches, and what they add piles up in the stream."""
    rows = [r for depth in (2, 8) for r in coordinates(replace(SHAPE, depth=depth, branch_multiplier=1.0), seed=0)]
    assert depth_slopes(rows)["stream"] > 0.3


def test_wider_is_better_at_every_logged_step():
    """T3: mean loss of two seeds in windows of five steps.

    The head starts at zero, so all widths begin with the same loss: the first window says nothing and is left out.
    """
    walk = random_walk(vocab=64, context=16, rows=8, steps=40, seed=7)
    losses = []
    for width in (16, 32, 64, 128):
        shape = replace(SHAPE, vocab=64, context=16, width=width)
        runs = [
            [loss for _, loss in train_steps(shape, replace(OPTIMISATION, rate=0.006), seed, walk)][1:]
            for seed in (0, 1)
        ]
        losses.append(np.mean(runs, 0).reshape(-1, 5).mean(1)[1:])
    assert (np.diff(losses, axis=0) < 0).all(), np.round(losses, 3)


def test_epsilon_never_decides_a_step():
    """T4: from step 5 on, the root mean square of every tensor's gradient, over its non-zero entries, is > 1000 eps."""
    shape = replace(SHAPE, width=128, depth=4, branch_multiplier=0.5)
    walk = random_walk(shape.vocab, shape.context, rows=4, steps=30, seed=7)
    smallest = {}
    for step, (model, _) in enumerate(train_steps(shape, OPTIMISATION, 0, walk)):
        for name, parameter in model.named_parameters() if step >= 5 else ():
            gradient = parameter.grad[parameter.grad != 0]
            size = float(gradient.square().mean().sqrt())
            smallest[name] = min(size, smallest.get(name, size))
    ratios = {name: size / OPTIMISATION.eps for name, size in smallest.items()}
    assert len(ratios) == 3 + 11 * shape.depth
    assert min(ratios.values()) > 1e3, sorted(ratios.items(), key=lambda item: item[1])[:3]
