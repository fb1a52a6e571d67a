"""GGUF: what is written is read again, llama.cpp generates the same tokens from it, bad files are one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch

from gnomon.common.errors import GnomonError
from gnomon.corpus.tokenizer import Tokenizer
from gnomon.model.interop.gguf_read import read_gguf
from gnomon.model.interop.gguf_write import write_gguf
from gnomon.model.interop.imported import SMOLLM2, open_model, smollm2_file

gguf = pytest.importorskip("gguf", reason="pip install 'gnomon[gguf]'")

ROWS = torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(0))
TEXTS = [
    "def f(x):\n    return x + 42  \n\n\tdone  ",
    "It's he'll DON'T 12345 ½ ٣٤ 3.14",
    "héllo wörld — 你好，世界 🙂🇫🇷 \u00a0 naïve\r\n\r\n  end",
    "<|end|> and <|im_end|> are letters here   ",
    " leading\n\n\n  \n x",
]


@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": False},
        {"qk_norm": True, "kv_heads": 2, "exact_mlp": 51},
        {"qk_norm": False, "tied": True, "embedding_norm": False},
        {"qk_norm": True, "tied": True, "query_heads": 6},
    ],
    ids=["llama", "qwen3", "tied", "tied-normed"],
)
def test_what_is_written_is_read_again(changes, random_model, tokenizer, tmp_path):
    model = random_model(**changes)
    write_gguf(model, tokenizer, tmp_path / "m.gguf", "tiny", "{{ messages }}")
    again = read_gguf(tmp_path / "m.gguf")
    with torch.no_grad():
        assert (again.model(ROWS) - model(ROWS)).abs().max() < 1e-4
    assert (again.chat_template, again.bos, again.eos, again.end_ids) == ("{{ messages }}", "<|end|>", "<|end|>", (0,))
    for text in TEXTS:
        assert again.tokenizer.encode(text) == tokenizer.encode(text)
    assert again.tokenizer.byte_strings() == tokenizer.byte_strings()


@pytest.fixture
def written(random_model, tokenizer, tmp_path):
    path = tmp_path / "m.gguf"
    write_gguf(random_model(), tokenizer, path, "tiny")
    return path


def forged(path, tokens=300, **fields):
    """A GGUF of a few fields and one weight."""
    writer = gguf.GGUFWriter(path, fields.pop("architecture", "llama"))
    for name, value in fields.items():
        key = name.replace("__", ".")
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
    writer.add_tensor("token_embd.weight", torch.zeros(tokens, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


SIZES = {
    "llama__embedding_length": 32, "llama__attention__head_count": 4, "llama__context_length": 48,
    "llama__block_count": 1, "llama__feed_forward_length": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "mamba"}, "its architecture is 'mamba'; gnomon reads GGUF of llama and qwen3"),
        ({}, "llama.embedding_length is not in its metadata"),
        ({**SIZES, "llama__rope__scaling__type": "yarn"}, r"rotary positions are scaled \(yarn\)"),
        ({**SIZES, "llama__expert_count": 8}, "mixture of experts"),
        ({**SIZES, "llama__rope__dimension_count": 4}, "4 coordinates are turned"),
        ({**SIZES, "llama__attention__head_count_kv": 3}, "3 heads of keys for 4 query heads"),
        (SIZES, r"weight \S+ is missing \(and \d+ more\)"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(fields, message, tmp_path):
    path = forged(tmp_path / "m.gguf", **fields)
    with pytest.raises(GnomonError, match=message) as error:
        read_gguf(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_file_that_was_cut_off_is_one_line(written, tmp_path):
    data = written.read_bytes()
    for size in (0, 3, 40, 1000, len(data) // 2, len(data) - 40):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(data[:size])
        with pytest.raises(GnomonError, match=r"cut\.gguf: .*cut off"):
            read_gguf(cut)
    with pytest.raises(GnomonError, match="no such file"):
        read_gguf(tmp_path / "none.gguf")


def test_a_larger_tokenizer_is_refused(random_model, tokenizer, tmp_path):
    inner = json.loads(tokenizer.to_json())
    added = {"content": "<|more|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    inner["added_tokens"] += [{**added, "id": len(inner["model"]["vocab"]) + i, "content": f"<|{i}|>", "special": True}
                              for i in range(40)]  # fmt: skip
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(inner))
    larger = Tokenizer.open(path)
    write_gguf(random_model(), larger, tmp_path / "m.gguf", "tiny")
    with pytest.raises(GnomonError, match=rf"its tokenizer has {larger.vocab} tokens and its embedding table 300 rows"):
        read_gguf(tmp_path / "m.gguf")


# Beside llama.cpp and transformers

ASK = """
import json, sys, urllib.request, xllamacpp as x
params = x.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.n_parallel = sys.argv[1], int(sys.argv[2]), False, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = x.Server(params)
wish = json.load(sys.stdin)
out = {"tokens": [], "said": []}
def post(path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode())
    return json.load(urllib.request.urlopen(request))
