"""Losses that no finished, tuned run of one recipe has: diverged, un-annealed, in another unit, untuned, crossing.

Suspicions as in counts.py. What a column says outright (status, annealed) is handled where rows are left out; here the
numbers themselves speak.
"""

from __future__ import annotations

import numpy as np

from gnomon.forecast.diagnosis.counts import Suspicion
from gnomon.forecast.diagnosis.survey import Survey, names
from gnomon.forecast.values import Finding

BITS = float(np.log(1 / np.log(2)))  # log of 1.4427
SAME_SIZE = 0.06  # of log size: runs within it are taken for one size
ROUGH = 0.05  # scatter of log loss beyond which a factor of 1.44 is no sign of a unit
HIGHEST_NATS = 15.0  # a uniform guess among three million tokens


def strays(survey: Survey) -> Suspicion:
    """Rows far above every other of their size and tokens: diverged, or not what they say they are."""
    height, residual = survey.height, survey.local
    suspicion = float(np.minimum(height, residual / 0.01).max(initial=0.0))
    far = (height > 10) & (residual > 0.12)
    if not far.any():
        return suspicion, None
    rows = tuple(survey.runs.ids[far])
    message = f"{len(rows)} rows lie {_percent(residual[far].max())} above all others: {names(rows)}"
    effect = "runs that diverged or stalled pull the law up where they stand; leave them out or run them again"
    return suspicion, Finding("stray", "warning", rows, message, effect)


def units(survey: Survey) -> Suspicion:
    """Losses in another unit than the rest: bits among nats (1.44 times), or a perplexity among its logarithms."""
    runs, fitted = survey.runs, survey.fitted
    if not len(runs):
        return 0.0, None
    middle = float(np.median(runs.loss))
    if middle > HIGHEST_NATS:
        message = f"{survey.metric} is about {middle:.3g}: a perplexity, not a loss; give --unit perplexity"
        effect = "a power law fits the logarithm; fitted to the perplexity itself the forecast is far too low"
        return float(len(runs)), Finding("perplexity", "warning", (), message, effect)
    if fitted is None or survey.scale > ROUGH:
        return 0.0, None
    tolerance = min(max(3 * survey.scale, 0.03), 0.06)
    shift = np.abs(survey.residual)
    bits = np.abs(shift - BITS) < tolerance
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        power = np.abs(np.log(np.maximum(runs.loss, 1e-9)) / fitted - 1) < 2 * tolerance
        root = np.abs(np.exp(np.minimum(runs.loss, 700)) / fitted - 1) < 2 * tolerance
    exponential = (power & (runs.loss > 1.8 * fitted)) | (root & (runs.loss < fitted / 1.8))
    exponential &= _follows(np.log(np.maximum(runs.loss, 1e-9)), fitted, exponential)
    strange = bits | exponential | ((runs.loss > 50) & (middle < 20))
    lonely = ~strange & (shift > max(4 * survey.scale, 0.05))  # others as far off: a rough table, not a unit
    suspicion = float(strange.sum() / (1 + lonely.sum()))
    if not strange.any() or (lonely.sum() > strange.sum() and not exponential.any()):
        return suspicion, None
    rows = tuple(runs.ids[strange])
    what = "the exponential" if exponential.any() else "1.44 times"
    message = f"{len(rows)} rows hold {what} of what the others do, as if in another unit, or diverged: {names(rows)}"
    effect = "a column that mixes nats, bits or perplexity has no law; convert these rows, or leave them out"
    return suspicion, Finding("mixed_units", "warning", rows, message, effect)


def _follows(values: np.ndarray, fitted: np.ndarray, rows: np.ndarray) -> bool:
    """Whether these rows go with the surface, as a perplexity does; the loss of diverged runs stands still."""
    spread = float(np.std(fitted[rows])) if rows.any() else 0.0
    return rows.sum() < 4 or spread < 0.03 or float(np.std(values[rows] - fitted[rows])) < 0.6 * spread


