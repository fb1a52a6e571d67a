"""From a model to an engine: which reader serves it, in which numbers, chosen by what is here and checked before use."""

from __future__ import annotations

import math

import torch

from gnomon.common.errors import GnomonError
from gnomon.engine.local import LocalEngine
from gnomon.engine.native import NativeModel, NativeReader, obstacle
from gnomon.engine.options import CONTEXT, EngineOptions
from gnomon.engine.protocol import Vocabulary
from gnomon.engine.reader import Piece, Reader
from gnomon.engine.torch_reader import TorchReader
from gnomon.model.transformer import Transformer

PROBE_TOKENS = 48
# Mean divergence of int8 weights from fp32 on the probe, nats a token. SmolLM2-135M has 0.002 and a broken scale several
# nats; a hundredth of a nat is what a seed moves a small model's loss by.
LARGEST_DIVERGENCE = 0.05


def open_engine(model: Transformer, vocabulary: Vocabulary, options: EngineOptions | None = None) -> LocalEngine:
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
    reader = _torch(model, context, options, why, notes) if why else _native(model, context, options, notes)
    return LocalEngine(reader, vocabulary, options.slots, notes)


def _native(model: Transformer, context: int, options: EngineOptions, notes: list[str]) -> Reader:
    reader = NativeReader(NativeModel(model, options.weights), context, options.threads)
    notes.append(f"compiled pass, {options.weights} weights, {options.threads} thread(s)")
    if options.weights != "int8":
        return reader
    found = divergence(TorchReader(model, context), reader)
    if found <= LARGEST_DIVERGENCE:
        notes.append(f"int8 beside float32 on {PROBE_TOKENS} tokens: {found:.2g} nats a token apart")
        return reader
    notes[:] = [
        f"compiled pass, float32 weights: int8 is {found:.2g} nats a token away from them on {PROBE_TOKENS} tokens, "
        f"and at most {LARGEST_DIVERGENCE} is accepted"
    ]
    return NativeReader(NativeModel(model), context, options.threads)


def _torch(model: Transformer, context: int, options: EngineOptions, why: str, notes: list[str]) -> Reader:
    if options.weights == "bfloat16":
        model = model.to(torch.bfloat16)
    notes.append(f"torch, {options.weights if options.weights != 'int8' else 'float32'} weights: {why}")
    if options.weights == "int8":
        notes.append("int8 weights gain nothing without the compiled pass, and are not used")
    return TorchReader(model, context)


def divergence(exact: Reader, other: Reader) -> float:
    """Mean over a probe's tokens of KL(exact || other), nats. Infinite when the other's numbers are none.

    The probe is spread over the vocabulary, so that many rows of every matrix take part.
    """
    count = min(PROBE_TOKENS, exact.context)
    tokens = [(1 + 7919 * i) % exact.vocab for i in range(count)]
    total = 0.0
    rooms = exact.room(1), other.room(1)
    for at, token in enumerate(tokens):
        ours, theirs = (
            reader.read(room, [Piece(0, at, [token], wanted=True)]).values[0].double().log_softmax(-1)
            for reader, room in zip((exact, other), rooms, strict=True)
        )
        total += float((ours.exp() * (ours - theirs)).sum())
    return total / count if math.isfinite(total) else math.inf
