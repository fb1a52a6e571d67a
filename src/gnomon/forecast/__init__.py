"""What a bigger run will reach, from a table of smaller ones. No torch; quick to import; anybody's runs.

Five verbs: read(path), fit(table, metric), forecast(table, target), compare(a, b, at_compute), next_rung(table, target,
budget_flops). Around them: doctor(table, metric) for what would ruin a forecast, score(forecast, outcome) for what it
was worth, sample() for a table to try them on. docs/forecast.md shows each at work.
"""

from gnomon.forecast.advice.allocation import Advice, Price, allocate
from gnomon.forecast.advice.compare import Comparison, compare
from gnomon.forecast.advice.design import Proposal, next_rung
from gnomon.forecast.combine import Fit, fit
from gnomon.forecast.curves import fit_curve
from gnomon.forecast.diagnosis import doctor
from gnomon.forecast.downstream import fit_task
from gnomon.forecast.laws import Law, PowerSum, standard_laws
from gnomon.forecast.parts import PartsFit, fit_parts
from gnomon.forecast.readers import read
from gnomon.forecast.scoring import Score, score, scored_row
from gnomon.forecast.subset import bridge
from gnomon.forecast.table import RunTable, describe_columns
from gnomon.forecast.values import Finding, Forecast, Target
from gnomon.forecast.verbs import forecast, metric_of, sample, target_of

__all__ = [
    "Advice",
    "Comparison",
    "Finding",
    "Fit",
    "Forecast",
    "Law",
    "PartsFit",
    "PowerSum",
    "Price",
    "Proposal",
    "RunTable",
    "Score",
    "Target",
    "allocate",
    "bridge",
    "compare",
    "describe_columns",
    "doctor",
    "fit",
    "fit_curve",
    "fit_parts",
    "fit_task",
    "forecast",
    "metric_of",
    "next_rung",
    "read",
    "sample",
    "score",
    "scored_row",
    "standard_laws",
    "target_of",
]
