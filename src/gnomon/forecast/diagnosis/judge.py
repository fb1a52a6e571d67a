"""What a target's number is worth: a flag for noise, the reason, and the cheapest run that would mend it.

Every target gets a number. A flag says that the number should not be acted on; it comes from what the doctor found,
from how wide the interval is, and from how often tables like this one mislead (trouble.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnomon.forecast.runs import Runs
from gnomon.forecast.values import Finding, Target

# Findings after which no number deserves trust, with what mends them.
NOISE = {
    "too_few": "more",
    "mixed_corpus": "select",
    "mixed_tokenizer": "select",
    "mixed_units": "convert",
    "perplexity": "convert",
    "no_signal": "longer",
    "rising_loss": "retune",
    "target_far": "rung",
    "target_inside": "",
    "shift_tokenizer": "match",
    "shift_vocab": "match",
    "shift_corpus": "match",
}
WIDEST = 20.0  # percent: half of the 90 % interval
MOST_TROUBLE = 0.5
STEP = 3.0  # the next rung's compute over the largest run's


@dataclass(frozen=True)
class Judgement:
    """flag: the number is noise, for this reason; mend: the cheapest run (or the change) that would help."""

    flag: bool
    reason: str
    mend: str


def judge(
    runs: Runs, findings: Sequence[Finding], target: Target, half_width_pct: float, trouble: float | None = None
) -> Judgement:
    """findings: the doctor's, with those about the target. half_width_pct: of the 90 % interval. trouble: see
    trouble.py."""
    for finding in findings:
        if finding.code in NOISE:
            return Judgement(True, finding.message, _mend(NOISE[finding.code], runs, target))
    if not half_width_pct <= WIDEST:
        reason = f"the 90 % interval is ± {half_width_pct:.3g} %: the laws that fit this table do not agree out there"
        return Judgement(True, reason, _mend("rung", runs, target))
    if trouble is not None and trouble > MOST_TROUBLE:
        reason = f"tables that look like this one missed such a target by more than 5 % in {trouble:.0%} of cases"
        return Judgement(True, reason, _mend("rung", runs, target))
    return Judgement(False, "", "")


def plain_rung(runs: Runs, target: Target) -> tuple[float, float, float]:
    """(compute, size, tokens) of a plain next rung: STEP times the largest run, at most a third of the target, on
    the way from the best large run to the target."""
    top = runs.compute >= runs.compute.max() / 3
    best = np.flatnonzero(top)[runs.loss[top].argmin()]
    largest = float(runs.compute.max())
    compute = max(min(STEP * largest, target.compute / 3), largest)
    way = math.log(max(target.compute / float(runs.compute[best]), 1.0001))
    part = math.log(max(compute / float(runs.compute[best]), 1.0)) / way
    size = float(runs.size[best]) * (target.parameters / float(runs.size[best])) ** min(part, 1.0)
    cost = float(runs.compute[best] / runs.size[best] / runs.tokens[best])
    return compute, size, compute / cost / size


def _mend(kind: str, runs: Runs, target: Target) -> str:
    if not len(runs):
        return "a first finished run of the recipe"
    smallest = int(runs.compute.argmin())
    if kind in ("rung", "longer"):
        compute, size, tokens = plain_rung(runs, target)
        return f"one run of {compute:.2g} FLOPs ({size:.2g} parameters, {tokens:.2g} tokens), {_share(compute, target)}"
    if kind == "more":
        return _more(runs, target)
    if kind == "retune":
        largest = int(runs.compute.argmax())
        cost = 2 * float(runs.compute[largest])
        return f"{runs.ids[largest]} again at half and at a third of its rate, {cost:.2g} FLOPs, {_share(cost, target)}"
    if kind == "match":
        cost = float(runs.compute[smallest])
        return f"{runs.ids[smallest]} again as the target will be, {cost:.2g} FLOPs, {_share(cost, target)}"
    if kind == "select":
        return "a table of one corpus and one tokenizer: no run is needed"
    if kind == "convert":
        return "the rows in one unit (--unit, or --column): no run is needed"
    return ""


def _more(runs: Runs, target: Target) -> str:
    """Runs that are missing for a surface: 8 of 3 sizes and 3 lengths, below the best run, at no more than its cost."""
    lacking = max(1, 8 - len(runs), 3 - len(np.unique(runs.size)), 3 - len(np.unique(runs.tokens)))
    best = int(runs.loss.argmin())
    size, tokens = float(runs.size[best]), float(runs.tokens[best])
    cost = float(runs.compute[best]) / size / tokens
    grid = [(size * a, tokens * b) for a in (1, 1 / 3, 1 / 9) for b in (1, 1 / 3, 1 / 9)][1:]
    grid.sort(key=lambda run: run[0] * run[1])
    have = list(zip(runs.size, runs.tokens, strict=True))
    new = [g for g in grid if not any(abs(math.log(g[0] / n)) + abs(math.log(g[1] / d)) < 0.5 for n, d in have)]
    chosen = new[:lacking]
    total = sum(n * d for n, d in chosen) * cost
    shown = ", ".join(f"{n:.2g}" for n in sorted({n for n, _ in chosen}))
    lengths = ", ".join(f"{d:.2g}" for d in sorted({d for _, d in chosen}))
    return (
        f"{len(chosen)} more runs (sizes {shown} parameters, lengths {lengths} tokens), {total:.2g} FLOPs together, "
        f"{_share(total, target)}"
    )


def _share(compute: float, target: Target) -> str:
    return f"{100 * compute / target.compute:.2g} % of the target's"
