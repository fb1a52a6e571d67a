"""Which rows a run is examined on: a fixed subset of each held-out set for the rungs, the whole set for the target."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.corpus.rows import evaluation_rows
from gnomon.corpus.shards import Corpus

if TYPE_CHECKING:
    from gnomon.train.evaluate import EvalSet

WHOLE_SETS_FILE = "whole_sets.json"  # in a run's folder: its results on whole held-out sets
WHOLE_SETS_SCHEMA = 1


def evaluation_set(corpus: Corpus, split: str, context: int, subset_tokens: int | None) -> EvalSet:
    """The rows of a held-out split: all of them, or a fixed subset of about subset_tokens tokens.

    Raises GnomonError when the split holds less than one row.
    """
    from gnomon.train.evaluate import EvalSet

    rows = evaluation_rows(corpus.tokens(split), context, subset_tokens)
    if not len(rows):
        raise GnomonError(
            f"held-out set {split}: {len(corpus.tokens(split))} tokens are less than one row of {context}; "
            "give more text or a shorter family.context"
        )
    return EvalSet(split, rows, hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest())


def evaluate_run(folder: Path, sets: list[EvalSet], corpus: Corpus, threads: int) -> dict[str, dict[str, Any]]:
    """Results of a finished run's final weights on the sets, by name."""
    import torch

    from gnomon.common.hashing import plain
    from gnomon.train.checkpoint import load_final
    from gnomon.train.evaluate import evaluate

    torch.set_num_threads(threads)
    model = load_final(folder)
    return {s.name: plain(evaluate(model, s, corpus.token_bytes)) for s in sets}
