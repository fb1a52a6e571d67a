"""`gnomon sample` finds a run, streams whole text in order, and names what is missing."""

from __future__ import annotations

import shutil
import sys

import pytest

from gnomon.common.errors import GnomonError
from gnomon.common.files import write_json, write_text
from gnomon.engine.protocol import Finished, SamplingOptions, Started, Token
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.workflow.engines import load_run
from gnomon.workflow.sample import complete, in_order, sample, visible

torch = pytest.importorskip("torch")
TEXTS = ["def fibonacci(n):\n    return n\n", "class Spam:\n    pass\n", "for i in range(10):\n    print(i)\n"] * 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with one finished run of random weights, and its id."""
    from gnomon.corpus.tokenizer import train_tokenizer
    from gnomon.model.parametrization import initialise
    from gnomon.model.transformer import Transformer
    from gnomon.train.checkpoint import Checkpoint, save

    home = tmp_path_factory.mktemp("home")
    tokenizer = train_tokenizer(TEXTS, 280)
    write_text(home / "corpora" / ("c" * 16) / "tokenizer.json", tokenizer.to_json())
    shape = ModelShape(vocab=tokenizer.vocab, context=24, width=32, depth=2)
    rates = Optimisation(rate=0.006, base_width=32, base_depth=2, embed_ratio=1.0, timescale=0.3, beta1=0.9, beta2=0.95)
    plan = Plan(shape, rates, steps=3, batch_rows=1, seed=0, order_seed=0, corpus="c" * 64)
    model = Transformer(shape)
    initialise(model, plan.optimisation, 0)
    with torch.no_grad():
        model.head.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    folder = home / "runs" / plan.run_id
    write_json(folder / "plan.json", plan.to_dict(), 1)
    save(folder, Checkpoint(3, dict(model.state_dict()), {}, {"plan": plan.to_dict()}))
    return home, plan.run_id


def sampled(home, run, **options):
    written, notes = [], []
    sample(home, run, options.pop("prompt", "def "), write=written.append, note=notes.append, **options)
    return written, notes


def test_text_streams_after_its_prompt_and_a_seed_repeats_it(made):
    home, run = made
    written, notes = sampled(home, run[:6], max_tokens=30, seed=4)
    assert written[0] == "def " and written[-1] == "\n"
    assert len(written) > 10 and notes == []
    assert sampled(home, run, max_tokens=30, seed=4)[0] == written
    assert sampled(home, run, max_tokens=30, seed=5)[0] != written


def test_several_samples_come_one_after_another_and_each_is_what_it_is_alone(made):
    home, run = made
    text = "".join(sampled(home, run, samples=3, max_tokens=20, seed=7)[0])
    alone = ["".join(sampled(home, run, max_tokens=20, seed=7 + i)[0]) for i in range(3)]
    assert text == "".join(f"--- sample {i + 1} of 3, seed {7 + i}\n{body}" for i, body in enumerate(alone))


def test_a_prompt_that_does_not_fit_is_said_to_be_cut(made):
    home, run = made
    notes = sampled(home, run, prompt="x = 1\n" * 40, max_tokens=3)[1]
    assert len(notes) == 1 and "the model sees 24" in notes[0] and "left out" in notes[0]


def test_prompts_are_completed_side_by_side(made):
    loaded = load_run(*made)
    options = SamplingOptions(max_tokens=12, temperature=0.0)
    both = complete(loaded, ["def ", "class "], options)
    assert both == [complete(loaded, ["def "], options)[0], complete(loaded, ["class "], options)[0]]


def test_what_is_missing_is_named(made, tmp_path):
    home, run = made
    with pytest.raises(GnomonError, match=r"no run in .* begins so"):
        sample(home, "zz", "x")
    with pytest.raises(GnomonError, match="temperature is -1"):
        sample(home, run, "x", temperature=-1)
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    (copy / "runs" / run / "checkpoint" / "00000003" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(GnomonError, match=r"weights\.safetensors: its 3 bytes"):
        sample(copy, run, "x")
    shutil.rmtree(copy / "runs" / run / "checkpoint")
    with pytest.raises(GnomonError, match="stopped at step 0 of 3"):
        sample(copy, run, "x")
    shutil.rmtree(copy / "corpora")
    with pytest.raises(GnomonError, match="its tokenizer is not in"):
        sample(copy, run, "x")


def test_without_torch_the_way_to_get_it_is_said(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "gnomon.engine.open", None)
    with pytest.raises(GnomonError, match=r"not installed; pip install 'gnomon\[train\]'"):
        load_run(*made)


def test_events_of_samples_side_by_side_are_told_apart_in_order():
    events = [
        Started(0, 1), Started(1, 1), Token(1, 5, -1.0, "b"), Token(0, 5, -1.0, "a"), Finished(1, "end", 1, "B"),
        Started(2, 1), Token(0, 6, -1.0, "A"), Finished(0, "end", 2), Token(2, 5, -1.0, "c"), Finished(2, "end", 1),
    ]  # fmt: skip
    assert [(e.request, text) for e, text in in_order(events) if text] == [
        (0, "a"),
        (0, "A"),
        (1, "b"),
        (1, "B"),
        (2, "c"),
    ]


def test_a_terminal_is_not_commanded_by_a_model():
    assert visible("a\x1b[2Jb\r\n\tc\x7f\x9b é") == "a␛[2Jb␍\n\tc␡� é"
