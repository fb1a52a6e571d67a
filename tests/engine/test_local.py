"""A sample is its own: neighbours, shared prefixes and the place in the queue move neither it nor a score."""

from __future__ import annotations

import pytest

from gnomon.common.errors import GnomonError
from gnomon.engine.protocol import GenerateRequest, SamplingOptions, ScoreRequest

torch = pytest.importorskip("torch")

# Ragged on purpose: empty, short, more than half a context, exactly a context (100), longer than a context.
PROMPTS = [
    "",
    "a",
    "def f(x):",
    "the quick brown fox jumps over it " * 2,
    "x" * 100,
    "spam and eggs " * 9,
]


def naive(model, tokens, steps):
    """Greedy tokens without a cache: what one reads first."""
    tokens = list(tokens)
    for _ in range(steps):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[-steps:]


def test_a_sample_is_bit_for_bit_the_same_alone_and_in_a_batch(make_engine, vocabulary, collect):
    engine = make_engine(slots=3, context=100)  # six requests in three slots: rows are refilled while others go on
    options = [{"temperature": 0.0}, {}, {"top_k": 5}, {"top_p": 0.9}, {"top_k": 9, "top_p": 0.8}, {"temperature": 0.3}]
    requests = [
        GenerateRequest(vocabulary.encode(prompt), SamplingOptions(max_tokens=3 + 4 * i, seed=i, **given))
        for i, (prompt, given) in enumerate(zip(PROMPTS, options, strict=True))
    ]
    together = collect(engine.generate(requests))
    for i, request in enumerate(requests):
        alone = collect(engine.generate([request]))[0]  # in slots that hold what earlier calls left
        assert alone.tokens == together[i].tokens
        assert alone.logs == together[i].logs  # not approximately
        assert (alone.text, alone.reason) == (together[i].text, together[i].reason)
    backwards = collect(make_engine(slots=3, context=100).generate(requests[::-1]))
    assert [backwards[i].logs for i in range(6)] == [together[5 - i].logs for i in range(6)]