def unannealed(survey: Survey) -> Suspicion:
    """Rows a few percent above a chord between shorter and longer runs of their size, or above their neighbours, with a
    longer run beyond them: read in mid-schedule, before the rate's decay."""
    runs, height, residual = survey.runs, survey.height, survey.local
    if survey.fitted is None:
        return 0.0, None
    chord, beyond = _chords(np.log(runs.size), np.log(runs.tokens), np.log(runs.loss))
    known = chord[np.isfinite(chord)]
    some = residual[beyond] if beyond.sum() > 3 else residual
    high = float(np.quantile(some, 0.9) - np.median(some))
    suspicion = 2 * (float(np.quantile(known, 0.85)) if len(known) > 3 else 0.0) + high
    typical = float(np.quantile(np.abs(known), 0.4)) if len(known) > 3 else np.inf
    above = beyond & (height > 4) & (residual > 0.01)
    above |= beyond & (np.nan_to_num(chord, nan=-1.0) > max(4 * typical, 0.012)) & (residual > 0.005)
    share = above.sum() / max(1, len(runs))
    kind = float(np.median(residual[above])) if above.any() else 0.0
    if share < 0.08 or above.sum() < 3 or kind > 0.2:
        return suspicion, None
    rows = tuple(runs.ids[above])
    message = (
        f"{len(rows)} rows lie about {_percent(kind)} above runs of their size that went on: as if read before the "
        f"rate's decay: {names(rows)}"
    )
    effect = "un-annealed points lift the law at fewer tokens: it falls too steeply, and the forecast is too low"
    return suspicion, Finding("looks_unannealed", "warning", rows, message, effect)


