"""Forecasting methods side by side on folders of finished runs: families, protocols, baselines, one card.

families.read_collection(folder) -> card.score(collection) -> show.lines(card); docs/scorecard.md says what is asked.
"""
