"""From a model to an engine: which reader serves it and in which numbers, by what is here, and checked before use."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

from gnomon.common.errors import GnomonError
from gnomon.engine.local import LocalEngine
from gnomon.engine.native import NativeModel, NativeReader, obstacle
from gnomon.engine.options import CONTEXT, EngineOptions
from gnomon.engine.protocol import Vocabulary
from gnomon.engine.reader import Piece, Reader
from gnomon.engine.sampling import log_probabilities
from gnomon.engine.torch_reader import TorchReader
from gnomon.model.transformer import Transformer

if TYPE_CHECKING:
    from gnomon.model.classic import Classic

PROBE_TOKENS = 48
# Median divergence of int8 weights from fp32 over the probe's tokens, nats. SmolLM2-135M is at a tenth of it, a wrong
# scale or a broken product at several nats.
LARGEST_DIVERGENCE = 0.03


def open_engine(
    model: Transformer | Classic, vocabulary: Vocabulary, options: EngineOptions | None = None
) -> LocalEngine:
    """An engine on a model; its notes say what serves it and why.

    int8 weights are compared with float32 on a probe before they are used, and given up for float32 when they differ
    by more than LARGEST_DIVERGENCE. Raises GnomonError when kernels="native" cannot serve the model.
    """
    options = options or EngineOptions()
    context = min(model.shape.context, options.context or CONTEXT)
    why = obstacle(model) if options.kernels != "torch" else "torch was asked for"
    if why and options.kernels == "native":
        raise GnomonError(f"engine: the compiled pass cannot serve this model: {why}")
    notes: list[str] = []
    reader: Reader
    if why or not isinstance(model, Transformer):
        reader = _torch(model, context, options, why, notes)
    else:
        reader = _native(model, context, options, notes)
    return LocalEngine(reader, vocabulary, options.slots, notes)


def _native(model: Transformer, context: int, options: EngineOptions, notes: list[str]) -> Reader:
    reader = NativeReader(NativeModel(model, options.weights), context, options.threads)
    notes.append(f"compiled pass, {options.weights} weights, {options.threads} thread(s)")
    if options.weights != "int8":
        return reader
    found = divergence(model, reader)
    if found <= LARGEST_DIVERGENCE:
        notes.append(f"int8 beside float32 on {PROBE_TOKENS} tokens: {found:.2g} nats a token apart")
        return reader
    notes[:] = [
        f"compiled pass, float32 weights: int8 is {found:.2g} nats a token away from them on {PROBE_TOKENS} tokens, "
        f"and at most {LARGEST_DIVERGENCE} is accepted"
    ]
    return NativeReader(NativeModel(model), context, options.threads)


def _torch(model: Transformer | Classic, context: int, options: EngineOptions, why: str, notes: list[str]) -> Reader:
    if options.weights == "bfloat16":
        model = copy.deepcopy(model).to(torch.bfloat16)
    notes.append(f"torch, {options.weights if options.weights != 'int8' else 'float32'} weights: {why}")
    if options.weights == "int8":
        notes.append("int8 weights gain nothing without the compiled pass, and are not used")
    return TorchReader(model, context)


@torch.inference_mode()
def divergence(model: Transformer, reader: NativeReader) -> float:
    """Median over a probe's tokens of KL(model || reader), nats; infinite when the reader's numbers are none.

    The probe's tokens are spread over the vocabulary, so that many rows of every matrix take part.
    """
    count = min(PROBE_TOKENS, reader.context)
    tokens = [(1 + 7919 * i) % reader.vocab for i in range(count)]
    room, pieces = reader.room(1), [Piece(0, i, [token], wanted=True) for i, token in enumerate(tokens)]
    theirs = log_probabilities(reader.read(room, pieces).values)
    ours = log_probabilities(model(torch.tensor([tokens]))[0])
    apart = (ours.exp() * (ours - theirs)).sum(-1)
    return float(apart.median()) if bool(torch.isfinite(apart).all()) else math.inf
