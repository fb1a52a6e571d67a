"""A law and a training term of one's own, through the public API; nothing in gnomon is changed for them.

python examples/extend.py gnomon-home/ladders/NAME/table.parquet FOLDER_OF_TEXT
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gnomon import forecast
from gnomon.corpus.build import build_corpus
from gnomon.ladder.family import Family
from gnomon.recipe.values import CorpusRecipe, FamilyRecipe, FolderSource
from gnomon.train.term import NextToken, Sum
from gnomon.train.trainer import train


class LogPower(forecast.Law):
    """loss = c + a (ln compute)^-b: it falls for ever, and ever more slowly than a power."""

    name, source = "log power", "this example"
    inputs, coefficients, exponents = ("compute",), ("c", "a"), ("b",)
    bounds, prior = ((0.2, 8.0),), (None,)

    def columns(self, exponents_Sq, inputs):
        power = np.log(inputs["compute"]) ** -exponents_Sq
        return np.stack([np.ones_like(power), power], axis=-1)


@dataclass(frozen=True)
class ConfidencePenalty:
    """Minus the entropy of the predictions (arXiv:1701.06548): a sum over tokens, which the trainer divides."""

    weight: float
    name: str = "confidence_penalty"

    def __call__(self, forward):
        logs = forward.logits_BTV.float().log_softmax(-1)
        return Sum(self.weight * (logs.exp() * logs).sum(), "tokens")


def forecast_with_my_law(path, metric="bits_per_byte_documents"):
    table = forecast.read(path)
    largest = table.row(int(table["flops"].argmax()))
    target = forecast.Target(30 * largest["flops"], 5.5 * largest["parameters_matmul"], 5.5 * largest["tokens"])
    return forecast.fit(table, metric, laws=[*forecast.standard_laws(), LogPower()]).predict(target)


def train_with_my_term(text, home):
    folder = FolderSource(kind="folder", path=str(text))
    corpus = build_corpus(CorpusRecipe(sources=(folder,), vocabulary=512), home)
    plan = Family(FamilyRecipe(context=64), corpus.vocab, corpus.hash).at(3e9, 16)
    terms = [NextToken(plan.optimisation.z_loss), ConfidencePenalty(0.1)]
    return train(plan, corpus, home / "runs" / f"{plan.run_id}-penalty", terms=terms, mode="auto")


if __name__ == "__main__":
    print(forecast_with_my_law(Path(sys.argv[1])))
    print(train_with_my_term(Path(sys.argv[2]), Path("gnomon-home")))
