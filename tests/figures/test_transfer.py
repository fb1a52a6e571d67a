"""The picture of transfer can be read, on wide paper and on narrow, whatever the sizes did."""

from __future__ import annotations

import pytest

from gnomon.figures.transfer import TransferCurve, transfer_curves

RATES = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
ALIKE = {16: 0.0, 32: 0.1, 64: 0.2, 128: 0.1}
APART = {16: -2.0, 32: -1.0, 64: 0.0, 128: 2.0}


@pytest.mark.parametrize("valleys", [ALIKE, APART], ids=["alike", "apart"])
def test_nothing_overlaps_or_leaves_the_paper(flaws_of, texts_of, valleys):
    curves = []
    for width, valley in valleys.items():
        heights = [0.8 * (i - 3 - valley) ** 2 for i in range(7)]
        points = tuple((r, h - min(heights)) for r, h in zip(RATES, heights, strict=True))
        curves.append(TransferCurve(f"width {width}", points[: 5 if width == 16 else 7]))
    drawn = transfer_curves(tuple(curves), "rate")
    assert flaws_of(drawn) == []
    for drawing in (drawn.wide, drawn.narrow):
        assert {f"width {width}" for width in valleys} <= {text for text, _, _ in texts_of(drawing)}


def test_a_size_with_one_point_is_no_curve():
    with pytest.raises(ValueError, match="no size has two points"):
        transfer_curves((TransferCurve("width 16", ((0.1, 0.0),)),), "rate")
