"""Scores of forecasting methods on folders of published runs: families, protocols, baselines, one table."""
