"""The report in plain words: the verdict, and one sentence a figure, what you see and what it means for you."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.figures.numbers import PER_CENT, count, percent
from gnomon.report.data import ForecastView, ReportData

SENSELESS = 5e7  # parameters; below this nobody should expect a model to make sense
CAUSES = {
    "seed": ("the luck of the seed", "train more seeds if you want a tighter forecast"),
    "evaluation": ("the size of the test text", "test on more text if you want a tighter forecast"),
    "minimum": ("finding each budget's best size", "add sizes around the best if you want a tighter forecast"),
    "form": ("not knowing which law is true", "add larger small models if you want a tighter forecast"),
    "outcome": ("the target's own luck", "more small models will not make the forecast tighter"),
}


@dataclass(frozen=True)
class Verdict:
    """state: 'sealed', 'hit', 'miss', 'diverged' or 'fit'. headline and detail: what the page says first."""

    state: str
    headline: str
    detail: str


def times(data: ReportData) -> str:
    """How many times larger the target is than the largest rung, in compute."""
    ratio = data.times_larger
    return f"{ratio:.0f}" if ratio >= 9.5 else f"{ratio:.1f}"


def _off(forecast: ForecastView) -> str:
    error = forecast.error_pct
    if error is None and forecast.outcome:
        error = (forecast.interval.median / forecast.outcome - 1) * 100
    return f"{abs(error or 0.0):.1f}{PER_CENT}"


def inside(forecast: ForecastView) -> bool:
    """Whether the outcome lies in the 90 % interval, as scored or, without a score, as drawn."""
    if forecast.inside_90 is not None:
        return forecast.inside_90
    return forecast.outcome is not None and forecast.interval.holds(forecast.outcome)


def verdict(data: ReportData) -> Verdict:
    """The page's first words. A miss is said as plainly as a hit."""
    f, i = data.headline, data.headline.interval
    held = f"90{PER_CENT} interval {i.low90:.3f} to {i.high90:.3f}"
    if data.target.status == "diverged":
        detail = f"The forecast was {i.median:.3f} {f.unit}, {held}; there is no outcome to hold against it."
        return Verdict("diverged", "The target diverged.", detail)
    if f.outcome is None:
        if data.registry.unregistered:
            return Verdict("fit", f"A fit: {i.median:.3f} {f.unit}.", f"{held}. Nothing was sealed.")
        detail = f"{held}. The target is not trained yet; the envelope opens when it is."
        return Verdict("sealed", f"Sealed: {i.median:.3f} {f.unit}.", detail)
    place = "inside" if inside(f) else "outside"
    word = "Fit" if data.registry.unregistered else "Forecast"
    detail = f"{word} {i.median:.3f} {f.unit}, outcome {f.outcome:.3f}: {place} the {held}."
    if data.registry.unregistered:
        return Verdict("fit", f"Not a forecast: {_off(f)} off.", detail + " Nothing was sealed before training.")
    if inside(f):
        return Verdict("hit", f"A hit, {_off(f)} off.", detail)
    return Verdict("miss", f"A miss, {_off(f)} off.", detail)


def loss_caption(data: ReportData) -> str:
    f, n = data.headline, len(data.trained_rungs)
    if data.target.status == "diverged":
        return (
            f"The dashed line runs through {n} small models and on to one {times(data)} times larger that diverged "
            "while it trained, so nothing here tells you whether the line can be trusted."
        )
    if f.outcome is None:
        half = (f.interval.high90 - f.interval.low90) / 2
        return (
            f"The dashed line runs through {n} small models and on to one {times(data)} times larger, which should "
            f"need {f.interval.median:.3f} {f.unit}, give or take {half:.3f}, so you know before you pay."
        )
    if data.registry.unregistered:
        return (
            f"The line drawn through {n} small models is {_off(f)} off the big one, but nothing was sealed before it "
            "was trained, so this tells you how well a line fits and not how well it foretells."
        )
    if inside(f):
        return (
            f"The line drawn through {n} small models met the big one {_off(f)} off, so here you would have known a "
            f"model {times(data)} times larger before paying for it."
        )
    return (
        f"The line drawn through {n} small models missed the big one by {_off(f)}, outside its 90{PER_CENT} interval, "
        "so do not plan with a forecast of this ladder until you know why."
    )


