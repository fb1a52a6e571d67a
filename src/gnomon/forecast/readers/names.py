"""Which column is which: names that people give to parameters, tokens, compute, rate and the rest.

A name that the caller maps wins, then gnomon's own name, then a well-known one. Two well-known columns with different
values are not guessed between: an error where a law needs the quantity, a note where it does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.forecast.readers.raw import Raw

# gnomon's name -> what others call it, in lower case with underscores. A single letter counts as a capital only.
ALIASES: dict[str, tuple[str, ...]] = {
    "run_id": ("run", "run_name", "name", "id", "experiment"),
    "parameters_total": (
        "params_n", "n", "n_params", "params", "parameters", "num_params", "num_parameters", "n_parameters",
        "param_count", "parameter_count", "total_params", "total_parameters", "params_total", "model_params",
        "trainable_params",
    ),
    "parameters_no_embedding": (
        "params_no_embed", "params_no_embedding", "non_embedding_params", "non_embedding_parameters",
        "non_embed_params", "params_non_embedding", "n_params_no_embedding", "n_non_embedding", "nonembedding_params",
        "num_non_embedding_params", "parameters_non_embedding",
    ),
    "parameters_matmul": ("matmul_params", "params_matmul"),
    "parameters_active": ("active_params", "params_active", "n_active", "active_parameters", "num_active_params"),
    "tokens": (
        "tokens_d", "d", "train_tokens", "training_tokens", "tokens_trained", "n_tokens", "num_tokens", "total_tokens",
        "tokens_seen", "seen_tokens",
    ),
    "unique_tokens": ("tokens_unique", "unique_d", "n_unique_tokens"),
    "flops": (
        "flops_c", "c", "train_flops", "training_flops", "total_flops", "flops_total", "flops_counted", "compute",
        "train_compute", "compute_flops", "training_compute",
    ),
    "budget": ("flops_budget", "isoflop_budget", "compute_budget", "flop_budget", "nominal_flops"),
    "annealed": ("is_final", "decayed", "lr_decayed", "is_annealed"),
    "batch_tokens": (
        "tokens_per_step", "tokens_per_batch", "global_batch_tokens", "batch_size_tokens", "batch_size",
        "global_batch_size", "train_batch_size", "batch_seqs", "gbs",
    ),
    "rate": (
        "lr", "learning_rate", "peak_lr", "max_lr", "base_lr", "lr_max", "peak_learning_rate", "max_learning_rate",
    ),
    "last_rate": ("final_lr", "last_lr", "lr_last"),
    "schedule": ("lr_schedule", "lr_scheduler", "scheduler", "lr_scheduler_type", "schedule_type"),
    "anneal_data": ("anneal_dataset", "decay_data", "anneal_mix"),
    "steps": (
        "step", "total_steps", "max_steps", "num_steps", "train_steps", "n_steps", "global_step", "training_steps",
        "num_iterations", "max_iters",
    ),
    "seed": ("random_seed", "rng_seed", "init_seed"),
    "width": ("d_model", "hidden_size", "n_embd", "hidden_dim", "model_dim", "embed_dim"),
    "depth": ("layers", "n_layers", "num_layers", "n_layer", "num_hidden_layers"),
    "context": ("seq_len", "sequence_length", "context_length", "block_size", "max_seq_len", "seq_length", "ctx_len"),
    "vocab": ("vocab_size", "n_vocab", "padded_vocab_size"),
    "corpus": ("dataset", "train_dataset", "pretrain_dataset", "data_mix", "dataset_name"),
    "tokenizer": ("tokenizer_name", "tokenizer_path"),
    "status": ("state",),
    "seconds": ("runtime", "wall_time", "wall_time_s", "train_seconds", "duration_s"),
}  # fmt: skip
NEEDED = ("parameters_total", "parameters_no_embedding", "parameters_matmul", "tokens", "flops", "budget")
# Batches counted in rows of text rather than tokens.
IN_SEQUENCES = ("batch_size", "global_batch_size", "train_batch_size", "batch_seqs", "gbs")
_PREFIXES = ("config.", "config/", "summary.", "summary/", "hparams.", "hparams/", "cfg.", "args.")


def plain_name(name: str) -> str:
    """Lower case, underscores, without what says only where it was logged: "config.learning-rate" -> learning_rate."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if len(name) == 1:
        return name.lower() if name.isupper() else ""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name) if not name.isupper() and "_" not in name else name
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def rename(raw: Raw, columns: Mapping[str, str], where: str) -> Raw:
    """The columns under gnomon's names; what was recognised is noted.

    Raises GnomonError when a mapped column is missing, or when two columns could be the same needed quantity.
    """
    for name, source in columns.items():
        if source not in raw.columns:
            raise GnomonError(
                f"{where}: no column {source!r} to take as {name}; it has {', '.join(raw.columns) or 'none'}"
            )
    named = {source: name for name, source in columns.items()}
    # A mapped name wins over a column of the source that already bears it.
    kept = {s: v for s, v in raw.columns.items() if s in named or s not in columns}
    notes = list(raw.notes)
    taken = set(columns) | set(kept)
    recognised: list[str] = []
    for name in ALIASES:
        if name in taken:
            continue
        found = _recognise(name, {s: v for s, v in kept.items() if s not in named}, notes, where)
        if found is not None:
            named[found] = name
            recognised.append(f"{found} as {name}")
            if name == "batch_tokens" and plain_name(found) in IN_SEQUENCES:
                notes.append(f"{found} counts rows of text; only its ratios between runs are used")
    if recognised:
        notes.insert(0, "columns recognised by name: " + ", ".join(recognised) + " (--column NAME=THEIRS overrules)")
    return Raw({named.get(s, s): v for s, v in kept.items()}, notes, raw.history)


def _recognise(name: str, columns: dict[str, list[Any]], notes: list[str], where: str) -> str | None:
    """The column that holds this quantity, or None. Whole names come before the ends of dotted ones."""
    aliases = ALIASES[name]
    found = [s for s in columns if plain_name(s) in aliases or plain_name(s) == name]
    if not found:
        found = [s for s in columns if _last_word(s, name) in (*aliases, name)]
    found = [s for s in found if any(v not in (None, "") for v in columns[s])]
    if name == "run_id":
        distinct = [s for s in found if len(set(map(str, columns[s]))) == len(columns[s])]
        return next(iter(distinct or found), None)
    if not found or all(_same(columns[found[0]], columns[other]) for other in found[1:]):
        return found[0] if found else None
    said = f"{name} could be {' or '.join(repr(s) for s in found)}"
    if name in NEEDED:
        raise GnomonError(f"{where}: {said}, which differ; say which, as --column {name}={found[0]}")
    notes.append(f"{said}, which differ: none was taken (--column {name}={found[0]} takes it)")
    return None


def _last_word(source: str, name: str) -> str:
    """The last part of a dotted name ("model.n_params"); of one with slashes only for counts, which are logged."""
    parts = source.split(".")
    if len(parts) == 1 and name in NEEDED and not re.search(r"val|eval|test", source.lower()):
        parts = source.split("/")
    return plain_name(parts[-1]) if len(parts) > 1 else ""


def _same(one: list[Any], other: list[Any]) -> bool:
    """Whether two columns hold the same values, to nine digits; a missing one agrees with anything."""
    for a, b in zip(one, other, strict=True):
        if a in (None, "") or b in (None, "") or a == b:
            continue
        try:
            if not math.isclose(float(a), float(b), rel_tol=1e-9):
                return False
        except (TypeError, ValueError):
            return False
    return True
