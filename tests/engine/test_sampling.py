"""Each row gets its own temperature and filters, and the draw follows the weights."""

from __future__ import annotations

import pytest

from gnomon.engine.protocol import SamplingOptions

torch = pytest.importorskip("torch")


def weights(logits, *options):
    from gnomon.engine.sampling import probabilities

    return probabilities(torch.tensor(logits), [SamplingOptions(**o) for o in options])


LOGITS = [2.0, 1.0, 0.5, 0.0, -1.0]


def test_temperature_scales_the_logits_and_zero_takes_the_likeliest():
    rows = weights([LOGITS] * 3, {}, {"temperature": 0.5}, {"temperature": 0.0})
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    torch.testing.assert_close(rows[0], logits.softmax(-1))
    torch.testing.assert_close(rows[1], (2 * logits).softmax(-1))
    assert rows[2].tolist() == [1, 0, 0, 0, 0]


def test_top_k_and_top_p_keep_the_likeliest_and_renormalise():
    rows = weights([LOGITS] * 4, {"top_k": 2}, {"top_p": 0.5}, {"top_p": 0.85}, {"top_k": 3, "top_p": 0.999})
    full = torch.tensor(LOGITS, dtype=torch.float64).softmax(-1)  # 0.55 0.20 0.12 0.07 0.03 (and so on)
    torch.testing.assert_close(rows.sum(-1), torch.ones(4, dtype=torch.float64))
    for row, kept in zip(rows, (2, 1, 3, 3), strict=True):
        assert (row > 0).sum() == kept
        torch.testing.assert_close(row[:kept], full[:kept] / full[:kept].sum())


def test_equal_logits_keep_the_smaller_ids():
    assert (weights([[1.0] * 6], {"top_k": 2})[0] > 0).tolist() == [True, True, False, False, False, False]
    assert weights([[1.0] * 6], {"temperature": 0.0})[0].tolist() == [1, 0, 0, 0, 0, 0]


def test_a_row_that_filters_nothing_is_not_moved_by_a_neighbour_that_does():
    logits = torch.randn(2, 500, generator=torch.Generator().manual_seed(0)).tolist()
    alone = weights(logits[:1], {})
    beside = weights(logits, {}, {"top_p": 0.3, "top_k": 7})
    assert torch.equal(alone[0], beside[0])


def test_draws_follow_the_weights_and_never_hit_what_was_removed():
    from gnomon.engine.sampling import draw

    row = weights([LOGITS], {"top_k": 3})[0]
    uniforms = [(i + 0.5) / 3000 for i in range(3000)]
    drawn = draw(row.expand(3000, -1), uniforms)
    share = torch.bincount(torch.tensor(drawn), minlength=5) / 3000
    torch.testing.assert_close(share, row.float(), atol=1e-3, rtol=0)
    gaps = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]], dtype=torch.float64).expand(4, -1)
    assert draw(gaps, [0.0, 0.25, 0.999999, 1 - 2**-53]) == [1, 3, 3, 3]


@pytest.mark.parametrize("filters", [{"top_k": 7}, {"top_p": 0.9}, {"top_k": 60, "top_p": 0.5}, {"top_p": 1e-9}])
def test_looking_at_few_tokens_first_finds_what_sorting_all_of_them_does(filters):
    from gnomon.engine.sampling import _likeliest

    generator, options = torch.Generator().manual_seed(1), SamplingOptions(**filters)
    for scale in (0.1, 1.0, 9.0):  # flat rows need nearly all tokens, peaked ones few; rounding makes equals
        row = (scale * torch.randn(200, generator=generator)).round(decimals=1).double()
        whole, order = row.sort(descending=True, stable=True)
        count = options.top_k or 200
        weights = whole[:count].softmax(0)
        stays = (weights.cumsum(0) - weights < options.top_p) | (torch.arange(count) == 0)
        assert _likeliest(row, options, looked_at=1).tolist() == order[:count][stays].tolist()