def envelope_caption(data: ReportData) -> str:
    opened = [f for f in data.forecasts if f.outcome is not None]
    see = "The long bar is where an outcome should fall nine times in ten, its inner part where it should fall every "
    if not opened:
        return f"{see}second time, so an outcome beyond the long bar tells you not to trust this ladder."
    hits = sum(inside(f) for f in opened)
    if len(opened) == 1:
        told = "the outcome fell inside" if hits else "the outcome fell outside"
    else:
        told = f"{hits} of {len(opened)} outcomes fell inside"
    if data.registry.unregistered:
        means = "with nothing sealed beforehand you should take neither comfort nor alarm from it"
    elif hits == len(opened):
        means = "the bars have kept their word here and you can plan with their width"
    else:
        means = "do not plan with these bars until you know why"
    return f"{see}second time; {told}, so {means}."


def isoflop_caption(data: ReportData) -> str:
    unsure = sum(not b.bracketed for b in data.isoflop)
    tail = f" ({unsure} hollow, not trusted)" if unsure else ""
    return (
        "Each curve spends the same compute on models of different size: left of its lowest point the model is too "
        f"small, right of it too little trained, so the lowest points{tail} tell you how big to build."
    )


def learning_caption(data: ReportData) -> str:
    if any(c.target for c in data.learning):
        return (
            "Every line is one training run and falls as the model learns, the coloured one is the target, so you can "
            "read off what each further stretch of compute bought."
        )
    return (
        "Every line is one small model's training and falls as it learns, so you can see where each one ended, the "
        "only part of it that the law is fitted to."
    )


def compute_caption(data: ReportData) -> str:
    spent = (sum(r.compute for r in data.rungs) + data.other_compute) / data.target.compute
    took = "took" if data.target.trained else "took so far"
    return (
        f"Each square's area is the compute of one model: everything before the target {took} {percent(spent)} of what "
        "the target takes, and that is the price of knowing before you build."
    )


def shares_caption(data: ReportData) -> str:
    cause = max(data.shares, key=lambda k: data.shares[k])
    share = data.shares[cause] / sum(v for v in data.shares.values() if v > 0)
    name, advice = CAUSES.get(cause, (cause, "look there first if you want a tighter forecast"))
    return f"The longer a part, the more doubt it brings: {percent(share)} comes from {name}, so {advice}."


def bits_caption(data: ReportData) -> str:
    stick, f = data.yardstick, data.headline
    if stick is None:
        return ""
    opened = f.outcome is not None
    best = f.outcome if f.outcome is not None else f.interval.median
    who = "the target" if opened else "the target, if the forecast holds,"
    if best < stick.xz_bits_per_byte:
        means = "so it finds more order in this text than a good compressor does"
    else:
        means = "so it knows less about this text than a good compressor finds out by itself"
    return (
        f"Each bar is what one byte of the same unseen text costs: xz -9 needs {stick.xz_bits_per_byte:.2f} bits, "
        f"{who} {best:.2f}, {means}."
    )


def samples_caption(data: ReportData) -> str:
    models = len(data.samples[0].answers) if data.samples else 0
    expect = ""
    if data.target.parameters < SENSELESS:
        expect = ": at these sizes expect the look of the text, not its sense"
    return (
        f"The same beginning, continued by {models} models from small to large, so you can see what a lower number "
        f"means{expect}."
    )


def one_line(data: ReportData) -> str:
    """The report's description, for search results and shared links."""
    small, size = len(data.trained_rungs), count(data.target.parameters)
    return f"{small} small models, one forecast, one target of {size} parameters: {verdict(data).headline}"


GUARDS = {
    "spike": "loss spikes, not learned from",
    "roll back": "returns to an earlier step, the data between left out",
    "gave way": "high losses that stayed and were accepted",
    "not a number": "gradients that were no numbers",
    "norm": "gradients far above the usual norm (alarm)",
    "repeated batch": "batches that came again (alarm)",
    "constant rows": "batches of one token over and over (alarm)",
}


def guard(kind: str) -> str:
    """What the trainer's guards call a fault, in a reader's words."""
    return GUARDS.get(kind, kind)
