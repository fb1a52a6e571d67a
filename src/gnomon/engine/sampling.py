"""From logits to a token, as pure functions of a row.  B batch, V vocabulary.

A filter only removes tokens, and the kept ones are renormalised once, so that a row that filters nothing gives the same
numbers whether or not its neighbours filter. top_p keeps the smallest set of likeliest tokens whose probability reaches
p (nucleus sampling, arXiv:1904.09751), measured after temperature and top_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

CANDIDATES = 1024  # tokens that are sorted at first where a filter is asked for; a whole vocabulary rarely needs to be

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
    """Which tokens survive top_k and top_p, [B, V] bool. Among equals the smaller id comes first."""
    keep_BV = torch.ones_like(scaled_BV, dtype=torch.bool)
    for row, o in enumerate(options):
        if o.temperature > 0 and (o.top_k or o.top_p < 1):
            keep_BV[row] = torch.zeros_like(keep_BV[row]).index_fill(0, _likeliest(scaled_BV[row], o), True)
    return keep_BV


def _likeliest(scaled_V: torch.Tensor, options: SamplingOptions, looked_at: int = CANDIDATES) -> torch.Tensor:
    """The ids that survive one row's filters, the likeliest first: looked for among the first few, then among more."""
    vocab = len(scaled_V)
    most = min(options.top_k or vocab, vocab)
    looked_at = min(max(looked_at, options.top_k), vocab)
    smallest = scaled_V.topk(looked_at).values[-1]
    ids_C = (scaled_V >= smallest).nonzero()[:, 0]  # all of several equals, in the order of their ids
    sorted_C, order_C = scaled_V[ids_C].sort(descending=True, stable=True)
    ids_C = ids_C[order_C][:most]
    if options.top_p == 1:
        return ids_C
    weights_C = (sorted_C[:most] - sorted_C[0]).exp()
    total = weights_C.sum() if options.top_k else (scaled_V - sorted_C[0]).exp().sum()
    # A token stays while those before it have not reached p.
    stays_C = weights_C.cumsum(0) - weights_C < options.top_p * total
    stays_C[0] = True
    if bool(stays_C[-1]) and len(ids_C) < most:
        return _likeliest(scaled_V, options, 8 * looked_at)
    return ids_C[stays_C]


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def draw(weights_BV: torch.Tensor, uniforms: Sequence[float]) -> list[int]:
    """The token of each row at which its cumulated weight passes its uniform number in [0, 1)."""
    cumulated_BV = weights_BV.cumsum(dim=-1)
    marks_B1 = _column(uniforms, weights_BV) * cumulated_BV[:, -1:]
    tokens_B1 = torch.searchsorted(cumulated_BV, marks_B1, right=True).clamp(max=weights_BV.shape[-1] - 1)
    # Rounding may carry a mark up to the total; the last token with any weight is then the one that is meant.
    for row in (weights_BV.gather(-1, tokens_B1)[:, 0] == 0).nonzero()[:, 0].tolist():
        tokens_B1[row] = weights_BV[row].nonzero()[-1]
    return tokens_B1[:, 0].tolist()
