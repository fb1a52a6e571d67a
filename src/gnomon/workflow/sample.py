"""`gnomon sample`: text that goes on from a prompt, or answers it, shown as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gnomon.engine.options import EngineOptions
from gnomon.engine.protocol import Event, Finished, GenerateRequest, SamplingOptions, Started, Token
from gnomon.workflow.engines import Loaded, load_model

Write = Callable[[str], object]


def to_screen(text: str) -> None:
    """Text to standard output at once; control characters are made visible where a terminal would obey them."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def to_notes(text: str) -> None:
    print(text, file=sys.stderr)


def sample(
    home: Path,
    run: str,
    prompt: str,
    *,
    samples: int = 1,
    max_tokens: int = 128,
    temperature: float = 0.7,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    raw: bool = False,
    engine: EngineOptions | None = None,
    write: Write = to_screen,
    note: Write = to_notes,
) -> None:
    """Stream samples of a model, each after its prompt; sample i has seed + i and is the same whatever the others are.

    run: its id or the beginning of it, or a model from elsewhere (engines.load_model). One that has a chat template is
    asked through it, and its answers come without the prompt; raw: go on from the prompt all the same. engine: how it
    is served. write: takes text as it comes; note: what the reader should know besides. Raises GnomonError as
    load_model does, and for options that make no sense.
    """
    options = [
        SamplingOptions(max_tokens, temperature, top_k, top_p, seed=seed + i) for i in range(samples)
    ]  # refused before the weights are read
    loaded = load_model(home, run, engine)
    if engine is not None and engine != EngineOptions():
        note("\n".join(loaded.engine.notes))  # what was made of the wish, and why
    options = [replace(o, stop_ids=loaded.end_ids) for o in options]
    asked = loaded.chat is not None and not raw
    tokens = prompt_tokens(loaded, prompt, raw)
    with one_thread():
        _show(loaded, [GenerateRequest(tokens, o) for o in options], "" if asked else prompt, write, note)


def _show(loaded: Loaded, requests: Sequence[GenerateRequest], prompt: str, write: Write, note: Write) -> None:
    shown = -1
    for event, text in in_order(loaded.engine.generate(requests)):
        if isinstance(event, Started) and event.dropped and event.request == 0:
            note(
                f"the prompt is {len(requests[0].tokens)} tokens long and the model sees {loaded.engine.context}; "
                f"the first {event.dropped} were left out"
            )
        if event.request != shown:
            shown = event.request
            seed = requests[shown].options.seed
            many = len(requests) > 1
            write((f"--- sample {shown + 1} of {len(requests)}, seed {seed}\n" if many else "") + prompt)
        write(text)
        if isinstance(event, Finished):
            write("\n")


def complete(loaded: Loaded, prompts: Sequence[str], options: SamplingOptions) -> list[str]:
    """What the model makes of each prompt, without the prompt: one sample each, all with the same options."""
    texts = [""] * len(prompts)
    with one_thread():
        for event in loaded.engine.generate([GenerateRequest(prompt_tokens(loaded, p), options) for p in prompts]):
            if not isinstance(event, Started):
                texts[event.request] += event.text
    return texts


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread for the block: a decode step of a small model is too short to share between threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prompt_tokens(loaded: Loaded, prompt: str, raw: bool = False) -> tuple[int, ...]:
    """The prompt as a user's message where the model has a chat template, unless raw; else as a document's beginning,

    which in training follows the end of the one before.
    """
    if loaded.chat is not None and not raw:
        return loaded.chat.tokens([{"role": "user", "content": prompt}], loaded.tokenizer)
    return (loaded.tokenizer.end_id, *loaded.tokenizer.encode(prompt))


def in_order(events: Iterable[Event]) -> Iterator[tuple[Event, str]]:
    """Events of samples that run side by side, one sample after another: the first at once, later ones held back."""
    current = 0
    held: dict[int, list[Event]] = {}
    for event in events:
        held.setdefault(event.request, []).append(event)
        while held.get(current):
            ready = held[current].pop(0)
            yield ready, ready.text if isinstance(ready, Token | Finished) else ""
            if isinstance(ready, Finished):
                current += 1


def visible(text: str) -> str:
    """text with control characters, other than line feeds and tabs, as the signs that stand for them: ESC becomes ␛."""
    return "".join(_sign(c) for c in text)


def _sign(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or 0x20 <= code < 0x7F or code >= 0xA0:
        return character
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "�"
