"""gnomon: measure small language models, know the big one before paying for it, then train it and be right."""

__version__ = "0.1.0"
