"""The coordinate check: how far each module's output moves in ten large steps, over width and over depth.

What lets small runs speak for big ones is that this distance does not depend on width, and that what a block adds falls
as 1/depth while the stream does not (arXiv:2203.03466 appendix D, arXiv:2505.01618). Standard parametrisation, the same
rate for every weight and full branches, is the control: it must fail, or the check sees nothing.

The text is a random walk over eight tokens, and that is a condition. An update made of n distinct inputs moves its
output by about sqrt(1/n + 1/width): in step along the inputs it saw, a random walk across all others. While width is
below n the second part rules, and falls with width under any parametrisation: over these widths the formula says a
slope of -0.21 for 64 tokens, -0.14 for 32, -0.05 for 8, and the first block's q shows -0.21, -0.13 and -0.04. Real text
has more distinct inputs than tiny models have width: there `gnomon bench transfer` measures the best rate itself.

B rows, T time, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.recipe.plan import ModelShape, Optimisation, Plan

if TYPE_CHECKING:
    from torch import Tensor

    from gnomon.model.transformer import Transformer
    from gnomon.train.learner import LearnerOf

WIDTHS = (32, 64, 128, 256)
DEPTHS = (2, 4, 8, 16)
SEEDS = tuple(range(8))
STEPS = 10
RATE_FACTOR = 4.0  # steps this many times larger than a run would take
SCHEMA_VERSION = 1
SHAPE = ModelShape(vocab=8, context=8, width=64, depth=2, head_dim=8)
# No decay: it shrinks every weight alike at every size, and would hide what the updates do.
OPTIMISATION = Optimisation(
    rate=0.003, base_width=64, base_depth=2, embed_ratio=1.0, timescale=math.inf, beta1=0.9, beta2=0.95, z_loss=0.0
)
MUON = replace(OPTIMISATION, optimiser="muon", muon_rate=0.02)
ROWS = 16  # of a batch

# shape, optimisation, seed, rows, control -> the model before each step and after the last
Steps = Callable[[ModelShape, Optimisation, int, "Tensor", bool], Iterable[tuple["Transformer", float]]]


@dataclass(frozen=True)
class Coordinate:
    """One module of one model. change: root mean square over its outputs' coordinates of how far they moved."""

    parametrisation: str  # completep | muon | standard
    width: int
    depth: int
    seed: int
    module: str
    change: float


def random_walk(vocab: int, context: int, rows: int, steps: int, seed: int) -> Tensor:
    """Token rows [steps, rows, context + 1]: from each token one of four others follows, chosen once by the seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    followers = torch.randint(vocab, (vocab, 4), generator=generator)
    tokens = [torch.randint(vocab, (steps, rows), generator=generator)]
    for _ in range(context):
        tokens.append(followers[tokens[-1], torch.randint(4, (steps, rows), generator=generator)])
    return torch.stack(tokens, -1)


def standard(model: Transformer, rate: float, seed: int) -> list[dict[str, Any]]:
    """The control: N(0, 1/fan_in) for outputs and head too, and one rate for all. Initialises the model in place."""
    import torch

    from gnomon.model.parametrization import Role, roles

    generator = torch.Generator().manual_seed(seed)
    table = roles(model)
    for name, parameter in model.named_parameters():
        if table[name] in (Role.OUTPUT, Role.HEAD):
            first = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
            parameter.data.copy_(first)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return [{"params": parameters, "names": list(names), "rate": rate, "decay": 0.0, "eps": 1e-8}]


def outputs(model: Transformer, tokens_BT: Tensor) -> dict[str, Tensor]:
    """What every linear map puts out, what each block adds to the stream, the stream after it, the logits."""
    import torch
    from torch import nn

    from gnomon.model.transformer import Block

    seen: dict[str, Tensor] = {}

    def linear(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.__setitem__(name, output)

    def block(name: str) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            seen[f"{name}.added"], seen[f"{name}.stream"] = output - inputs[0], output

        return record

    hooks = [m.register_forward_hook(linear(n)) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    hooks += [m.register_forward_hook(block(n)) for n, m in model.named_modules() if isinstance(m, Block)]
    try:
        with torch.no_grad():
            seen["embedding"] = model.embed(tokens_BT)
            model(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def train_steps(
    shape: ModelShape, optimisation: Optimisation, seed: int, rows_SBT: Tensor, control: bool = False
) -> Iterable[tuple[Transformer, float]]:
    """The model before each step and after the last, with the loss of the step before (NaN at first).

    rows_SBT: token rows [steps, B, T + 1]. Constant rate, the trainer's own optimiser; control: standard
    parametrisation.
    """
    import torch

    from gnomon.model.parametrization import initialise, parameter_groups
    from gnomon.model.transformer import Transformer
    from gnomon.train.muon import optimiser_of
    from gnomon.train.optim import FlatWeights

    model = Transformer(replace(shape, branch_multiplier=1.0) if control else shape)
    initialise(model, optimisation, seed)
    if control:
        groups = standard(model, optimisation.rate, seed)
    else:
        groups = parameter_groups(model, shape, optimisation, len(rows_SBT))
    weights = FlatWeights(model, groups, torch.float32)
    optimiser = optimiser_of(weights, optimisation)
    yield model, float("nan")
    for rows_BT in rows_SBT:
        weights.zero_gradient()
        logits_BTV = model(rows_BT[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), rows_BT[:, 1:].flatten())
        loss.backward()
        optimiser.step(1.0)
        yield model, float(loss.detach())


def steps_of(learner: LearnerOf) -> Steps:
    """train_steps with the trainer's own way of learning in place of a loop of its own: compiled, or sharded."""

    def steps(
        shape: ModelShape, optimisation: Optimisation, seed: int, rows_SBT: Tensor, control: bool = False
    ) -> Iterable[tuple[Transformer, float]]:
        from gnomon.model.transformer import Transformer
        from gnomon.train.execution import Execution
        from gnomon.train.term import NextToken

        if control:
            raise ValueError("the control has a rate of its own, which no learner knows")
        plan = Plan(shape, replace(optimisation, clip=0.0), len(rows_SBT), rows_SBT.shape[1], seed, 0, "")
        taught = learner(plan, Execution(1, plan.batch_rows, plan.dtype, 1), [NextToken()])
        model, loss = Transformer(shape), float("nan")
        for rows_BT in (None, *rows_SBT.numpy()):
            if rows_BT is not None:
                loss = float(taught.gradient(rows_BT)[0])
                taught.update(1.0, taught.norm())
            whole = {name: getattr(w, "full_tensor", lambda w=w: w)() for name, w in taught.weights().items()}
            model.load_state_dict(whole)
            yield model, loss

    return steps


