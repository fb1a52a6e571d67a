"""Folders of transformers: the same stream after every block, both ways, the same text, one line for bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gnomon.common.errors import GnomonError
from gnomon.model.cache import Cache
from gnomon.model.classic import Classic, ClassicShape
from gnomon.model.interop.hf import read_folder, read_model
from gnomon.model.interop.hf_write import write_folder
from gnomon.model.interop.imported import is_outside, open_model

transformers = pytest.importorskip("transformers", reason="pip install 'gnomon[hf]'")

ROWS = torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(0))
TIGHT = 1e-4
# What the two ways of making a model are: grouped heads, heads wider than the stream, tied and not.
LLAMAS = [
    {"model_type": "llama", "num_key_value_heads": 2},
    {"model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": True, "rope_theta": 500.0},
    {"model_type": "qwen3", "num_key_value_heads": 1, "head_dim": 16},
    {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True},
]
COMMON = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 48, "rms_norm_eps": 1e-5, "use_cache": False, "tie_word_embeddings": False,
}  # fmt: skip


def blocks_of(model, rows):
    """The stream before the first block and after every block, then the logits, of one of our models."""
    seen = []
    hooks = [block.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for block in model.blocks[:1]]
    hooks += [block.register_forward_hook(lambda _, __, out: seen.append(out)) for block in model.blocks]
    with torch.no_grad():
        logits = model(rows)
    for hook in hooks:
        hook.remove()
    return [*seen[:-1], logits]  # transformers shows the last block's only after the norm


def blocks_of_theirs(model, rows):
    with torch.no_grad():
        out = model(rows, output_hidden_states=True)
    return [*out.hidden_states[:-1], out.logits]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert (a - b).abs().max() < TIGHT, f"after block {i}"
    assert ours[-1].std() > 0.1


def theirs_at_random(config):
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (1.0 if "norm" in name or "ln_" in name else 0.0))
    return model


@pytest.mark.parametrize("changes", LLAMAS, ids=lambda c: f"{c['model_type']}-{c['num_key_value_heads']}")
def test_their_model_is_the_same_here_after_every_block(changes, tmp_path):
    theirs = theirs_at_random(transformers.AutoConfig.for_model(**{**COMMON, **changes}))
    theirs.save_pretrained(tmp_path)
    ours = read_model(tmp_path)
    assert_same(blocks_of(ours, ROWS), blocks_of_theirs(theirs, ROWS))


@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": False},
        {"qk_norm": True},
        {"qk_norm": True, "kv_heads": 2, "query_heads": 6, "exact_mlp": 51, "branch_multiplier": 0.3},
        {"qk_norm": False, "tied": True, "embedding_norm": False},
        {"qk_norm": False, "tied": True},
    ],
    ids=["llama", "qwen3", "grouped", "tied", "tied-normed"],
)
def test_our_model_is_the_same_there_after_every_block(changes, random_model, tokenizer, tmp_path):
    ours = random_model(**changes)
    write_folder(ours, tokenizer, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if changes["qk_norm"] else "LlamaForCausalLM")
    assert_same(blocks_of(ours, ROWS), blocks_of_theirs(theirs, ROWS))
    said = theirs.generate(ROWS[:1, :9], max_new_tokens=8, do_sample=False, pad_token_id=0)[0, 9:].tolist()
    assert said == greedy(ours, ROWS[0, :9].tolist(), 8)
    again = read_folder(tmp_path)
    assert (again.model(ROWS) - ours(ROWS)).abs().max() < TIGHT
    assert again.tokenizer.encode("def f(): 42") == tokenizer.encode("def f(): 42")
    assert again.end_ids == (0,)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_a_trained_model_says_the_same_there(qk_norm, learnt_model, tokenizer, tmp_path):
    """Same prompt ids, same logits after every block, same greedy text, by transformers' own tokenizer and generate."""
    ours = learnt_model(qk_norm)
    write_folder(ours, tokenizer, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for prompt in ("def add(", "The sun"):
        ids = [tokenizer.end_id, *tokenizer.encode(prompt)]
        asked = reader(prompt, return_tensors="pt")
        assert asked["input_ids"][0].tolist() == ids
        assert_same(blocks_of(ours, torch.tensor([ids])), blocks_of_theirs(theirs, torch.tensor([ids])))
        said = theirs.generate(**asked, max_new_tokens=16, do_sample=False, pad_token_id=0)[0].tolist()
        assert said == ids + greedy(ours, ids, 16)
        assert reader.decode(said, skip_special_tokens=True) == tokenizer.decode(said)


@torch.no_grad()
def greedy(model, ids, count):
    drawn = []
    while len(drawn) < count and drawn[-1:] != [0]:
        drawn.append(int(model(torch.tensor([[*ids, *drawn]]))[0, -1].argmax()))
    return drawn


def gpt2(folder: Path, **changes):
    config = transformers.GPT2Config(
        vocab_size=300,
        n_positions=48,
        n_embd=32,
        n_layer=3,
        n_head=4,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        **changes,
    )
    model = theirs_at_random(config)
    model.save_pretrained(folder)
    return model


def test_gpt2_is_the_same_here_after_every_block(tmp_path):
    theirs = gpt2(tmp_path)
    ours = read_model(tmp_path)
    assert isinstance(ours, Classic)
    assert_same(blocks_of(ours, ROWS), blocks_of_theirs(theirs, ROWS))
    cache = Cache(ours.shape, 2)
    with torch.no_grad():
        read = torch.cat([ours(part, cache) for part in ROWS.split(7, dim=1)], 1)
        assert (read - ours(ROWS)).abs().max() < TIGHT


def test_gpt2_is_sampled_and_trained_by_what_serves_our_models(tmp_path, tokenizer):
    from gnomon.engine.open import open_engine
    from gnomon.engine.protocol import GenerateRequest, SamplingOptions, ScoreRequest
    from gnomon.train.term import Batch, Forward, NextToken

    gpt2(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    model = open_model(str(tmp_path)).model
    engine = open_engine(model, tokenizer)
    request = GenerateRequest((0, 5, 6), SamplingOptions(max_tokens=5, temperature=0))
    drawn = [event.token for event in engine.generate([request]) if hasattr(event, "token")]
    assert drawn == greedy(model, [0, 5, 6], 5)[: len(drawn)]
    (score,) = engine.score([ScoreRequest(tuple(ROWS[0, :9].tolist()))])
    logs = model(ROWS[:1, :9]).log_softmax(-1)[0, :-1].gather(-1, ROWS[0, 1:9, None])[:, 0]
    assert torch.tensor(score.log_probabilities).allclose(logs, atol=TIGHT)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        batch = Batch.of_rows(ROWS)
        value = NextToken()(Forward(model, batch)).value / ROWS[:, 1:].numel()
        losses.append(value.item())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.5


def test_gpt1_norms_after_each_addition():
    torch.manual_seed(0)
    model = Classic(ClassicShape(61, 24, 32, 2, 4, post_norm=True)).eval()
    config = transformers.OpenAIGPTConfig(
        vocab_size=61, n_positions=24, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    theirs = theirs_at_random(config)
    names = {"embedding": "tokens_embed", "positions": "positions_embed"}
    parts = {"attention_norm": "ln_1", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj",
             "mlp_norm": "ln_2", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}  # fmt: skip
    state = theirs.transformer.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            bare, _, kind = name.rpartition(".")
            if bare.startswith("blocks."):
                _, i, part = bare.split(".", 2)
                value = state[f"h.{i}.{parts[part]}.{kind}"]
                parameter.copy_(value.T if value.ndim == 2 else value)
            else:
                parameter.copy_(state[f"{names[bare]}.weight"])
        rows = ROWS[:, :20] % 61
        assert (model(rows) - theirs(rows).logits).abs().max() < TIGHT


# What cannot be read


@pytest.fixture
def folder(random_model, tokenizer, tmp_path):
    write_folder(random_model(kv_heads=2), tokenizer, tmp_path)
    return tmp_path


def change(folder: Path, name: str = "config.json", **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'; gnomon reads llama, qwen3, gpt2"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "rope_scaling is 'llama3'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_scaling is 'yarn'"),
        ({"attention_bias": True}, "attention_bias is True; gnomon's transformer has no biases in attention"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"num_key_value_heads": 3}, "does not divide 4 query heads"),
        ({"hidden_size": None}, "config.json is of no use"),
        ({"intermediate_size": 57}, "weight model.layers.0.mlp.gate_proj.weight is .*; its configuration says"),
        ({"num_hidden_layers": 4}, r"weight model.layers.3.\S+ is missing \(and 10 more\)"),
        ({"num_hidden_layers": 2}, r"weight model.layers.2.\S+ has no place in this model \(and 10 more\)"),
        ({"num_hidden_layers": 10**9}, "its configuration says 1000000000 blocks, and there are 36 weights"),
        ({"max_position_embeddings": 10**9}, "its context is 1000000000; gnomon reads models of up to"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is true and lm_head.weight differs"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_line(folder, changes, message):
    change(folder, **changes)
    with pytest.raises(GnomonError, match=message) as error:
        read_folder(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_a_larger_tokenizer_is_refused(random_model, tokenizer, tmp_path):
    write_folder(random_model(vocab=280), tokenizer, tmp_path)
    with pytest.raises(GnomonError, match=rf"tokenizer has {tokenizer.vocab} tokens and its embedding table 280 rows"):
        read_folder(tmp_path)


def test_a_damaged_or_missing_file_is_one_line(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1000])
    with pytest.raises(GnomonError, match=r"model\.safetensors: not readable as safetensors"):
        read_folder(folder)
    weights.write_bytes(whole)
    tensors = safetensors.torch.load(whole)
    safetensors.torch.save_file({**tensors, "model.layers.0.extra": torch.zeros(2)}, weights)
    with pytest.raises(GnomonError, match=r"weight model\.layers\.0\.extra has no place in this model"):
        read_folder(folder)
    weights.unlink()
    with pytest.raises(GnomonError, match=r"no model\.safetensors; a model's folder holds"):
        read_folder(folder)
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(GnomonError, match=r"a pickle runs code when it is opened.*save_pretrained"):
        read_folder(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(GnomonError, match=r"one\.safetensors: no such file"):
        read_folder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(GnomonError, match=r"config\.json: not readable as JSON"):
        read_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(GnomonError, match=r"no config\.json; a model's folder holds"):
        read_folder(folder)


def test_gpt2_of_another_kind_is_one_line(tmp_path):
    gpt2(tmp_path)
    for changes, message in (
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"n_inner": 77}, "n_inner is 77"),
        ({"n_layer": 2}, r"weight h\.2\.\S+ has no place"),
        ({"n_positions": 47}, r"weight wpe\.weight is \[48, 32\]"),
    ):
        before = (tmp_path / "config.json").read_text()
        change(tmp_path, **changes)
        with pytest.raises(GnomonError, match=message):
            read_model(tmp_path)
        (tmp_path / "config.json").write_text(before)


def test_many_files_are_one_model(folder):
    before = read_model(folder)
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").unlink()
    halves = {"a.safetensors": {}, "b.safetensors": {}}
    places = {}
    for i, (name, tensor) in enumerate(sorted(tensors.items())):
        file = sorted(halves)[i % 2]
        halves[file][name], places[name] = tensor, file
    for file, part in halves.items():
        safetensors.torch.save_file(part, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert torch.equal(read_model(folder)(ROWS), before(ROWS))


def test_names_that_mean_a_model_from_elsewhere(folder):
    assert is_outside("smollm2") and is_outside(str(folder)) and is_outside("model.gguf") and is_outside("./folder")
    assert not is_outside("2cd335706693664c")
