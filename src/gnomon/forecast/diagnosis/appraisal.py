"""A forecast, told what its table and target are: shifts widen it, a flag says when it is noise; its median stays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gnomon.forecast.diagnosis.judge import judge
from gnomon.forecast.diagnosis.targets import about_target, shifts
from gnomon.forecast.diagnosis.trouble import Outlook
from gnomon.forecast.runs import Runs
from gnomon.forecast.values import Finding, Forecast, Target

NORMAL_90 = 1.645


def appraise(
    forecast: Forecast,
    runs: Runs,
    findings: Sequence[Finding],
    common: Mapping[str, Any],
    target: Target,
    outlook: Outlook | None = None,
    left_out: Iterable[str] = (),
) -> Forecast:
    """The forecast with flag, flag_reason, mend and trouble set, its interval widened by what no law sees.

    findings: the doctor's of the table; common: what its runs share, from targets.declared(). outlook: made once where
    many targets are asked; left_out: sources that trouble must not have learned from.
    """
    shifted, width = shifts(common, target)
    wide = widened(forecast, width)
    trouble = (outlook or Outlook.of(runs)).trouble(target, left_out)
    about = [*about_target(runs, target), *shifted]
    verdict = judge(runs, [*findings, *about], target, wide.half_width_pct, trouble)
    said = list(wide.warnings) + [f"{f.message}; {f.effect}" for f in shifted]
    return replace(
        wide,
        warnings=said,
        flag=verdict.flag,
        flag_reason=verdict.reason,
        mend=verdict.mend,
        trouble=trouble,
        target=wide.target | ({"attributes": dict(target.attributes)} if target.attributes else {}),
    )


def widened(forecast: Forecast, deviation: float) -> Forecast:
    """The forecast with an independent error of this deviation (of log loss) added; its median stays."""
    if deviation <= 0:
        return forecast
    reach = math.log(forecast.quantiles["0.95"] / forecast.quantiles["0.05"]) / (2 * NORMAL_90)
    variance = max(reach, 1e-6) ** 2
    factor = math.sqrt(1 + deviation**2 / variance)
    middle = forecast.quantiles["0.5"]
    quantiles = {level: middle * (value / middle) ** factor for level, value in forecast.quantiles.items()}
    share = deviation**2 / (variance + deviation**2)
    shares = {name: value * (1 - share) for name, value in forecast.shares.items()} | {"shift": share}
    return replace(forecast, quantiles=quantiles, shares=shares)
