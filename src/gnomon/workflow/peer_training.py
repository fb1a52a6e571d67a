"""Runs inside a peer's environment (workflow/peers.py) and imports nothing of gnomon: the peer's own training loop.

One JSON object a line on standard input begins a model: {"peer", "shape", "rows", "precision", "compile", "threads"};
each line `step` after it lets the loop take one optimiser step, and is answered by {"step": n} when it is over, so that
steps of several programs can take turns. Whatever the peer prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DISTINCT_BATCHES = 16
PRECISIONS = {
    "transformers": ("fp32", "bf16-autocast", "bf16-weights"),
    "litgpt": ("32-true", "bf16-mixed", "bf16-true"),
}
ENDLESS = 10**9


class Over(Exception):
    """The other side wants another model, or nothing more. request: the line it sent, "" at the end."""

    def __init__(self, request: str) -> None:
        self.request = request


class Turns:
    """The other side of the pipe."""

    def __init__(self) -> None:
        # Lines of the protocol keep the real standard output; a library's prints must not come between them.
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.taken = -1

    def say(self, value: dict[str, Any]) -> None:
        self.out.write(json.dumps(value) + "\n")
        self.out.flush()

    def wait(self) -> None:
        """Called between steps: report the one that is over and wait until the next is wanted."""
        self.taken += 1
        self.say({"step": self.taken})
        line = sys.stdin.readline().strip()
        if line != "step":
            raise Over(line)


def random_rows(shape: dict[str, Any], rows: int) -> Any:
    """[DISTINCT_BATCHES * rows, context + 1] random tokens: how fast a step is does not depend on what it reads."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, shape["vocab"], (DISTINCT_BATCHES * rows, shape["context"] + 1), generator=generator)


def train_transformers(request: dict[str, Any], turns: Turns) -> None:
    """transformers' Trainer on a LlamaForCausalLM: SDPA, fused AdamW, clipping at 1, no logging."""
    import torch

    transformers: Any = importlib.import_module("transformers")  # not here: in the peer's environment
    shape, rows, precision = request["shape"], request["rows"], request["precision"]
    config = transformers.LlamaConfig(
        vocab_size=shape["vocab"], hidden_size=shape["width"], intermediate_size=shape["mlp"],
        num_hidden_layers=shape["depth"], num_attention_heads=shape["heads"], num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"], max_position_embeddings=shape["context"], tie_word_embeddings=False,
        use_cache=False, attn_implementation="sdpa",
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    if precision == "bf16-weights":
        model.to(torch.bfloat16)
    tokens = random_rows(shape, rows)[:, :-1]  # the model shifts its labels itself

    class Rows:
        def __len__(self) -> int:
            return len(tokens)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"input_ids": tokens[index], "labels": tokens[index]}

    class InTurn(transformers.TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.wait()

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder, use_cpu=True, per_device_train_batch_size=rows, max_steps=ENDLESS, learning_rate=1e-4,
            optim="adamw_torch_fused", max_grad_norm=1.0, lr_scheduler_type="constant",
            bf16=precision == "bf16-autocast", torch_compile=request["compile"],
            logging_strategy="no", save_strategy="no", report_to=[],
            disable_tqdm=True, dataloader_num_workers=0,
        )  # fmt: skip
        transformers.Trainer(model=model, args=settings, train_dataset=Rows(), callbacks=[InTurn()]).train()


def train_litgpt(request: dict[str, Any], turns: Turns) -> None:
    """litgpt's own pretraining loop (litgpt.pretrain.fit) on a Llama-shaped GPT; AdamW, fused here on a CPU too."""
    import torch

    lightning: Any = importlib.import_module("lightning")
    litgpt: Any = importlib.import_module("litgpt")
    arguments: Any = importlib.import_module("litgpt.args")
    pretrain: Any = importlib.import_module("litgpt.pretrain")
    shape, rows = request["shape"], request["rows"]
    config = litgpt.Config(
        name="peer", block_size=shape["context"], n_layer=shape["depth"], n_embd=shape["width"], n_head=shape["heads"],
        n_query_groups=shape["kv_heads"], head_size=shape["head_dim"], vocab_size=shape["vocab"],
        padded_vocab_size=shape["vocab"], intermediate_size=shape["mlp"], mlp_class_name="LLaMAMLP",
        norm_class_name="RMSNorm", rotary_percentage=1.0, parallel_residual=False, bias=False,
    )  # fmt: skip
    batches = random_rows(shape, rows).split(rows)

    class InTurn:
        """A data loader that hands out a batch when a step is wanted."""

        def __len__(self) -> int:
            return ENDLESS

        def __iter__(self) -> Iterator[Any]:
            while True:
                for batch in batches:
                    turns.wait()
                    yield batch

    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=request["precision"])
    fabric.launch()
    with fabric.init_module(empty_init=True):
        model = litgpt.GPT(config)
    pretrain.initialize_weights(fabric, model, n_layer=config.n_layer, n_embd=config.n_embd)
    ready = fabric.setup(torch.compile(model) if request["compile"] else model)
    optimiser = fabric.setup_optimizers(
        torch.optim.AdamW(ready.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    )
    state = {"model": ready, "optimizer": optimiser, "train_dataloader": None, "iter_num": 0, "step_count": 0}
    settings = arguments.TrainArgs(
        global_batch_size=rows, micro_batch_size=rows, max_tokens=ENDLESS * rows * shape["context"], max_norm=1.0,
        log_interval=ENDLESS, save_interval=None, lr_warmup_steps=1,
    )  # fmt: skip
    pretrain.fit(
        fabric=fabric, devices=1, state=state, train_dataloader=InTurn(), val_dataloader=[batches[0]],
        out_dir=Path("."), tokenizer_dir=None, train=settings,
        eval=arguments.EvalArgs(interval=ENDLESS, max_iters=1, final_validation=False),
    )  # fmt: skip


def main() -> None:
    """One model after another, until the input ends."""
    turns = Turns()
    line = sys.stdin.readline().strip()
    while line:
        request = json.loads(line)
        import torch

        torch.set_num_threads(request["threads"])
        torch.manual_seed(0)
        turns.taken = -1
        line = ""
        begin = {"transformers": train_transformers, "litgpt": train_litgpt}[request["peer"]]
        with contextlib.suppress(BrokenPipeError):
            try:
                begin(request, turns)
            except Over as over:
                line = over.request


if __name__ == "__main__":
    main()
