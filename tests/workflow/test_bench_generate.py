"""The generation bench: runners take turns on the same prompts, and the object it writes is whole."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gnomon.common.errors import JobFailed  # noqa: E402
from gnomon.workflow import bench_generate as bench  # noqa: E402


class Timed:
    """A runner whose prompts cost `prompt` seconds and whose steps cost `step`."""

    setting = "float32"

    def __init__(self, prompt, step, log):
        self.prompt, self.step, self.log = prompt, step, log

    def generate(self, tokens, show=False):
        self.log.append((self.step, tokens))
        seconds = self.prompt + self.step * (tokens - 1)
        return {"seconds": seconds, "cpu_s": 2 * seconds, "tokens": [[1] * tokens]}


def test_ratios_are_of_steps_and_of_reading_and_turns_interleave():
    log = []
    costs = {"gnomon int8": (1.0, 0.5), "gnomon float32": (1.0, 1.0), "transformers": (3.0, 2.0)}
    runners = {name: Timed(prompt, step, log) for name, (prompt, step) in costs.items()}
    found = bench.measured(runners, batch=8, tokens=11, turns=2)
    ratio = found["gnomon int8"]["ratio_to"]["transformers"]
    assert ratio["step_seconds"] == pytest.approx(4.0) and ratio["prompt_seconds"] == pytest.approx(3.0)
    assert found["gnomon int8"]["tokens_per_s"] == pytest.approx(8 / 0.5)
    assert found["transformers"]["follows_float32"] == 1
    assert bench.followed([[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 9, 4], [5, 6, 7, 8]]) == 0.75
    assert log[3:] == [(0.5, 1), (0.5, 11), (1.0, 1), (1.0, 11), (2.0, 1), (2.0, 11)] * 2


def test_without_peers_it_measures_gnomon_and_says_so(tmp_path, monkeypatch):
    from gnomon.model.transformer import Transformer
    from gnomon.recipe.plan import ModelShape

    torch.manual_seed(0)
    tiny = Transformer(ModelShape(vocab=2000, context=128, width=32, depth=1))
    monkeypatch.setattr(bench, "benched_model", lambda home: (tiny, "random weights"))
    found = bench.bench_generate(tmp_path, batches=(1, 2), tokens=4, turns=1)
    for batch in ("1", "2"):
        for weights in bench.OURS:
            assert found["batches"][batch][f"gnomon {weights}"]["tokens_per_s"] > 0
    lines = list(bench.bench_lines(found))
    assert "peers are not set up here" in lines[1] and len(lines) == 7


def test_a_peer_that_dies_says_its_last_words(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(bench, "python_of", lambda home, name: sys.executable)
    peer = bench.Peer(tmp_path, "transformers", 1)
    try:
        with pytest.raises(JobFailed, match=r"peer transformers: its process ended with code 1 \(.*KeyError: 'nobody'"):
            peer.ask({"do": "open", "runner": "nobody", "model": "", "prompts": [], "threads": 1})
    finally:
        peer.close()
