"""From logits to a token, as pure functions of a row.  B batch, V vocabulary.

A filter only removes tokens, and the kept ones are renormalised once, so that a row that filters nothing gives the same
numbers whether or not its neighbours filter. top_p keeps the smallest set of likeliest tokens whose probability reaches
p (nucleus sampling, arXiv:1904.09751), measured after temperature and top_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from gnomon.engine.protocol import SamplingOptions
    from gnomon.engine.reader import Logits


def log_probabilities(logits_BV: torch.Tensor) -> torch.Tensor:
    """Natural logs of the raw probabilities, [B, V], float32."""
    return torch.log_softmax(logits_BV.float(), dim=-1)


def probabilities(logits_BV: torch.Tensor, options: Sequence[SamplingOptions]) -> torch.Tensor:
    """What each row's token is drawn from after its own temperature, top_k and top_p: [B, V], float64, rows sum to 1.

    A row of temperature 0 puts all weight on its likeliest token; among equals, on the one with the smallest id.
    """
    temperature_B1 = _column([o.temperature if o.temperature > 0 else 1.0 for o in options], logits_BV)
    scaled_BV = logits_BV.double() / temperature_B1
    if any(o.top_k or o.top_p < 1 for o in options if o.temperature > 0):
        scaled_BV = scaled_BV.masked_fill(~_kept(scaled_BV, options), float("-inf"))
    weights_BV = torch.softmax(scaled_BV, dim=-1)
    greedy = [row for row, o in enumerate(options) if o.temperature == 0]
    if greedy:
        weights_BV[greedy] = torch.nn.functional.one_hot(logits_BV[greedy].argmax(dim=-1), logits_BV.shape[-1]).double()
    return weights_BV


def choose(logits: Logits, options: Sequence[SamplingOptions], uniforms: Sequence[float]) -> list[int]:
    """The next token of each row: its likeliest at temperature 0, else one drawn with its uniform number in [0, 1)."""
    tokens = list(logits.best)
    rows = [row for row, o in enumerate(options) if o.temperature > 0]
    if rows:
        weights_BV = probabilities(logits.values[rows], [options[row] for row in rows])
        for row, token in zip(rows, draw(weights_BV, [uniforms[row] for row in rows]), strict=True):
            tokens[row] = token
    return tokens


def _kept(scaled_BV: torch.Tensor, options: Sequence[SamplingOptions]) -> torch.Tensor:
    """Which tokens survive top_k and top_p, [B, V] bool. Sorting is stable: among equals the smaller id comes first."""
    vocab = scaled_BV.shape[-1]
    sorted_BV, order_BV = scaled_BV.sort(dim=-1, descending=True, stable=True)
    rank_V = torch.arange(vocab, device=scaled_BV.device)
    keep_BV = rank_V < _column([o.top_k or vocab for o in options], scaled_BV)
    weights_BV = torch.softmax(sorted_BV.masked_fill(~keep_BV, float("-inf")), dim=-1)
    # A token stays while those before it have not reached p. A row that filters nothing must lose nothing to rounding.
    before_BV = weights_BV.cumsum(dim=-1) - weights_BV
    top_p_B1 = _column([o.top_p if o.top_p < 1 else 2.0 for o in options], scaled_BV)
    keep_BV &= (before_BV < top_p_B1) | (rank_V == 0)
    return torch.zeros_like(keep_BV).scatter(-1, order_BV, keep_BV)


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def draw(weights_BV: torch.Tensor, uniforms: Sequence[float]) -> list[int]:
    """The token of each row at which its cumulated weight passes its uniform number in [0, 1)."""
    cumulated_BV = weights_BV.cumsum(dim=-1)
    marks_B1 = _column(uniforms, weights_BV) * cumulated_BV[:, -1:]
    tokens_B1 = torch.searchsorted(cumulated_BV, marks_B1, right=True)
    # Rounding may carry a mark up to the total; the last token with any weight is then the one that is meant.
    vocab = weights_BV.shape[-1]
    last_B1 = torch.where(weights_BV > 0, torch.arange(vocab, device=weights_BV.device), 0).amax(-1, keepdim=True)
    return torch.minimum(tokens_B1, last_B1)[:, 0].tolist()
