"""The compiled pass is the model, its bits hang on nothing but the tokens before, and int8 is checked before use."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from tests.engine.conftest import Bytes, random_model, why_not_native  # noqa: E402

from gnomon.common.errors import GnomonError  # noqa: E402
from gnomon.engine.native import NativeModel, NativeRoom, obstacle  # noqa: E402
from gnomon.engine.native import model as native_module  # noqa: E402
from gnomon.engine.open import LARGEST_DIVERGENCE, open_engine  # noqa: E402
from gnomon.engine.options import EngineOptions  # noqa: E402
from gnomon.engine.protocol import GenerateRequest, SamplingOptions, ScoreRequest, Token  # noqa: E402

needs_compiler = pytest.mark.skipif(bool(why_not_native()), reason=why_not_native())
SHAPES = {
    "ours": {},
    "grouped, tied": {"width": 48, "kv_heads": 1, "tied": True, "qk_norm": False, "embedding_norm": False},
    "wide heads": {"width": 40, "head_dim": 24, "query_heads": 4, "kv_heads": 2, "exact_mlp": 90, "vocab": 261},
    "multiplied": {"width": 64, "head_dim": 64, "branch_multiplier": 0.5, "norm_eps": 1e-3, "rope_base": 50.0},
}


def logs_of(native: NativeModel, tokens: list[int], threads: int = 1) -> np.ndarray:
    """Log-probabilities after every token, read in one call."""
    room = NativeRoom(native, 1, 48)
    n = len(tokens)
    found = native.read(room, np.array(tokens), np.zeros(n), np.arange(n), np.arange(n), threads)
    return found.values - found.log_z[:, None]


def tokens_of(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 257, count).tolist()


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_computes_what_the_model_does(shape):
    model, tokens = random_model(**shape), tokens_of(48)
    with torch.no_grad():
        expected = model(torch.tensor([tokens]))[0].log_softmax(-1).numpy()
    assert np.abs(logs_of(NativeModel(model), tokens) - expected).max() < 1e-4
    rounded = model.to(torch.bfloat16).float()
    with torch.no_grad():
        expected = rounded(torch.tensor([tokens]))[0].log_softmax(-1).numpy()
    kept = random_model(**shape)
    kept.embedding.weight.data = rounded.embedding.weight.data  # the table is used where it lies, unrounded
    for ours, theirs in zip(kept.parameters(), rounded.parameters(), strict=True):
        if ours.ndim == 1:
            ours.data = theirs.data  # and so are gains
    assert np.abs(logs_of(NativeModel(kept, "bfloat16"), tokens) - expected).max() < 1e-4


KEPT: dict[str, NativeModel] = {}


def kept(kind: str) -> NativeModel:
    if kind not in KEPT:
        KEPT[kind] = NativeModel(random_model(width=48, kv_heads=1), kind, rows=40)
    return KEPT[kind]


@needs_compiler
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=20, deadline=None)
def test_no_bit_hangs_on_neighbours_cuts_slots_copies_or_threads(kind, seed):
    """Three rows of tokens, read in random pieces by random calls, are what each is alone in one call."""
    native, random = kept(kind), np.random.default_rng(seed)
    rows = [tokens_of(int(random.integers(1, 41)), i) for i in range(3)]
    room, slots = NativeRoom(native, 4, 48), random.permutation(4)
    got: list[list[np.ndarray]] = [[], [], []]
    while any(len(g) < len(r) for g, r in zip(got, rows, strict=True)):
        places = []  # (row, position) of every token of this call
        for i in random.permutation(3):
            count = min(len(rows[i]) - len(got[i]), int(random.integers(0, 14)))
            places += [(i, len(got[i]) + step) for step in range(count)]
        given = [np.array(x) for x in ([rows[i][at] for i, at in places], [slots[i] for i, _ in places])]
        if places:
            positions, threads = np.array([at for _, at in places]), int(random.integers(1, 3))
            found = native.read(room, *given, positions, np.arange(len(places)), threads)
            for (i, _), logits, log_z in zip(places, found.values, found.log_z, strict=True):
                got[i].append(logits - log_z)
    for i in range(3):
        assert np.array_equal(np.stack(got[i]), logs_of(native, rows[i]))
    cut = len(rows[0]) - 1
    room.copy(slots[0], slots[3], cut)
    found = native.read(room, *(np.array([x]) for x in (rows[0][cut], slots[3], cut, 0)), 1)
    assert np.array_equal(found.values[0] - found.log_z[0], got[0][cut])


@needs_compiler
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_engines_of_any_slots_and_threads_agree_to_the_bit(weights):
    model, words = random_model(context=96), Bytes()
    prompts = [words.encode(p) for p in ("a", "def f(x):", "the quick brown fox jumps over it", "x" * 90)]
    requests = [GenerateRequest(p, SamplingOptions(12, seed=i, temperature=i % 2)) for i, p in enumerate(prompts)]
    scored = [ScoreRequest(p) for p in prompts]
    seen = []
    for slots, threads in ((1, 1), (3, 2), (8, 1)):
        engine = open_engine(model, words, EngineOptions(slots, 0, weights, "native", threads))
        events = [e for e in engine.generate(requests) if isinstance(e, Token)]
        seen.append((sorted(events, key=lambda e: e.request), engine.score(scored), engine.score(scored[::-1])[::-1]))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1] == seen[0][2]


@needs_compiler
def test_a_weight_that_is_no_number_is_not_hidden():
    model = random_model()
    model.blocks[1].mlp.up.weight.data[3, 3] = float("nan")
    for kind in ("float32", "bfloat16"):
        assert np.isnan(logs_of(NativeModel(model, kind), [1, 2, 3])).all()


@needs_compiler
def test_int8_is_used_where_it_agrees_and_given_up_where_it_does_not():
    words, options = Bytes(), EngineOptions(weights="int8")
    fine = open_engine(random_model(width=64, head_dim=32), words, options)
    assert fine.reader.model.kind == "int8" and "nats a token apart" in fine.notes[1]
    model = random_model(width=64, head_dim=32)
    with torch.no_grad():  # the same function, but one input of each group is large and takes the scale from the others
        for block in model.blocks:
            block.mlp_norm.weight[0] *= 1e-4
            block.mlp.gate.weight[:, 0] *= 1e4
            block.mlp.up.weight[:, 0] *= 1e4
    spoilt = open_engine(model, words, options)
    assert spoilt.reader.model.kind == "float32"
    assert str(LARGEST_DIVERGENCE) in spoilt.notes[0] and "float32 weights" in spoilt.notes[0]


def test_where_it_cannot_serve_torch_does_and_the_reason_is_noted(monkeypatch):
    from gnomon.model.classic import Classic, ClassicShape

    classic = Classic(ClassicShape(257, 24, 32, 1, 2))
    assert "not Classic" in obstacle(classic)
    assert "not Classic" in open_engine(classic, Bytes()).notes[0]
    odd = random_model(width=30, head_dim=15)
    assert "head_dim is 15" in obstacle(odd)
    monkeypatch.setattr(native_module.library, "cache_clear", lambda: None, raising=False)
    native_module.library.cache_clear()
    monkeypatch.setenv("GNOMON_NATIVE", "0")
    monkeypatch.setattr(native_module, "library", native_module.library.__wrapped__)
    engine = open_engine(random_model(), Bytes(), EngineOptions(weights="int8"))
    assert engine.notes[0] == "torch, float32 weights: switched off by GNOMON_NATIVE=0"
    assert "not used" in engine.notes[1]
    with pytest.raises(GnomonError, match="cannot serve this model: switched off by GNOMON_NATIVE=0"):
        open_engine(random_model(), Bytes(), EngineOptions(kernels="native"))


@pytest.mark.parametrize("wrong", [{"weights": "int4"}, {"kernels": "cuda"}, {"slots": 0}, {"threads": 0}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(GnomonError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        EngineOptions(**wrong)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-mavx2", "-mfma"]], ids=["plain C", "AVX2"])
def test_other_instruction_sets_compute_the_same(flags, tmp_path, monkeypatch):
    folder = Path(native_module.__file__).parent
    command = ["cc", "-O2", *flags, "-fopenmp-simd", "-fno-math-errno", "-shared", "-fPIC", "-std=gnu11", "-Wno-psabi"]
    path = tmp_path / "other.so"
    subprocess.run([*command, "-o", str(path), str(folder / "decode.c"), "-lm", "-lpthread"], check=True)
    model, tokens = random_model(width=80), tokens_of(48)
    here = {kind: logs_of(NativeModel(model, kind), tokens) for kind in native_module.KINDS}
    monkeypatch.setattr(native_module, "library", lambda: native_module.declared(ctypes.CDLL(str(path))))
    # With int8 weights a last bit may move an input to the next of its 2^16 steps, which are 1e-5 of the largest.
    for kind, tolerance in (("float32", 1e-4), ("bfloat16", 1e-4), ("int8", 3e-3)):
        assert np.abs(logs_of(NativeModel(model, kind), tokens) - here[kind]).max() < tolerance
