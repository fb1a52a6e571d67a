"""`gnomon runs`: what is kept, in words, and what may go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gnomon.common.files import read_json
from gnomon.ladder.store import Run, RunStore
from gnomon.recipe.flops import matmul_parameters, train_flops
from gnomon.train.guard import EVENTS_FILE, EVENTS_SCHEMA
from gnomon.train.memory import off

EVENTS_SHOWN = 8
COLUMNS = "run               state        width  depth       tokens     FLOPs     disk  bits per byte"


def list_lines(home: Path) -> Iterator[str]:
    """Every run, cheapest first, and what all of them take on disk."""
    runs = RunStore(home).list()
    if not runs:
        yield f"no runs in {home / 'runs'} yet"
        return
    yield COLUMNS
    for run in sorted(runs, key=lambda r: (train_flops(r.plan) if r.plan else 0.0, r.run_id)):
        yield _row(run)
    yield f"{len(runs)} run{'s' * (len(runs) != 1)}, {_size(sum(run.disk_bytes for run in runs))} on disk"


def _row(run: Run) -> str:
    head = f"{run.run_id:16}  {run.status:11}"
    if run.plan is None:
        return f"{head}  {run.problem}"
    shape = run.plan.shape
    scale = f"{shape.width:5}  {shape.depth:5}  {run.plan.tokens:11,}  {train_flops(run.plan):8.2e}"
    return f"{head}  {scale}  {_size(run.disk_bytes):>7}  {_losses(run) or _progress(run)}"


def show_lines(home: Path, run: str) -> Iterator[str]:
    """One run: state, plan, results, files. run: its id, or the beginning of it. Raises as RunStore.find."""
    found = RunStore(home).show(run)
    yield f"run        {found.run_id}"
    yield f"state      {found.status}{f', {_progress(found)}' if found.plan else ''}"
    if found.problem:
        yield f"problem    {found.problem}"
    if found.plan is not None:
        plan, shape = found.plan, found.plan.shape
        yield f"model      width {shape.width}, depth {shape.depth}, {matmul_parameters(shape):,} matmul parameters"
        yield f"text       vocabulary {shape.vocab}, context {shape.context}, corpus {plan.corpus[:16]}"
        yield f"training   {plan.tokens:,} tokens in steps of {plan.batch_tokens:,}, {train_flops(plan):.3e} FLOPs"
        yield f"rate       {plan.optimisation.rate:.4g}, {plan.dtype}, seeds {plan.seed} and {plan.order_seed}"
        if plan.parent:
            yield f"branch of  {plan.parent}"
    if found.result is not None:
        result = found.result
        yield f"took       {result['seconds']:.1f} s, {result['tokens_per_s']:,.0f} tokens/s on {result['device']}"
        for name, e in result["evaluations"].items():
            error = e["stderr_bits_per_byte"]
            yield f"held out   {name}: {e['bits_per_byte']:.4f} ± {error:.4f} bits per byte over {e['bytes']:,} bytes"
        for line in result.get("notes", ()):
            yield f"note       {line}"
        planned = result.get("planned")
        if planned:
            yield f"memory     {off(planned['memory_bytes'], result['peak_rss_bytes'])}"
            yield f"planned    {off(planned['disk_bytes'], found.disk_bytes)} of disk"
    yield from _guard_lines(found)
    yield f"disk       {_size(found.disk_bytes)} in {found.folder}"


def _guard_lines(run: Run) -> Iterator[str]:
    """What the guards of a run saw, how often, and the first few times."""
    path = run.folder / EVENTS_FILE
    seen = read_json(path, EVENTS_SCHEMA) if path.exists() else {"counts": {}, "events": []}
    if run.result is not None and "guards" not in run.result:
        return  # from before there were guards
    yield f"guards     {', '.join(f'{kind} {count}' for kind, count in seen['counts'].items()) or 'saw nothing'}"
    for event in seen["events"][:EVENTS_SHOWN]:
        yield f"           step {event['step']:,}, {event['kind']}: {event['what']}"
    left = sum(seen["counts"].values()) - EVENTS_SHOWN
    if left > 0:
        yield f"           and {left:,} more in {path}"


def prune_lines(home: Path, yes: bool) -> Iterator[str]:
    """Remove the checkpoints that nobody needs; without yes only say which."""
    pruned = RunStore(home).prune(dry_run=not yes)
    for p in pruned:
        yield f"{p.run_id}  {_size(p.disk_bytes):>7}  {p.what}"
    freed = _size(sum(p.disk_bytes for p in pruned))
    if not pruned:
        yield "nothing to remove: every checkpoint is final, a branch's origin, or an unfinished run's"
    else:
        yield f"{freed} freed" if yes else f"{freed} would be freed; --yes removes it"


def _losses(run: Run) -> str:
    evaluations = run.result["evaluations"] if run.result is not None else {}
    return ", ".join(f"{name} {e['bits_per_byte']:.4f}" for name, e in evaluations.items())


def _progress(run: Run) -> str:
    assert run.plan is not None
    return f"step {run.step:,} of {run.plan.steps:,}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
