"""`gnomon forecast`: anybody's run table in, the doctor's findings or a forecast out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import GnomonError
from gnomon.forecast import Forecast, doctor, fit, metric_of, read, target_of

if TYPE_CHECKING:
    from gnomon.recipe.values import Recipe


def doctor_lines(path: Path, metric: str) -> Iterator[str]:
    """One line a finding."""
    findings = doctor(read(path), metric)
    for finding in findings:
        rows = f" [{', '.join(finding.rows[:6])}{' …' if len(finding.rows) > 6 else ''}]" if finding.rows else ""
        yield f"{finding.severity:8} {finding.code}: {finding.message}{rows}"
    yield "nothing found that would ruin a forecast" if not findings else f"{len(findings)} findings"


def fit_table(
    path: Path, metric: str | None, compute: float, parameters: float | None, tokens: float | None = None
) -> tuple[Forecast, list[str]]:
    """Forecast a run of that compute; on the optimal allocation when parameters is None."""
    table = read(path)
    fitted = fit(table, metric_of(table, metric))
    forecast = fitted.predict(target_of(fitted, compute, parameters, tokens))
    return forecast, forecast_lines(forecast)


def forecast_lines(forecast: Forecast) -> list[str]:
    """A forecast in words: the number, its interval, what the interval is made of, what each law said."""
    q = forecast.quantiles
    lines = [
        f"{forecast.metric}: {forecast.median:.4f} {forecast.unit}, 90 % between {q['0.05']:.4f} and {q['0.95']:.4f} "
        f"(± {forecast.half_width_pct:.1f} %); the best rung has {forecast.last_point:.4f}",
        "interval: " + ", ".join(f"{name} {share:.0%}" for name, share in forecast.shares.items()),
    ]
    lines += [f"  {c['name']:24} {c['median']:.4f}  weight {c['weight']:.2f}" for c in forecast.components]
    return lines + [f"  note: {warning}" for warning in forecast.warnings]


def register(recipe: Recipe, home: Path) -> Iterator[str]:
    """Seal the forecast of a recipe's target; its ladder must be finished."""
    from gnomon.workflow.study import Study, check_ladder

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
    for forecast in forecasts.values():
        yield from forecast_lines(forecast)
