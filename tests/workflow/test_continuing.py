"""Going on from a model of another house: its weights are the start, its tokenizer reads, its hash names the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.model.interop.hf_write import write_folder
from gnomon.model.interop.store import folder_of, origin
from gnomon.model.transformer import Transformer
from gnomon.recipe.plan import ModelShape, Plan
from gnomon.workflow.display import Display
from gnomon.workflow.exporting import export
from gnomon.workflow.sample import sample
from gnomon.workflow.training import Wish, train_one

SETTINGS = ("family.context=32", "family.base.batch_tokens=256", "family.rate=0.003", "corpus.held_out.fraction=0.2")
TEMPLATE = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}"


def foreign_tokenizer(folder: Path) -> Tokenizer:
    """Byte-level, digits apart, marks at the end: another house's."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>", "<|user|>", "<|bot|>"])
    path = folder / "foreign.json"
    path.write_text(inner.to_str())
    return Tokenizer.open(path)


@pytest.fixture(scope="module")
def continued(tmp_path_factory, small_home):
    """(home, the model's folder, the lines that training said)."""
    place = tmp_path_factory.mktemp("init")
    tokenizer = foreign_tokenizer(place)
    shape = ModelShape(
        vocab=264, context=64, width=32, depth=2, head_dim=8, kv_heads=2, exact_mlp=72, qk_norm=False, tied=True,
        embedding_norm=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Transformer(shape)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0, 0.08)
    write_folder(model, tokenizer, place / "model", TEMPLATE, ("", "<|endoftext|>"))
    text, home = small_home[0].parent / "text", place / "home"
    with Display() as display:
        wish = Wish(what=str(text), overrides=SETTINGS, init=str(place / "model"), steps=30, beside=16)
        lines = train_one(wish, home, 1, display).splitlines()
    return home, place / "model", lines


def bits(line: str) -> float:
    return float(line.split("documents ")[1].split()[0])


def run_of(line: str) -> str:
    return line.split("run ")[1].split()[0]


def test_it_lowers_the_loss_on_the_held_out_part_and_one_from_scratch_stands_beside_it(continued):
    home, _, (before, after, scratch) = continued
    assert bits(after) < bits(before) - 0.5
    assert scratch.startswith("from scratch: run ")
    plans = [
        Plan.from_dict(json.loads((home / "runs" / run_of(x) / "plan.json").read_text())) for x in (after, scratch)
    ]
    results = [json.loads((home / "runs" / run_of(x) / "result.json").read_text()) for x in (after, scratch)]
    assert plans[0].corpus == plans[1].corpus and plans[1].init == ""
    hashes = {result["evaluations"]["documents"]["hash"] for result in results}
    assert len(hashes) == 1
    assert results[1]["flops"] == pytest.approx(results[0]["flops"], rel=0.05)


def test_the_weights_are_a_part_of_the_run_s_identity(continued):
    home, _, (_, after, _) = continued
    plan = Plan.from_dict(json.loads((home / "runs" / run_of(after) / "plan.json").read_text()))
    kept = origin(home, plan.init)
    assert plan.run_id == run_of(after) and len(plan.init) == 64
    assert (kept.chat_template, kept.eos, kept.shape.kv_heads) == (TEMPLATE, "<|endoftext|>", 2)
    assert "init" not in Plan(plan.shape, plan.optimisation, 1, 1, 0, 0, "c").to_dict()


def test_the_corpus_is_in_the_model_s_own_tokens(continued):
    home, model, (_, after, _) = continued
    plan = json.loads((home / "runs" / run_of(after) / "plan.json").read_text())
    folder = home / "corpora" / plan["corpus"][:16]
    tokenizer = Tokenizer.open(folder / "tokenizer.json")
    assert tokenizer.encode("if x42") == Tokenizer.open(model / "tokenizer.json").encode("if x42")
    from gnomon.corpus.shards import Corpus

    corpus = Corpus.open(folder, verify=True)
    whole = corpus.text("documents").decode()
    assert whole.startswith("# ") and "alpha" in whole
    first = corpus.tokens("documents").tolist().index(tokenizer.end_id)
    assert tokenizer.decode(corpus.tokens("documents")[:first].tolist()) == whole[: len(whole.split("\n# ")[0]) + 1]


def test_a_second_time_it_is_found_finished(continued, small_home):
    home, model, lines = continued
    with Display() as display:
        wish = Wish(what=str(small_home[0].parent / "text"), overrides=SETTINGS, init=str(model), steps=30)
        assert train_one(wish, home, 1, display).splitlines()[1] == lines[1]


def test_what_came_of_it_is_spoken_to_and_exported_as_what_it_was(continued, tmp_path):
    home, _, (_, after, _) = continued
    written: list[str] = []
    sample(home, run_of(after), "hello", max_tokens=4, temperature=0, write=written.append)
    assert "hello" not in "".join(written)  # an answer, not a continuation
    files = export(home, run_of(after), "hf", tmp_path / "hf")
    assert (tmp_path / "hf" / "chat_template.jinja").read_text() == TEMPLATE
    assert {f.name for f in files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    from gnomon.model.interop.imported import open_model
    from gnomon.train.checkpoint import load_final

    rows = torch.randint(260, (2, 20))
    ours = load_final(home / "runs" / run_of(after))
    assert (open_model(str(tmp_path / "hf")).model(rows) - ours(rows)).abs().max() < 1e-4
    with pytest.raises(GnomonError, match="is there already; give a new place"):
        export(home, run_of(after), "hf", tmp_path / "hf")
    with pytest.raises(GnomonError, match="it is one of hf, gguf"):
        export(home, run_of(after), "onnx", tmp_path / "x")
    (path,) = export(home, run_of(after), "gguf", tmp_path / "m.gguf")
    assert (open_model(str(path)).model(rows) - ours(rows)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": (*SETTINGS, "family.context=128")}, "family.context is 128; model reads at most 64 tokens"),
        ({"init": "nowhere/m.gguf"}, "nowhere/m.gguf: no such file"),
        ({"init": "nowhere"}, r"nowhere: no config\.json; a model.s folder holds"),
        ({"width": 64}, "it goes with a folder or recipe, --steps and --beside"),
        ({"what": "", "resume": "0123"}, "it goes with a folder or recipe, --steps and --beside"),
        ({"init": "", "beside": 64}, "it stands beside --init"),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_line(continued, small_home, changes, message):
    home, model, _ = continued
    wish = {"what": str(small_home[0].parent / "text"), "overrides": SETTINGS, "init": str(model), **changes}
    with pytest.raises(GnomonError, match=message), Display() as display:
        train_one(Wish(**wish), home, 1, display)


def test_weights_that_are_gone_or_altered_are_named(continued, tmp_path):
    from gnomon.model.interop.store import initial_weights

    home, _, (_, after, _) = continued
    plan = Plan.from_dict(json.loads((home / "runs" / run_of(after) / "plan.json").read_text()))
    with pytest.raises(GnomonError, match="gnomon train --init MODEL reads them again"):
        initial_weights(plan, tmp_path)
    path = folder_of(home, plan.init) / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(GnomonError, match=r"weights\.safetensors: missing or altered"):
        initial_weights(plan, home)
    path.write_bytes(whole)


def test_an_export_overwrites_nothing(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("mine")
    for to in ("hf", "gguf"):
        with pytest.raises(GnomonError, match="nothing is overwritten"):
            export(tmp_path, "smollm2", to, taken)
    assert taken.read_text() == "mine"
