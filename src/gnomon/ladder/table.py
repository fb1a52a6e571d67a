"""From runs to the run table: a finished run's plan and result become one row. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.files import read_json
from gnomon.common.hashing import file_hash
from gnomon.corpus.shards import SCHEMA_VERSION as CORPUS_SCHEMA
from gnomon.ladder.trunk import read_certificate
from gnomon.recipe.flops import matmul_parameters, total_parameters
from gnomon.recipe.plan import Plan
from gnomon.train.result import RESULT_FILE, RESULT_SCHEMA

if TYPE_CHECKING:
    from gnomon.forecast.table import RunTable


def read_result(folder: Path) -> dict[str, Any] | None:
    """result.json of a run's folder; None when the run is not finished. Raises GnomonError when it is unreadable."""
    path = folder / RESULT_FILE
    return read_json(path, RESULT_SCHEMA) if path.exists() else None


def run_table(home: Path, runs: Iterable[tuple[Plan, Mapping[str, Any]]], family: str = "") -> RunTable:
    """The table of the finished runs among these.

    runs: each run's plan, with what only its study knows (study, budget, …); those columns win over the run's own.
    A run without a result is left out; a diverged one is a row without losses. family: whose certificate says whether
    branches may be fitted (ladder/trunk.py); where there is none they are marked, and forecasts leave them out.
    """
    from gnomon.forecast.table import RunTable

    certificate = read_certificate(home, family)
    rows = []
    for plan, extra in runs:
        result = read_result(home / "runs" / plan.run_id)
        if result is not None:
            found = {**row(plan, result), **corpus_columns(home, plan), **extra}
            if found["trunk"] and certificate is not None and certificate.admits and certificate.covers(plan):
                found |= {"trunk": False, "schedule": f"{found['schedule']}; {certificate.note()}"}
            rows.append(found)
    return RunTable.from_rows(rows)


def row(plan: Plan, result: Mapping[str, Any]) -> dict[str, Any]:
    """One run's row; a missing number is NaN. result: what read_result gives."""
    shape = plan.shape
    optimisation = plan.optimisation
    annealed = result["status"] == "done" and optimisation.decay_fraction > 0
    values = {
        "run_id": plan.run_id,
        "study": "",
        "width": shape.width,
        "depth": shape.depth,
        "head_dim": shape.head_dim,
        "vocab": shape.vocab,
        "context": shape.context,
        "parameters_total": total_parameters(shape),
        "parameters_no_embedding": total_parameters(shape) - shape.vocab * shape.width,
        "parameters_matmul": matmul_parameters(shape),
        "tokens": result["tokens"],
        "unique_tokens": math.nan,
        "flops": result["flops"],
        "budget": math.nan,
        "annealed": annealed,
        "batch_tokens": plan.batch_tokens,
        "rate": optimisation.rate,
        "last_rate": 0.0 if annealed else optimisation.rate,
        "schedule": f"warm-up {optimisation.warmup_fraction:.3g}, {optimisation.decay_shape} decay "
        f"{optimisation.decay_fraction:.3g}",
        "anneal_data": "",
        "steps": result["steps"],
        "seed": plan.seed,
        "order_seed": plan.order_seed,
        "corpus": plan.corpus,
        "tokenizer": "",
        "code": result.get("code", ""),
        "numerics": str(plan.numerics),
        "dtype": plan.dtype,
        "trunk": bool(plan.parent),
        "registered": bool(result["registry_head"]),
        "status": result["status"],
        "seconds": result["seconds"],
        "device": result["device"],
    }
    for name, evaluation in result["evaluations"].items():
        values[f"loss_nats_{name}"] = evaluation["loss_nats"]
        values[f"bits_per_byte_{name}"] = evaluation["bits_per_byte"]
        values[f"stderr_{name}"] = evaluation["stderr_bits_per_byte"]
    return values


def corpus_columns(home: Path, plan: Plan) -> dict[str, Any]:
    """What a run's corpus folder tells: its tokenizer's hash, and how many different tokens the run can have seen.

    Nothing when the corpus is not in this home any more.
    """
    folder = home / "corpora" / plan.corpus[:16]
    if not (folder / "manifest.json").exists():
        return {}
    train_tokens = read_json(folder / "manifest.json", CORPUS_SCHEMA)["splits"]["train"]["tokens"]
    return {"tokenizer": file_hash(folder / "tokenizer.json"), "unique_tokens": min(plan.tokens, train_tokens)}
