"""A small model with weights that mean something to nobody, and a vocabulary of the 256 bytes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


class Bytes:
    """Token 0 ends a document, token b + 1 is byte b."""

    end_id = 0

    def byte_strings(self) -> list[bytes]:
        return [b""] + [bytes([b]) for b in range(256)]

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(b + 1 for b in text.encode())


def random_model(context: int = 48, width: int = 32, seed: int = 0, **shape):
    import torch

    from gnomon.model.transformer import Transformer
    from gnomon.recipe.plan import ModelShape

    model = Transformer(ModelShape(**{"vocab": 257, "context": context, "width": width, "depth": 2, **shape}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                scale = 1.0 if name.startswith("embedding") else 2.0 * parameter.shape[1] ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            else:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def why_not_native() -> str:
    """Why there is no compiled pass here; "" where there is."""
    from gnomon.engine.native import Unavailable, library

    try:
        library()
    except Unavailable as reason:
        return str(reason)
    return ""


@pytest.fixture
def vocabulary() -> Bytes:
    return Bytes()


@pytest.fixture(params=["torch", "native"])
def kernels(request) -> str:
    """Both readers: what an engine promises it promises on either."""
    pytest.importorskip("torch")
    if request.param == "native" and why_not_native():
        pytest.skip(why_not_native())
    return request.param


@pytest.fixture
def make_engine(vocabulary, kernels):
    """An engine on a random model; engine.model is that model."""
    from gnomon.engine.open import open_engine
    from gnomon.engine.options import EngineOptions

    def make(slots=4, weights="float32", threads=1, **shape):
        model = random_model(**shape)
        engine = open_engine(model, vocabulary, EngineOptions(slots, 0, weights, kernels, threads))
        engine.model = model
        return engine

    return make


def collected(events) -> dict[int, SimpleNamespace]:
    """Every request's tokens, log-probabilities, text, end, and dropped and cached tokens."""
    from gnomon.engine.protocol import Finished, Started, Token

    samples: dict[int, SimpleNamespace] = {}
    for event in events:
        if isinstance(event, Started):
            samples[event.request] = SimpleNamespace(
                tokens=[], logs=[], text="", reason=None, dropped=event.dropped, cached=event.cached
            )
        elif isinstance(event, Token):
            samples[event.request].tokens.append(event.token)
            samples[event.request].logs.append(event.log_probability)
            samples[event.request].text += event.text
        elif isinstance(event, Finished):
            samples[event.request].text += event.text
            samples[event.request].reason = event.reason
            assert event.tokens == len(samples[event.request].tokens)
    return samples


@pytest.fixture
def collect():
    return collected
