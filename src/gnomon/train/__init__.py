"""The one trainer: terms, optimiser, schedule, checkpoints, evaluation. What it trains for comes in as terms."""