def _chords(x: np.ndarray, d: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each row's log loss lies above the chord between the next shorter and the next longer run of its size
    (NaN without both), and whether there is a longer one. x, d, y: log size, tokens, loss, [n]."""
    chord, beyond = np.full(len(x), np.nan), np.zeros(len(x), dtype=bool)
    group = np.round(x / SAME_SIZE)
    for one in np.unique(group):
        inside = np.flatnonzero(group == one)
        order = inside[np.argsort(d[inside], kind="stable")]
        beyond[order] = d[order] < d[order[-1]] - 0.02
        if len(order) < 3:
            continue
        before, here, after = d[order[:-2]], d[order[1:-1]], d[order[2:]]
        wide = after - before > 0.05
        part = (here - before) / np.where(wide, after - before, 1.0)
        excess = y[order[1:-1]] - (1 - part) * y[order[:-2]] - part * y[order[2:]]
        chord[order[1:-1]] = np.where(wide, excess, np.nan)
    return chord, beyond


def untuned(survey: Survey) -> Suspicion:
    """Whether loss depends on how far rate or batch lies from its usual course over size and tokens; and whether one
    rate served all sizes."""
    runs = survey.runs
    if survey.fitted is None:
        return 0.0, None
    worst: Suspicion = (0.0, None)
    for name, said in (("rate", "learning rate"), ("batch_tokens", "batch")):
        found = _off_course(survey, name, said)
        if found[0] > worst[0] or (worst[1] is None and found[1] is not None):
            worst = (max(found[0], worst[0]), found[1] or worst[1])
    rate = survey.column("rate")
    spread = float(runs.size.max() / runs.size.min())
    if worst[1] is None and np.isfinite(rate).all() and spread > 30 and np.ptp(np.log(np.maximum(rate, 1e-30))) < 1e-6:
        message = f"one learning rate, {rate[0]:.3g}, for sizes {spread:.3g} times apart"
        effect = "the best rate falls with size: small or large runs are worse than they could be, and the slope is off"
        return worst[0], Finding("one_rate", "warning", (), message, effect)
    return worst


def _off_course(survey: Survey, name: str, said: str) -> Suspicion:
    """t of loss on the squared log distance from the usual setting; rows where that costs most."""
    values = survey.column(name)
    usable = np.isfinite(values) & (values > 0)
    if usable.sum() < 8 or len(np.unique(values[usable])) < 2:
        return 0.0, None
    x = np.stack([np.ones(len(survey.runs)), np.log(survey.runs.size), np.log(survey.runs.tokens)], axis=1)[usable]
    u = np.log(values[usable])
    y = np.clip(survey.residual[usable], -0.1, 0.3)
    weight = np.ones(len(u))
    course = u * 0
    for _ in range(20):  # the usual setting is that of most runs, and of the good ones
        good = weight * np.exp(-np.maximum(y, 0) / (2 * survey.scale))
        course = x @ np.linalg.lstsq(x * np.sqrt(good)[:, None], u * np.sqrt(good), rcond=None)[0]
        weight = 1 / np.maximum(np.abs(u - course), 0.05)
    distance = u - course
    if np.abs(distance).max() < 0.2:
        return 0.0, None
    # All rates off to one side: the square alone. Off to both: a parabola whose vertex may lie elsewhere.
    t, cost = max((_parabola_t(distance, y, linear) for linear in (False, True)), key=lambda found: found[0])
    bad = (y > max(3 * survey.scale, 0.004)) & (cost > 0.003)
    if t < 4 or not bad.any():
        return max(t, 0.0), None
    rows = tuple(survey.runs.ids[usable][bad])
    message = (
        f"{said}: {len(rows)} rows are off its usual course by up to {np.exp(np.abs(distance[bad]).max()):.2g} times "
        f"and up to {_percent(y[bad].max())} worse for it: {names(rows)}"
    )
    effect = "an untuned run can only be worse: it lifts the law where it stands; fit with the lower edge, or retune"
    return t, Finding("untuned", "warning", rows, message, effect)


def _parabola_t(x: np.ndarray, y: np.ndarray, linear: bool) -> tuple[float, np.ndarray]:
    """t of the square in y = a (+ b x) + c x^2, and what the parabola adds at each x; 0 where it opens downwards."""
    design = np.stack([np.ones(len(x)), *([x] if linear else []), x**2], axis=1)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    rest = y - design @ beta
    variance = float(rest @ rest) / max(1, len(y) - design.shape[1]) * np.linalg.pinv(design.T @ design)[-1, -1]
    return max(0.0, float(beta[-1] / np.sqrt(max(variance, 1e-16)))), design[:, 1:] @ beta[1:]


def crossing(survey: Survey) -> Suspicion:
    """Runs that are beaten by one of no more parameters and no more tokens: their curves cross."""
    some = survey.paired
    runs = survey.runs
    if len(some) < 4:
        return 0.0, None
    n, d, y = (np.log(a[some]) for a in (runs.size, runs.tokens, runs.loss))
    more = (n[:, None] >= n - 1e-9) & (d[:, None] >= d - 1e-9)
    more &= (n[:, None] - n) + (d[:, None] - d) > np.log(1.5)
    excess = np.where(more, y[:, None] - y, -np.inf).max(1, initial=-np.inf)
    noise = max(survey.scale, 0.002)
    suspicion = float(np.sort(np.maximum(excess, 0))[-max(1, len(some) // 25) :].mean() / noise)
    bad = (excess > 4 * noise) & (excess > 0.008)
    longest = (n[:, None] != n) | (d[:, None] >= d)
    if not (bad & longest.all(1)).any():  # only runs that others of their size go beyond: checkpoints, see unannealed()
        return suspicion, None
    rows = tuple(runs.ids[some][bad])
    message = (
        f"{len(rows)} rows are worse, by up to {_percent(excess[bad].max())}, than one with no more parameters and no "
        f"more tokens: {names(rows)}"
    )
    effect = "curves that cross share no law: what makes large runs worse here will do so more at the target"
    return suspicion, Finding("crossing", "warning", rows, message, effect)


def no_signal(survey: Survey) -> Suspicion:
    """Loss that size and tokens do not explain."""
    runs = survey.runs
    if survey.fitted is None:
        return 0.0, None
    spread = 1.4826 * float(np.median(np.abs(survey.residual)))
    reach = float(np.ptp(np.quantile(np.log(survey.fitted), [0.1, 0.9])))
    suspicion = spread / max(reach, 1e-6)
    if suspicion < 0.35:
        return suspicion, None
    message = (
        f"{survey.metric} scatters by {_percent(spread)} while size and tokens move it by {_percent(reach)}: there is "
        "hardly a signal"
    )
    effect = "the forecast is the table's mean with a wide interval, in whichever direction the noise fell"
    return suspicion, Finding("no_signal", "warning", tuple(runs.ids), message, effect)


def _percent(log_ratio: float) -> str:
    return f"{100 * np.expm1(min(float(log_ratio), 20.0)):.2g} %"
