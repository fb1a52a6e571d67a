"""Everything that is planted is found, whatever the seed; a search that misses stops the job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gnomon.common.errors import JobFailed
from gnomon.corpus import planted, signatures
from gnomon.corpus.dedup import jaccard, shingles
from gnomon.corpus.words import WordHasher


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("likeness", "threshold"), [(0.9, 0.8), (0.9, 0.5), (0.95, 0.9)])
def test_every_planted_copy_and_passage_is_found(tmp_path: Path, seed, likeness, threshold) -> None:
    found = planted.near_copies(likeness, threshold, tmp_path, seed)
    assert (found.found, found.strangers) == (found.planted, 0) and found.planted > 20
    passages = planted.passages(seed)
    assert (passages.found, passages.strangers) == (passages.planted, 0) and passages.planted > 20


def test_a_planted_copy_is_as_like_as_it_says_and_no_more() -> None:
    rng, hasher = np.random.default_rng(0), WordHasher()
    text = planted.document(rng)
    alike = jaccard(shingles(hasher, text.encode()), shingles(hasher, planted.copy_of(rng, text, 0.9, hasher).encode()))
    assert 0.9 <= alike < 0.95


def test_a_search_that_misses_stops_the_job(tmp_path: Path, monkeypatch) -> None:
    planted.require_search(0.8, tmp_path)
    # A library whose hashes depend on the place of a document finds no two alike.
    real = signatures.sign

    def broken(hasher, texts):
        found, counted = real(hasher, texts)
        return found + np.arange(len(texts), dtype=np.uint32)[:, None], counted

    monkeypatch.setattr(signatures, "sign", broken)
    with pytest.raises(JobFailed, match="found 0 of 48 planted ones"):
        planted.require_search(0.8, tmp_path)
    planted.require_search(1.0, tmp_path)  # no near copies are looked for
    assert not list(tmp_path.iterdir())
