"""How far bfloat16 and int8 weights are from float32: KL a token and agreement of the likeliest, on a text.

    OMP_NUM_THREADS=1 python benchmarks/int8_divergence.py [MODEL] [TEXT FILE] [TOKENS] [HOME]

MODEL: smollm2, a Hugging Face folder or a .gguf; README.md's first 160 tokens by default. Half a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from gnomon.engine.native import NativeModel, NativeReader
from gnomon.engine.reader import Piece
from gnomon.engine.sampling import log_probabilities
from gnomon.model.interop.imported import open_model
from gnomon.model.transformer import Transformer


@torch.inference_mode()
def main(name: str = "smollm2", text: str = "README.md", count: str = "160", home: str = "gnomon-home") -> None:
    found = open_model(name, Path(home))
    model = found.model
    assert isinstance(model, Transformer)
    tokens = found.tokenizer.encode(Path(text).read_text())[: int(count)]
    exact = log_probabilities(model(torch.tensor([tokens]))[0]).double()
    for weights in ("float32", "bfloat16", "int8"):
        reader = NativeReader(NativeModel(model, weights), len(tokens))
        pieces = [Piece(0, i, [token], wanted=True) for i, token in enumerate(tokens)]
        ours = log_probabilities(reader.read(reader.room(1), pieces).values).double()
        apart = (exact.exp() * (exact - ours)).sum(-1)
        same = (exact.argmax(-1) == ours.argmax(-1)).double().mean()
        print(
            f"{weights:9} KL mean {apart.mean():.2g}, median {apart.median():.2g}, largest {apart.max():.2g} nats a "
            f"token; likeliest token the same for {same:.1%}; largest difference {(exact - ours).abs().max():.2g} nats"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
