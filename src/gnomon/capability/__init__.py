"""What a bigger model will be able to do, forecast from smaller ones: pass rates by difficulty, ahead of its run."""

from gnomon.capability.buckets import Buckets, freeze
from gnomon.capability.forecast import BucketForecast, forecast
from gnomon.capability.outcomes import Outcome, Table

__all__ = ["BucketForecast", "Buckets", "Outcome", "Table", "forecast", "freeze"]
