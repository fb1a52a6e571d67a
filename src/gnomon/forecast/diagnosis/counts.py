"""Counts: operations, parameters and tokens that cannot belong together, and sizes that are mostly embedding.

Each check returns a suspicion, a number that grows with the fault and is 0 in a sound table, and the finding where it
is past the threshold.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.diagnosis.survey import Survey, names
from gnomon.forecast.runs import SIZE_COLUMNS
from gnomon.forecast.values import Finding

Suspicion = tuple[float, Finding | None]
HEAVY = 0.3  # share of the embedding in the counted parameters
EPOCHS = 4.0  # repetitions up to here cost little (arXiv:2305.16264 §6)
JUMP = 0.06  # of log(operations / parameter / token) off its smooth course


def overflow(survey: Survey) -> Suspicion:
    """Operations that are negative, or 6 N D less a multiple of 2^64: the count ran over in 64-bit integers."""
    table = survey.table
    flops, tokens = table["flops"], table["tokens"]
    wrapped = np.isfinite(flops) & (flops < 0)
    for column in (c for c in SIZE_COLUMNS if c in table):
        exact = np.nan_to_num(6.0 * table[column] * tokens, posinf=0.0)
        for i in np.flatnonzero((exact > 2.0**63) & np.isfinite(flops)):
            count = 6 * int(table[column][i]) * int(tokens[i])
            inside = (count + 2**63) % 2**64 - 2**63
            unsigned = count % 2**64
            near = any(abs(flops[i] - w) <= 1e-9 * max(abs(w), 2.0**60) for w in (inside, unsigned))
            wrapped[i] |= near and abs(flops[i] / exact[i] - 1) > 1e-6
    if not wrapped.any():
        return 0.0, None
    rows = tuple(np.array(table.ids(), dtype=object)[wrapped])
    message = f"FLOPs of {len(rows)} rows are what is left of 6 N D after a 64-bit integer ran over: {names(rows)}"
    effect = "these runs look far cheaper than they were: the law is too steep and the forecast too low"
    return float(len(rows)), Finding("flops_overflow", "warning", rows, message, effect)


def operations(survey: Survey) -> Suspicion:
    """Operations a parameter and token, which follow size smoothly: rows off that course mix units or conventions."""
    runs = survey.runs
    if len(runs) < 4:
        return 0.0, None
    log_ratio = np.log(runs.compute / (6 * runs.size * runs.tokens))
    off = log_ratio - _smooth(np.log(runs.size), log_ratio)
    scale = max(1.4826 * float(np.median(np.abs(off))), 0.01)
    strange = (np.abs(off) > JUMP) & (np.abs(off) > 5 * scale)
    middle = float(np.exp(np.median(log_ratio)))
    suspicion = float(np.sort(np.abs(off) / scale)[-max(1, len(off) // 20) :].mean())
    if strange.any():
        rows = tuple(runs.ids[strange])
        worst = float(off[strange][np.argmax(np.abs(off[strange]))])
        message = (
            f"FLOPs of {len(rows)} rows are {np.exp(worst):.3g} times what the others of their size spend a parameter "
            f"and token; check the count, its unit and which parameters are counted: {names(rows)}"
        )
        way = "high" if worst < 0 else "low"
        effect = f"these runs stand at the wrong compute or size, and pull the forecast too {way} if they lead"
        return suspicion, Finding("flops_inconsistent", "warning", rows, message, effect)
    if not 0.3 < middle < 6:
        message = (
            f"FLOPs are {middle:.2g} times 6 · parameters · tokens; check the unit and which parameters are counted"
        )
        effect = "a target whose compute is counted otherwise is taken for a run of another size"
        return suspicion, Finding("flops_inconsistent", "warning", (), message, effect)
    return suspicion, None


def _smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A quadratic in x through y by iteratively reweighted absolute deviations; a constant where x hardly varies."""
    u = (x - x.mean()) / max(float(x.std()), 1e-9)
    degree = min(2, len(np.unique(np.round(x, 6))) // 4)
    design = np.vander(u, degree + 1)
    weight = np.ones(len(x))
    for _ in range(30):
        root = np.sqrt(weight)
        fitted = design @ np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        weight = 1 / np.maximum(np.abs(y - fitted), 1e-4)
    return fitted


def embedding(survey: Survey) -> Suspicion:
    """Sizes that are mostly embedding, which takes no part in a token's computation and follows another law."""
    table = survey.table
    total = table["parameters_total"]
    bare = table["parameters_no_embedding"]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - bare / total
        share = np.where(np.isfinite(share), share, table["vocab"] * table["width"] / total)
    share = np.where(np.isfinite(share), share, 0.0)
    heavy = share > HEAVY
    suspicion = float(share.max(initial=0.0))
    counted = survey_size(survey) == "parameters_total"
    if not heavy.any() or not counted:
        return suspicion if counted else 0.0, None
    rows = tuple(np.array(table.ids(), dtype=object)[heavy])
    message = f"{len(rows)} rows are up to {suspicion:.0%} embedding, counted in their size: {names(rows)}"
    effect = (
        "loss seems to fall slowly with size where little of the size computes: the exponent and the floor come out "
        "wrong, the forecast usually too high; give parameters_no_embedding, or leave these rows out"
    )
    return suspicion, Finding("embedding_heavy", "warning", rows, message, effect)


def survey_size(survey: Survey) -> str:
    """The convention that sizes are in."""
    from gnomon.forecast.runs import size_column

    return size_column(survey.table)


def conventions(survey: Survey) -> Suspicion:
    """Rows without a size in the convention that is used, where the table has another for them."""
    table = survey.table
    used = table[survey_size(survey)]
    present = [c for c in SIZE_COLUMNS if c in table and bool(np.isfinite(table[c]).any())]
    lacking = ~np.isfinite(used) & np.any([np.isfinite(table[c]) for c in present], axis=0)
    score = float(lacking.mean()) if len(table) else 0.0
    if not lacking.any():
        return score, None
    rows = tuple(np.array(table.ids(), dtype=object)[lacking])
    message = f"{len(rows)} rows give their size in another convention ({', '.join(present)}): {names(rows)}"
    effect = "they are left out: sizes of two conventions bend the size term, and the exponent with it"
    return score, Finding("mixed_conventions", "warning", rows, message, effect)


def repeated(survey: Survey) -> Suspicion:
    """Runs that saw their text more than once."""
    unique, tokens = survey.table["unique_tokens"], survey.table["tokens"]
    with np.errstate(invalid="ignore", divide="ignore"):
        epochs = np.where((unique > 0) & np.isfinite(tokens), tokens / unique, 1.0)
    most = float(epochs.max(initial=1.0))
    many = epochs > 1.05
    if not many.any():
        return 0.0, None
    rows = tuple(np.array(survey.table.ids(), dtype=object)[many])
    severity = "warning" if most > EPOCHS else "note"
    message = f"{len(rows)} rows saw their text up to {most:.3g} times: {names(rows)}"
    effect = (
        "repeated tokens are worth less than new ones: the token exponent comes out too small, and the forecast for "
        "new text too high" + ("" if most > EPOCHS else "; up to four times the cost is small")
    )
    return float(np.log(most)), Finding("repeated_data", severity, rows, message, effect)
