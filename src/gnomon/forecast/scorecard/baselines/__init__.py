"""Methods to compare with. They share no code with gnomon's own fits, so they stay what they were when it changes."""

from __future__ import annotations

from gnomon.forecast.scorecard.baselines.chinchilla import Chinchilla, ChinchillaPrior
from gnomon.forecast.scorecard.baselines.compute import Bnsl, LastPoint, PowerFloor
from gnomon.forecast.scorecard.baselines.tasks import LossToTask, SigmoidCompute
from gnomon.forecast.scorecard.method import Method


def baselines() -> list[Method]:
    """Last point, power + floor, Chinchilla form, the same with prior and conformal interval, BNSL; two of tasks."""
    return [LastPoint(), PowerFloor(), Chinchilla(), ChinchillaPrior(), Bnsl(), LossToTask(), SigmoidCompute()]


__all__ = [
    "Bnsl",
    "Chinchilla",
    "ChinchillaPrior",
    "LastPoint",
    "LossToTask",
    "PowerFloor",
    "SigmoidCompute",
    "baselines",
]