for text in wish["texts"]:
    out["tokens"].append(post("/tokenize", {"content": text, "add_special": True, "parse_special": False})["tokens"])
for prompt in wish["prompts"]:
    body = {"prompt": prompt, "n_predict": wish["count"], "temperature": 0, "return_tokens": True}
    out["said"].append(post("/completion", body)["tokens"])
print("ANSWER" + json.dumps(out))
"""


def llama_cpp(path, texts, prompts, count, context=48):
    """Token ids of texts, and what llama.cpp says greedily after each prompt of ids; in a process of its own."""
    wish = json.dumps({"texts": texts, "prompts": prompts, "count": count})
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(path), str(context)], input=wish, capture_output=True, text=True, timeout=300
    )
    found = re.search("ANSWER(.*)", done.stdout)
    assert found, done.stderr[-2000:]
    answer = json.loads(found.group(1))
    return answer["tokens"], answer["said"]


@torch.no_grad()
def greedy(model, ids, count):
    drawn = []
    while len(drawn) < count and drawn[-1:] != [0]:
        drawn.append(int(model(torch.tensor([[*ids, *drawn]]))[0, -1].argmax()))
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("qk_norm", [True, False], ids=["qwen3", "llama"])
def test_llama_cpp_says_the_same(qk_norm, learnt_model, tokenizer, tmp_path):
    """The same token ids for the same text, and the same greedy tokens after them."""
    pytest.importorskip("xllamacpp", reason="pip install 'gnomon[all-tests]': llama.cpp itself")
    model, path = learnt_model(qk_norm), tmp_path / "m.gguf"
    write_gguf(model, tokenizer, path, "tiny")
    prompts = [[0, *tokenizer.encode(text)] for text in ("def add(", "The sun", "for x in")]
    tokens, said = llama_cpp(path, TEXTS, prompts, 16)
    assert tokens == [[0, *tokenizer.encode(text)] for text in TEXTS]
    for prompt, theirs in zip(prompts, said, strict=True):
        ours = greedy(model, prompt, 16)
        assert [t for t in theirs if t] == [t for t in ours if t]


@pytest.fixture(scope="module")
def smollm2():
    try:
        path = smollm2_file()
    except GnomonError as error:
        pytest.skip(f"the real weights: {error}")
    return path, open_model(SMOLLM2)


@pytest.mark.slow
def test_the_real_smollm2_is_what_transformers_reads(smollm2):
    """Logits within 1e-3 of transformers' own GGUF loader, the same tokens for the same text."""
    transformers = pytest.importorskip("transformers", reason="pip install 'gnomon[hf]'")
    pytest.importorskip("accelerate", reason="pip install 'gnomon[all-tests]': transformers reads GGUF with it")
    path, found = smollm2
    given = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(**given, dtype=torch.float32).eval()
    reader = transformers.AutoTokenizer.from_pretrained(**given)
    for text in ("The capital of France is", "def fibonacci(n):\n    if n < 2:\n        return n\n"):
        ids = found.tokenizer.encode(text)
        assert ids == reader(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            row = torch.tensor([ids])
            assert (found.model(row) - theirs(row).logits).abs().max() < 1e-3


@pytest.mark.slow
def test_the_real_smollm2_answers_through_its_chat_template(smollm2):
    from gnomon.engine.protocol import SamplingOptions
    from gnomon.workflow.engines import load_outside
    from gnomon.workflow.sample import complete

    loaded = load_outside(smollm2[0].parent, SMOLLM2)
    options = SamplingOptions(max_tokens=24, temperature=0, stop_ids=loaded.end_ids)
    (answer,) = complete(loaded, ["What is the capital of France?"], options)
    assert "Paris" in answer and "<|" not in answer


@pytest.mark.slow
def test_llama_cpp_splits_text_as_the_real_smollm2_here(smollm2):
    pytest.importorskip("xllamacpp", reason="pip install 'gnomon[all-tests]': llama.cpp itself")
    path, found = smollm2
    tokens, _ = llama_cpp(path, TEXTS, [], 1, context=256)
    assert tokens == [found.tokenizer.encode(text) for text in TEXTS]
