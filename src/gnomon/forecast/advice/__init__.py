"""What to do with a forecast: which run next, which recipe, how to spend a compute.

A posterior (every law and draw of a fit, as a weighted cloud) stands behind all three; a basin is the best size at each
budget.
"""
