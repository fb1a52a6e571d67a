"""The page of one forecast from a table: four figures that answer when pointed at, and every run in a table.

Like the report it asks nobody for anything, and its Content-Security-Policy allows only the script that it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnomon.figures import Picture, numbers
from gnomon.report.sheet import sheet

if TYPE_CHECKING:
    from gnomon.forecast import Forecast
    from gnomon.forecast.runs import Runs

MOST_ROWS = 400
CAPTIONS = {
    "forecast": (
        "What the target will reach",
        "Each dot is a run, the dashed line what the laws together say, shaded where half and where 90 % of its "
        "chances lie. At the right stands the target: the ring is the forecast, the bar its interval.",
    ),
    "forms": (
        "Which law counts, and what it says",
        "Each row is a law with its own forecast; the larger the dot, the more it counts. Where laws that count "
        "disagree, the interval must be wide.",
    ),
    "history": (
        "What the same method would have said earlier",
        "Hide the larger runs, forecast them from the smaller ones, look them up. Bars that cross the line held what "
        "came. The farther the target stands from the last bar, the less this test says about it.",
    ),
    "residuals": (
        "What the laws leave over",
        "Dots scattered about zero are noise; a bow or a slope is something that the law does not know, and it grows "
        "with the distance.",
    ),
}


def tiles(forecast: Forecast, largest: float) -> list[tuple[str, str, str]]:
    """What stands in the four boxes at the top: name, value, note."""
    q = forecast.quantiles
    compute = forecast.target["compute"]
    return [
        ("forecast", f"{forecast.median:.3f}", forecast.unit or forecast.metric),
        ("90 % interval", f"± {forecast.half_width_pct:.1f}{numbers.PER_CENT}", f"{q['0.05']:.3f} to {q['0.95']:.3f}"),
        ("beyond the largest run", f"{numbers.power(compute / largest)}×", f"{numbers.power(compute)} FLOPs"),
        ("best run so far", f"{forecast.last_point:.3f}", "the guess without a law"),
    ]


def render_forecast(source: str, forecast: Forecast, runs: Runs, pictures: dict[str, Picture], theme: str = "") -> str:
    """The page. source: the table's name; theme: '' follows the reader's system. Raises ValueError on another theme."""
    from markupsafe import Markup

    order = runs.compute.argsort(kind="stable")[::-1]
    shown: list[dict[str, Any]] = [
        {"id": str(runs.ids[i]), "compute": runs.compute[i], "size": runs.size[i], "tokens": runs.tokens[i]}
        | {"loss": runs.loss[i]}
        for i in order[:MOST_ROWS]
    ]
    values = {
        "source": source,
        "forecast": forecast,
        "figures": [(name, *CAPTIONS[name], Markup(pictures[name].html())) for name in CAPTIONS if name in pictures],
        "tiles": tiles(forecast, float(runs.compute.max())),
        "runs": shown,
        "more": max(0, len(runs) - MOST_ROWS),
    }
    return sheet("forecast.html", values, theme, ("forecast.css",), ("hover.js",))
