"""The technical report of your model family: one HTML page from the records. Knows nothing of how they were made."""

from gnomon.report.data import (
    Answer,
    Command,
    Cost,
    Finding,
    ForecastView,
    GuardRow,
    RegistryView,
    ReportData,
    Rung,
    Sample,
    TargetView,
    Yardstick,
    read_report,
    save_report,
)
from gnomon.report.page import render, write_report

__all__ = [
    "Answer",
    "Command",
    "Cost",
    "Finding",
    "ForecastView",
    "GuardRow",
    "RegistryView",
    "ReportData",
    "Rung",
    "Sample",
    "TargetView",
    "Yardstick",
    "read_report",
    "render",
    "save_report",
    "write_report",
]
