"""Examine models: items, tasks, records, statistics, calibration, contamination and a sandbox. Torch-free."""
