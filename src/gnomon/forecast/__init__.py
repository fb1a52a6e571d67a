"""What a bigger run will reach, from a table of smaller ones. No torch; quick to import; anybody's runs.

table = read("table.parquet")
for finding in doctor(table, metric): print(finding.message)
forecast = fit(table, metric).predict(Target(compute, parameters, tokens))
score(forecast, outcome)
"""

from gnomon.forecast.combine import Fit, fit
from gnomon.forecast.diagnosis import doctor
from gnomon.forecast.laws import Law, PowerSum, standard_laws
from gnomon.forecast.parts import PartsFit, fit_parts
from gnomon.forecast.readers import read
from gnomon.forecast.scoring import Score, score, scored_row
from gnomon.forecast.subset import bridge
from gnomon.forecast.table import RunTable, describe_columns
from gnomon.forecast.values import Finding, Forecast, Target
from gnomon.forecast.verbs import forecast, metric_of, sample, target_of

__all__ = [
    "Finding",
    "Fit",
    "Forecast",
    "Law",
    "PartsFit",
    "PowerSum",
    "RunTable",
    "Score",
    "Target",
    "bridge",
    "describe_columns",
    "doctor",
    "fit",
    "fit_parts",
    "forecast",
    "metric_of",
    "read",
    "sample",
    "score",
    "scored_row",
    "standard_laws",
    "target_of",
]
