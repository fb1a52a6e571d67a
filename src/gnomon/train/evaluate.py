"""Loss on held-out rows, in nats per token and bits per byte, with the standard error that goes with it.

Bits per byte is sum(nats) / (ln 2 * sum(bytes that the target tokens stand for)): it does not depend on the tokenizer.
Its error is that of a ratio with whole rows drawn at random (Cochran, Sampling Techniques, §2.11): tokens of a row are
not independent, rows nearly are.

N rows, B rows of a micro-batch, T time, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gnomon.common.errors import GnomonError
from gnomon.model.transformer import Transformer
from gnomon.train.device import fetched, moved

EVALUATION_TOKENS = 4096  # that pass through the model at once
LOGITS_AT_ONCE = 1 << 26  # numbers; with a large vocabulary fewer tokens pass


@dataclass(frozen=True)
class EvalSet:
    """rows: integers [N, T + 1]. hash: names these rows for ever."""

    name: str
    rows: NDArray[np.integer]
    hash: str


@dataclass(frozen=True)
class Evaluation:
    """loss_nats: per token. stderr_bits_per_byte: of drawing other rows, None where there is only one. tokens: targets.
    bytes: what the targets stand for."""

    name: str
    loss_nats: float
    bits_per_byte: float
    stderr_bits_per_byte: float | None
    tokens: int
    bytes: int
    hash: str


def token_nats(
    model: Transformer, rows: NDArray[np.integer], tokens_at_once: int = EVALUATION_TOKENS
) -> NDArray[np.float32]:
    """Nats of every target: [N, T]. rows: integers [N, T + 1]. Where it can serve, by the compiled step's way there."""
    native = _native_nats(model, rows, tokens_at_once)
    return token_nats_twin(model, rows, tokens_at_once) if native is None else native


def _native_nats(model: Transformer, rows: NDArray[np.integer], tokens_at_once: int) -> NDArray[np.float32] | None:
    from gnomon.train.native import NativeGradient, obstacle
    from gnomon.train.optim import FlatWeights
    from gnomon.train.term import NextToken

    shape, weight = model.shape, model.norm.weight
    if (
        (weight.dtype, weight.device.type) != (torch.float32, "cpu")
        or rows.shape[1] != shape.context + 1
        or obstacle(shape, "float32", [NextToken()])
    ):
        return None
    names = [name for name, _ in model.named_parameters()]
    one = [{"names": names, "rate": 0.0, "decay": 0.0, "eps": 0.0}]
    flat = FlatWeights(copy.deepcopy(model), one, torch.float32)  # it would make the model's weights its own
    size = max(1, tokens_at_once // shape.context) * torch.get_num_threads()
    forward = NativeGradient(shape, flat, size, torch.get_num_threads())
    parts = [forward.nats(rows[start : start + size]) for start in range(0, len(rows), size)]
    return np.concatenate(parts) if parts else np.empty((0, shape.context), np.float32)


@torch.no_grad()
def token_nats_twin(
    model: Transformer, rows: NDArray[np.integer], tokens_at_once: int = EVALUATION_TOKENS
) -> NDArray[np.float32]:
    """The slow twin of token_nats, for any row length, dtype and device."""
    size = max(1, min(tokens_at_once, LOGITS_AT_ONCE // model.shape.vocab) // (rows.shape[1] - 1))
    out = np.empty((len(rows), rows.shape[1] - 1), np.float32)
    for start in range(0, len(rows), size):
        held = torch.from_numpy(np.ascontiguousarray(rows[start : start + size], dtype=np.int64))
        part = moved(held, model.norm.weight.device)
        logits_BTV = model(part[:, :-1])
        wide = logits_BTV if logits_BTV.dtype == torch.float64 else logits_BTV.float()
        nats = torch.nn.functional.cross_entropy(wide.flatten(0, 1), part[:, 1:].flatten(), reduction="none")
        out[start : start + size] = fetched(nats).view(len(part), -1).numpy()
    return out


def evaluate(
    model: Transformer,
    eval_set: EvalSet,
    token_bytes: NDArray[np.integer],
    tokens_at_once: int = EVALUATION_TOKENS,
) -> Evaluation:
    """A model on held-out rows. token_bytes: [V] bytes each token stands for, 0 for a document's end.

    The figures do not depend on tokens_at_once beyond fp32 rounding (1e-6).
    Raises GnomonError when there are no rows, or the targets stand for no bytes.
    """
    if not len(eval_set.rows):
        raise GnomonError(f"evaluation set {eval_set.name}: no rows; hold out at least one row of text")
    nats_N = token_nats(model, eval_set.rows, tokens_at_once).astype(np.float64).sum(1)
    bytes_N = np.asarray(token_bytes, dtype=np.int64)[eval_set.rows[:, 1:]].sum(1)
    total = int(bytes_N.sum())
    if not total:
        raise GnomonError(
            f"evaluation set {eval_set.name}: its tokens stand for no bytes; token_bytes is not this corpus'"
        )
    tokens = len(eval_set.rows) * (eval_set.rows.shape[1] - 1)
    ratio = float(nats_N.sum()) / total
    return Evaluation(
        name=eval_set.name,
        loss_nats=float(nats_N.sum()) / tokens,
        bits_per_byte=ratio / math.log(2),
        stderr_bits_per_byte=ratio_stderr(nats_N, bytes_N) / math.log(2) if len(nats_N) > 1 else None,
        tokens=tokens,
        bytes=total,
        hash=eval_set.hash,
    )


def ratio_stderr(numerators: NDArray[np.floating], denominators: NDArray[np.integer]) -> float:
    """Standard error of sum(numerators) / sum(denominators) over clusters drawn at random; needs two or more."""
    n, total = len(numerators), denominators.sum()
    residuals = numerators - numerators.sum() / total * denominators
    return float(math.sqrt(n / (n - 1) * (residuals**2).sum()) / total)
