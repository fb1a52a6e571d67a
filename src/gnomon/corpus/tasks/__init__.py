"""Graded code tasks: small functions made by chaining pieces, split so that what is tested was never seen."""
