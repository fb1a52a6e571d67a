"""`gnomon forecast`: anybody's run table in, the doctor's findings or a forecast out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.forecast import Finding, Forecast, RunTable, doctor, fit, metric_of, read, target_of
from gnomon.forecast.metrics import choose_metric

if TYPE_CHECKING:
    from gnomon.recipe.values import Recipe


def open_table(path: Path, columns: Sequence[str] | None = None, unit: str | None = None) -> RunTable:
    """The run table; columns: "ours=theirs" each. Raises GnomonError when one is not of that form."""
    pairs = [entry.partition("=") for entry in columns or ()]
    for ours, equals, theirs in pairs:
        if not (ours and equals and theirs):
            raise GnomonError(f"--column {ours}{equals}{theirs}: NAME=THEIRS is expected, as in --column tokens=D")
    return read(path, {ours: theirs for ours, _, theirs in pairs}, unit)


def copy_sample(out: Path) -> str:
    """The shipped sample table as a file of the user's own. Raises GnomonError when the file is there already."""
    from gnomon.common.files import write_bytes
    from gnomon.forecast import sample

    if out.exists():
        raise GnomonError(f"{out}: is there already and is left as it is; give another name")
    write_bytes(out, sample().read_bytes())
    return f"{out}: {len(read(out))} runs; try `gnomon forecast fit {out} --target 2.5e13`"


def doctor_table(table: RunTable, metric: str | None) -> tuple[str, list[Finding]]:
    """The metric that was looked at, and the findings."""
    name, why = choose_metric(table, metric)
    said = [Finding("metric", "note", (), why)] if why else []
    return name, [*doctor(table, name), *said]


def doctor_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A line a finding, and one for what it does to a forecast."""
    for finding in findings:
        shown = f" [{', '.join(finding.rows[:4])}{' …' if len(finding.rows) > 4 else ''}]"
        rows = shown if finding.rows and finding.rows[0] not in finding.message else ""
        yield f"{finding.severity:8} {finding.code}: {finding.message}{rows}"
        if finding.effect:
            yield f"{'':8} effect: {finding.effect}"
    harmful = sum(finding.severity != "note" for finding in findings)
    yield f"{harmful} findings" if harmful else "nothing found that would ruin a forecast"


def fit_table(
    table: RunTable, metric: str | None, compute: float, parameters: float | None, tokens: float | None = None
) -> tuple[Forecast, list[str]]:
    """Forecast a run of that compute; on the optimal allocation when parameters is None."""
    fitted = fit(table, metric_of(table, metric))
    forecast = fitted.predict(target_of(fitted, compute, parameters, tokens))
    return forecast, forecast_lines(forecast)


def forecast_lines(forecast: Forecast) -> list[str]:
    """A forecast in words: the number, its interval, what the interval is made of, what each law said."""
    q = forecast.quantiles
    number = f"{forecast.median:.4f} {forecast.unit}".strip()
    lines = [
        f"{forecast.metric}: {number}, 90 % between {q['0.05']:.4f} and {q['0.95']:.4f} "
        f"(± {forecast.half_width_pct:.1f} %); the best rung has {forecast.last_point:.4f}",
        "interval: " + ", ".join(f"{name} {share:.0%}" for name, share in forecast.shares.items()),
    ]
    if shrink := forecast.seen.get("shrink"):
        lines.append(f"  most of it: {forecast.seen['largest_share']}; what would shrink it: {shrink}")
    lines += [_component(c) for c in forecast.components]
    if record := forecast.seen.get("coverage_record"):
        lines.append(
            f"  record at {record['ratio']:g}x: {record['80']:.0%} inside 80 %, {record['90']:.0%} inside 90 %, on "
            f"{record['targets']:.0f} targets of {record['sources']:.0f} sources, each left out of what was learned"
        )
    if forecast.flag:
        lines.append(f"  flag: this is noise: {forecast.flag_reason}")
    if forecast.mend:
        lines.append(f"  what would mend it: {forecast.mend}")
    return lines + [f"  note: {warning}" for warning in forecast.warnings]


def _component(component: Mapping[str, Any]) -> str:
    """What one law said, how much it counts, and how far off it has been at which ratios."""
    line = f"  {component['name']:24} {component['median']:.4f}  weight {component['weight']:.2f}"
    if "expected_error_pct" not in component:
        return line
    ratios = " and ".join(f"{ratio:g}x" for ratio in component["tested_at"])
    return f"{line}  off by {component['expected_error_pct']:.1f} % as tested at {ratios}"


def register(recipe: Recipe, home: Path) -> Iterator[str]:
    """Seal the forecast of a recipe's target; its ladder must be finished."""
    from gnomon.workflow.study import Study, check_ladder
    from gnomon.workflow.verdict import sealed_forecasts

    study = Study(recipe, home, 1)
    check_ladder([(rung.budget, rung.plan) for rung in study.rungs], study.target_plan)
    missing = study.ladder_jobs()
    if missing:
        raise GnomonError(
            f"forecast register: {len(missing)} of {len(study.rungs)} rungs have no result yet; "
            f"`gnomon ladder run {recipe.name}` trains them"
        )
    table = study.write_table()
    forecasts, warnings = study.forecast(table)
    entry = study.seal(forecasts, warnings, table)
    yield f"sealed as {entry.hash[:12]}"
    for forecast in sealed_forecasts(entry).values():
        yield from forecast_lines(forecast)
