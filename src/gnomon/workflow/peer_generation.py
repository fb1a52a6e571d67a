"""What a generation peer runs in its own process and environment, where nothing of gnomon is installed.

Reads a JSON object a line, answers with one. {"do": "convert", ...} writes a GGUF file in Q8_0; {"do": "open", ...}
loads a runner; {"do": "generate", "tokens": N, "show": false} lets every prompt of it go on by N greedy tokens and says
how long that took; show: which tokens, too.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

TRIED = ("float32", "bfloat16")  # what transformers is tried in; the faster one is kept


class Transformers:
    """transformers' generate() with its dynamic cache, as its documentation runs it on a CPU."""

    def __init__(self, model: str, prompts: list[list[int]], threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        path = Path(model)
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
        loaded.generation_config.pad_token_id = 0
        self._prompts = torch.tensor(prompts)
        tried: dict[str, tuple[float, Any]] = {}
        for setting in TRIED:
            self._model = loaded if setting == TRIED[0] else copy.deepcopy(loaded).to(getattr(torch, setting))
            self.generate(2)
            began = time.perf_counter()
            self.generate(4)
            tried[setting] = (time.perf_counter() - began, self._model)
        self.setting = min(tried, key=lambda name: tried[name][0])
        self._model = tried[self.setting][1]

    def generate(self, tokens: int, show: bool = True) -> list[list[int]]:
        import torch

        with torch.inference_mode():
            rows = self._model.generate(
                self._prompts, attention_mask=torch.ones_like(self._prompts), do_sample=False, max_new_tokens=tokens,
                min_new_tokens=tokens,
            )  # fmt: skip
        return rows[:, self._prompts.shape[1] :].tolist()


class LlamaCpp:
    """llama.cpp's server loop without its HTTP: as many sequences at once as there are prompts."""

    setting = "Q8_0"

    def __init__(self, model: str, prompts: list[list[int]], threads: int) -> None:
        import xllamacpp

        given = xllamacpp.CommonParams()
        given.model.path = model
        given.n_parallel = len(prompts)
        given.n_ctx = 512 * len(prompts)
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = threads
        given.cache_prompt = False
        given.warmup = False
        given.port = 0
        self._server, self._prompts = xllamacpp.Server(given), prompts
        self.system = xllamacpp.get_system_info()

    def generate(self, tokens: int, show: bool = False) -> list[list[int]]:
        """show: it names its tokens only beside their log-probabilities, which cost it time."""
        answers: dict[int, Any] = {}

        def ask(i: int) -> None:
            answer = self._server.handle_completions({
                "prompt": self._prompts[i], "n_predict": tokens, "temperature": 0, "ignore_eos": True,
                "cache_prompt": False, **({"logprobs": 1} if show else {}),
            })  # fmt: skip
            answers[i] = answer if isinstance(answer, dict) else json.loads(answer)

        asking = [threading.Thread(target=ask, args=(i,)) for i in range(len(self._prompts))]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        if not show:
            return []
        return [[t["id"] for t in answers[i]["choices"][0]["logprobs"]["content"]] for i in range(len(asking))]


RUNNERS: dict[str, Any] = {"transformers": Transformers, "llama.cpp": LlamaCpp}


def convert(source: str, target: str) -> None:
    """The same model with every matrix in Q8_0, de-quantised and quantised again by the gguf package."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    part = target + ".part"
    writer = gguf.GGUFWriter(part, "llama")
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape(tuple(reversed([int(n) for n in tensor.shape])))
        kind = q8 if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(part, target)


def answer(request: dict[str, Any], runner: Any) -> tuple[dict[str, Any], Any]:
    """What one request comes to, and the runner that is open after it."""
    if request["do"] == "convert":
        convert(request["source"], request["target"])
        return {}, runner
    if request["do"] == "open":
        runner = RUNNERS[request["runner"]](request["model"], request["prompts"], request["threads"])
        return {"setting": runner.setting, "system": getattr(runner, "system", "")}, runner
    began, spent = time.perf_counter(), time.process_time()
    tokens = runner.generate(request["tokens"], request["show"])
    return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - spent, "tokens": tokens}, runner


def main() -> None:
    words = os.fdopen(os.dup(1), "w")  # what the libraries print goes elsewhere
    os.dup2(2, 1)
    runner: Any = None
    for line in sys.stdin:
        value, runner = answer(json.loads(line), runner)
        words.write(json.dumps(value) + "\n")
        words.flush()
    os._exit(0)  # llama.cpp's threads would be waited for


if __name__ == "__main__":
    main()
