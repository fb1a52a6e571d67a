"""Tables in, pictures out: SVG themed by CSS variables, and the live picture of a terminal. Torch-free.

A figure never knows where its table came from. Each function returns a `Picture`: the same figure drawn twice, wide
and narrow, so that a phone gets a drawing made for it and no text ever shrinks below 12 px.
"""

from gnomon.figures.bits import PackedText, bits_bars
from gnomon.figures.compute import ComputeShare, compute_to_scale
from gnomon.figures.envelope import EnvelopeRow, envelope
from gnomon.figures.forms import FormRow, forms
from gnomon.figures.history import Cut, Look, forecast_history
from gnomon.figures.isoflop import IsoflopBudget, isoflop
from gnomon.figures.learning import LearningCurve, learning_curves
from gnomon.figures.loss import Interval, LossPoint, LossTable, loss_forecast
from gnomon.figures.picture import Picture, standalone
from gnomon.figures.residuals import ResidualPanel, residuals
from gnomon.figures.shares import interval_shares

__all__ = [
    "ComputeShare",
    "Cut",
    "EnvelopeRow",
    "FormRow",
    "Interval",
    "IsoflopBudget",
    "LearningCurve",
    "Look",
    "LossPoint",
    "LossTable",
    "PackedText",
    "Picture",
    "ResidualPanel",
    "bits_bars",
    "compute_to_scale",
    "envelope",
    "forecast_history",
    "forms",
    "interval_shares",
    "isoflop",
    "learning_curves",
    "loss_forecast",
    "residuals",
    "standalone",
]