def coordinates(
    shape: ModelShape, seed: int, control: bool = False, base: Optimisation = OPTIMISATION, steps: Steps = train_steps
) -> list[Coordinate]:
    """How far every module of one model moves in STEPS steps, seen on rows it was not trained on."""
    optimisation = replace(base, rate=base.rate * RATE_FACTOR, muon_rate=base.muon_rate * RATE_FACTOR)
    rows_SBT = random_walk(shape.vocab, shape.context, ROWS, STEPS + 1, seed)
    probe_BT, models = rows_SBT[-1, :, :-1], steps(shape, optimisation, seed, rows_SBT[:-1], control)
    before: dict[str, Tensor] = {}
    for model, _ in models:
        before = before or outputs(model, probe_BT)
    after = outputs(model, probe_BT)
    name = "standard" if control else {"adamw": "completep", "muon": "muon"}[base.optimiser]
    changes = {module: float((after[module] - before[module]).square().mean().sqrt()) for module in before}
    return [Coordinate(name, shape.width, shape.depth, seed, module, change) for module, change in changes.items()]


def over_width(
    widths: Sequence[int] = WIDTHS,
    seeds: Sequence[int] = SEEDS,
    control: bool = False,
    base: Optimisation = OPTIMISATION,
    steps: Steps = train_steps,
) -> list[Coordinate]:
    """The check over width, at the base depth."""
    shapes = [replace(SHAPE, width=width) for width in widths]
    return [row for shape in shapes for seed in seeds for row in coordinates(shape, seed, control, base, steps)]


def over_depth(
    depths: Sequence[int] = DEPTHS,
    seeds: Sequence[int] = SEEDS[:3],
    base: Optimisation = OPTIMISATION,
    steps: Steps = train_steps,
) -> list[Coordinate]:
    """The check over depth, at the base width, each branch multiplied by base depth / depth."""
    shapes = [replace(SHAPE, depth=d, branch_multiplier=OPTIMISATION.base_depth / d) for d in depths]
    return [row for shape in shapes for seed in seeds for row in coordinates(shape, seed, base=base, steps=steps)]


def width_slopes(rows: Sequence[Coordinate]) -> dict[str, float]:
    """By module, the slope of the mean over seeds of log(change) against log(width)."""
    return {module: _slope([r for r in rows if r.module == module], "width") for module in {r.module: 0 for r in rows}}


def depth_slopes(rows: Sequence[Coordinate]) -> dict[str, float]:
    """Slopes against log(depth) of what a block adds (mean over blocks), of the last stream and of the logits."""
    import numpy as np

    runs: dict[tuple[int, int], list[Coordinate]] = {}
    for row in rows:
        runs.setdefault((row.depth, row.seed), []).append(row)
    chosen: dict[str, list[Coordinate]] = {"added": [], "stream": [], "head": []}
    for (depth, _), run in runs.items():
        added = [row.change for row in run if row.module.endswith(".added")]
        chosen["added"].append(replace(run[0], module="added", change=float(np.mean(added))))
        chosen["stream"] += [row for row in run if row.module == f"blocks.{depth - 1}.stream"]
        chosen["head"] += [row for row in run if row.module == "head"]
    return {module: _slope(part, "depth") for module, part in chosen.items()}


def _slope(rows: Sequence[Coordinate], axis: str) -> float:
    """Least squares over all runs; with equally many seeds a size it is that of the means."""
    import numpy as np

    sizes = np.log([getattr(row, axis) for row in rows])
    changes = np.log([max(row.change, 1e-30) for row in rows])
    return float(np.polyfit(sizes, changes, 1)[0])


def coordinate_lines(out: Path | None) -> Iterable[str]:
    """Run the whole check and say what came out; into the folder `out`, the rows as coordinates.json."""
    from gnomon.common.files import write_json

    width = [over_width(), over_width(seeds=SEEDS[:3], base=MUON), over_width(seeds=SEEDS[:3], control=True)]
    depth = [over_depth(), over_depth(base=MUON)]
    yield f"slope of log(change in {STEPS} steps) against log(width), widths {WIDTHS}: CompleteP, with Muon, standard"
    yield from _table([width_slopes(rows) for rows in width])
    yield f"slope against log(depth), depths {DEPTHS}: CompleteP, with Muon"
    yield from _table([depth_slopes(rows) for rows in depth])
    if out is not None:
        rows = [asdict(row) for part in (*width, *depth) for row in part]
        write_json(out / "coordinates.json", {"rows": rows}, SCHEMA_VERSION)
        yield f"every row: {out / 'coordinates.json'}"


def _table(columns: Sequence[dict[str, float]]) -> Iterable[str]:
    for module in columns[0]:
        yield f"  {module:26s}" + "".join(f" {slopes[module]:+8.3f}" for slopes in columns)