def test_what_is_reused_of_a_prompt_moves_no_bit_and_is_reported(make_engine, vocabulary, collect):
    block = vocabulary.encode("shots that every question begins with, told once and never read again. " * 2)
    options = SamplingOptions(max_tokens=9, seed=3)
    prompts = [(*block, *vocabulary.encode(f"question {i}")) for i in range(3)]
    fresh = [collect(make_engine(context=200).generate([GenerateRequest(p, options)]))[0] for p in prompts]
    assert [sample.cached for sample in fresh] == [0, 0, 0]
    engine = make_engine(context=200)
    together = collect(engine.generate([GenerateRequest(p, options) for p in prompts]))
    grain = engine.reader.grain
    assert [together[i].cached for i in range(3)] == [0, *[(len(block) + 9) // grain * grain] * 2]
    assert [together[i].logs for i in range(3)] == [sample.logs for sample in fresh]
    later = collect(engine.generate([GenerateRequest((*prompts[1], 5), options)]))[0]
    assert later.cached == len(prompts[1]) // grain * grain
    stranger = collect(engine.generate([GenerateRequest(prompts[1], options, owner="another")]))[0]
    assert stranger.cached == 0 and stranger.logs == fresh[1].logs


def test_calls_that_overlap_do_not_disturb_each_other(make_engine, vocabulary, collect):
    engine = make_engine(slots=2)
    request = GenerateRequest(vocabulary.encode("some prompt"), SamplingOptions(max_tokens=12, seed=1))
    alone = collect(engine.generate([request]))[0]
    events = []
    for event in engine.generate([request]):
        events.append(event)
        if len(events) == 5:
            inner = collect(engine.generate([request]))[0]
            engine.score([ScoreRequest(vocabulary.encode("xyz" * 9))])
    assert collect(events)[0].logs == inner.logs == alone.logs


def test_greedy_follows_the_model_without_a_cache(make_engine, vocabulary, collect):
    engine = make_engine(slots=3)
    prompts = [vocabulary.encode(p) for p in ("a", "def f(x):", "the quick brown")]
    options = SamplingOptions(max_tokens=20, temperature=0.0)
    samples = collect(engine.generate([GenerateRequest(p, options) for p in prompts]))
    for i, prompt in enumerate(prompts):
        expected = naive(engine.model, prompt, 20)
        expected = expected[: expected.index(0) + 1] if 0 in expected else expected
        assert samples[i].tokens == expected


def test_a_sample_goes_on_past_the_context_from_its_last_half(make_engine, vocabulary, collect):
    engine = make_engine(slots=2, context=16)
    prompt = vocabulary.encode("0123456789")
    options = SamplingOptions(max_tokens=40, temperature=0.0)
    sample = collect(engine.generate([GenerateRequest(prompt, options)]))[0]
    row, expected = list(prompt), []
    for _ in range(40):
        if len(row) > 16:
            row = row[-8:]
        with torch.no_grad():
            row.append(int(engine.model(torch.tensor([row]))[0, -1].argmax()))
        expected.append(row[-1])
        if row[-1] == 0:
            break
    assert sample.tokens == expected
    assert len(sample.tokens) > 16


def test_a_prompt_longer_than_the_context_keeps_its_end_and_says_so(make_engine, vocabulary, collect):
    engine = make_engine(context=16)
    options = SamplingOptions(max_tokens=5, temperature=0.0)
    long, end = "lost words at the front; 0123456789abcdef", "0123456789abcdef"
    both = collect(engine.generate([GenerateRequest(vocabulary.encode(t), options) for t in (long, end)]))
    assert both[0].tokens == both[1].tokens
    assert (both[0].dropped, both[1].dropped) == (len(long) - 16, 0)


def test_a_sample_ends_at_a_stop_id_or_at_its_length(make_engine, vocabulary, collect):
    engine = make_engine(slots=4)
    prompt = vocabulary.encode("some prompt")
    free = collect(engine.generate([GenerateRequest(prompt, SamplingOptions(max_tokens=30, seed=3))]))[0]
    stop = SamplingOptions(max_tokens=30, seed=3, stop_ids=(free.tokens[4],))
    sample = collect(engine.generate([GenerateRequest(prompt, stop)]))[0]
    first = free.tokens.index(free.tokens[4])
    assert sample.reason == "end" and sample.tokens == free.tokens[: first + 1]
    assert free.reason == "length"


def test_a_stop_text_is_neither_shown_nor_passed(vocabulary, collect):
    engine = reciting("one two STOP three", vocabulary)
    options = SamplingOptions(max_tokens=40, temperature=0.0, stop=("STOP",))
    plain = SamplingOptions(max_tokens=40, temperature=0.0)
    start = vocabulary.encode("o")
    samples = collect(engine.generate([GenerateRequest(start, options), GenerateRequest(start, plain)]))
    assert (samples[0].text, samples[0].reason) == ("ne two ", "stop")
    assert (samples[1].text, samples[1].reason) == ("ne two STOP three", "end")


def reciting(text, vocabulary):
    from gnomon.engine.local import LocalEngine
    from gnomon.engine.torch_reader import TorchReader

    return LocalEngine(TorchReader(Chain(text, vocabulary), 64), vocabulary, slots=2)


class Chain:
    """Stands in for a model: it recites one text, whatever it is asked, by the position it is at."""

    def __init__(self, text: str, vocabulary) -> None:
        from gnomon.recipe.plan import ModelShape

        self.shape = ModelShape(vocab=257, context=64, width=64, depth=1)
        self.tokens = [*vocabulary.encode(text), 0]
        self.head = torch.nn.Identity()
        self.head.weight = torch.zeros(1)

    def eval(self):
        return self

    def hidden(self, tokens_BT, cache):
        positions = cache.positions(tokens_BT.shape[1])
        cache.advance(tokens_BT.shape[1])
        following = torch.tensor(self.tokens + [0] * 64)[positions + 1]
        return torch.nn.functional.one_hot(following, 257).float() * 50

    def __call__(self, tokens_BT, cache):
        return self.hidden(tokens_BT, cache)


def test_a_character_split_over_tokens_arrives_whole(vocabulary, collect):
    engine = reciting("xé…𝄞 ok", vocabulary)
    request = GenerateRequest(vocabulary.encode("x"), SamplingOptions(max_tokens=40, temperature=0.0))
    pieces = [getattr(event, "text", "") for event in engine.generate([request])]
    assert "".join(pieces) == "é…𝄞 ok"
    assert {"é", "…", "𝄞"} <= set(pieces)


def test_scores_are_the_log_probabilities_of_a_plain_forward(make_engine, vocabulary):
    engine = make_engine()
    tokens = vocabulary.encode("import numpy as np")
    score = engine.score([ScoreRequest(tokens, start=5)])[0]
    with torch.no_grad():
        logs = engine.model(torch.tensor([tokens]))[0].double().log_softmax(-1)
    expected = [float(logs[t - 1, tokens[t]]) for t in range(5, len(tokens))]
    assert score.log_probabilities == pytest.approx(expected, abs=1e-5)
    assert score.greedy == tuple(int(logs[t - 1].argmax()) == tokens[t] for t in range(5, len(tokens)))
    assert score.total == pytest.approx(sum(expected), abs=1e-4)


def test_a_score_does_not_move_with_batch_padding_or_order(make_engine, vocabulary):
    """Bit for bit, on either reader: rows are never padded, and prompts are cut where they always are."""
    engine = make_engine(context=48)
    requests = [ScoreRequest(vocabulary.encode(p + " end"), 1) for p in PROMPTS] * 2
    together = engine.score(requests)
    for request, score in zip(requests[:6], together, strict=False):
        assert make_engine(context=48).score([request])[0] == score
    assert engine.score(requests[::-1])[::-1] == together


@pytest.mark.parametrize(("length", "start"), [(16, 1), (17, 1), (18, 1), (100, 1), (100, 60), (100, 99), (40, 40)])
def test_a_sequence_longer_than_the_context_is_scored_whole_with_half_a_context_behind_it(
    make_engine, vocabulary, length, start
):
    from gnomon.engine.local import _windows

    engine = make_engine(context=16)
    tokens = tuple(1 + (i * 7) % 256 for i in range(length))
    request = ScoreRequest(tokens, start)
    score = engine.score([request])[0]
    assert len(score.log_probabilities) == length - start
    assert all(log < 0 for log in score.log_probabilities)
    scored = [t for w in _windows(0, request, 16) for t in range(w.first, w.end)]
    assert scored == list(range(start, length))
    assert all(w.end - 1 - w.begin <= 16 and w.first - w.begin >= min(w.first, 8) for w in _windows(0, request, 16))


def test_what_questions_begin_with_is_read_once(make_engine, vocabulary):
    block = vocabulary.encode("a few shots, the same before every question, long enough to be worth it, and then ")
    requests = [
        ScoreRequest((*block, *vocabulary.encode(f"{q} is {a}")), len(block) + 5) for q in "xyz" for a in ("so", "not")
    ]
    engine = make_engine(context=128)
    read = 0
    score = engine.reader.score

    def counting(room, pieces):
        nonlocal read
        read += sum(len(piece.tokens) for piece in pieces)
        return score(room, pieces)

    engine.reader.score = counting
    found = engine.score(requests)
    whole = sum(len(request.tokens) - 1 for request in requests)
    assert read <= whole - 5 * (len(block) // engine.reader.grain * engine.reader.grain)
    assert found == [make_engine(context=128).score([request])[0] for request in requests]


def test_score_agrees_with_what_generate_reports(make_engine, vocabulary, collect):
    engine = make_engine(context=48)
    prompt = vocabulary.encode("a prompt")
    sample = collect(engine.generate([GenerateRequest(prompt, SamplingOptions(max_tokens=20, seed=5))]))[0]
    score = engine.score([ScoreRequest((*prompt, *sample.tokens), start=len(prompt))])[0]
    assert sample.logs == pytest.approx(score.log_probabilities, abs=1e-4)


@pytest.mark.parametrize("tokens", [(1, 257), (-1, 3)])
def test_a_token_outside_the_vocabulary_is_named(make_engine, tokens):
    engine = make_engine()
    with pytest.raises(GnomonError, match="not in a vocabulary of 257"):
        engine.score([ScoreRequest(tokens)])
    with pytest.raises(GnomonError, match="not in a vocabulary of 257"):
        list(engine.generate([GenerateRequest(tokens)]))


def test_requests_are_taken_as_slots_become_free(make_engine, vocabulary):
    taken = []

    def requests():
        for i in range(5):
            taken.append(i)
            yield GenerateRequest(vocabulary.encode("abc"), SamplingOptions(max_tokens=3, seed=i))

    events = make_engine(slots=2).generate(requests())
    next(events)
    assert taken == [0]
    list(events)
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kernels", ["torch"])
def test_a_score_does_not_move_with_torchs_threads(make_engine, vocabulary):
    requests, before = [ScoreRequest(vocabulary.encode(p + " end")) for p in PROMPTS], torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append([x for s in make_engine(context=100).score(requests) for x in s.log_probabilities])
    torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], abs=1e-4)
